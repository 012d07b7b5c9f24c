"""Signing in to administer a hosted instance, where its settings name who may."""

from __future__ import annotations

import streamlit as st

from recommender.settings import current
from recommender.ui.resources import administers, hosted, signed_in
from recommender.ui.words import plain


def offer() -> None:
    """A button to sign in, or who is signed in; nothing where nobody could administer."""
    there = st.user.get("is_logged_in")  # None: no sign-in service is configured
    if not hosted() or not current().admins or there is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if not there:
            st.button("Sign in to administer", icon=":material/login:", type="tertiary", on_click=st.login)
            return
        name = next(iter(signed_in()), "someone without a name")
        may = "You administer this instance." if administers() else "That name does not administer this instance."
        st.caption(f"Signed in as {plain(name)}. {may}", width="content")
        st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)
