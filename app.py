"""The Streamlit entry: page config and navigation, nothing else."""

import streamlit as st

from recommender.ui.navigation import pages

st.set_page_config(page_title="Rightsize", page_icon=":material/straighten:", layout="wide")
st.navigation(pages(), position="top").run()
