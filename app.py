"""The Streamlit entry: page config and navigation, nothing else."""

import streamlit as st

from recommender.ui.navigation import MARK, WORDMARK, pages

st.set_page_config(page_title="Rightsize", page_icon=MARK, layout="wide")
st.logo(WORDMARK, size="large", icon_image=WORDMARK)
st.navigation(pages(), position="top").run()
