"""The Streamlit entry: page config and navigation, nothing else."""

import streamlit as st

from recommender.ui.navigation import MARK, WORDMARK, keep_question, pages

st.set_page_config(page_title="Rightsize", page_icon=MARK, layout="wide")
st.logo(WORDMARK, size="large", icon_image=WORDMARK)
page = st.navigation(pages(), position="top")
keep_question(page)
try:
    page.run()
except OverflowError:  # Streamlit makes whole numbers of the URL's before it looks at their limits
    st.error("The address holds a number without end. Open the page without it.", icon=":material/error:")
