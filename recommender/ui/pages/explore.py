"""Explore: the whole catalog with search, filters and order, and everything of one model. All of it is in the URL."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from recommender.catalog.explore import Filters, Listed, explore, facets, without_each
from recommender.catalog.model_detail import detail
from recommender.engine.words import count
from recommender.errors import RecommenderError
from recommender.types import GIB
from recommender.ui import admin_view, explore_filters, explore_view, refresh_view
from recommender.ui.inputs import device_input
from recommender.ui.limits import BOUND
from recommender.ui.resources import catalog, told

_ROWS = 12  # of one page: few enough that a model's details are in sight below them
_NUMBER = st.column_config.NumberColumn
_COLUMNS = {
    "Model": st.column_config.TextColumn(pinned=True),
    "Parameters": _NUMBER("Parameters, 10⁹", format="%.2f"),
    "Context": _NUMBER("Context, tokens", format="localized"),
    "Smallest file": _NUMBER("Smallest file, GiB", format="%.2f"),
    "File is": st.column_config.TextColumn(help="where the bytes of the smallest file come from"),
    "Benchmarks": _NUMBER(format="%d", help="published scores behind its abilities"),
}


def _table(rows: Sequence[Listed]) -> dict[str, list[object]]:
    return {
        "Model": [row.name for row in rows],
        "Tier": [row.tier for row in rows],
        "Parameters": [row.params_total / 1e9 for row in rows],
        "Context": [row.context_tokens for row in rows],
        "Licence": [row.license or None for row in rows],
        "Tools": [row.tool_calling for row in rows],
        "Thinking": [row.thinking for row in rows],
        "Smallest file": [row.smallest_bytes / GIB if row.smallest_bytes else None for row in rows],
        "File is": [
            " · ".join(part for part in (row.smallest_quantization, row.smallest_from) if part) for row in rows
        ],
        "Released": [row.released or None for row in rows],
        "State": [row.state for row in rows],
        "Benchmarks": [row.benchmarks for row in rows],
    }


def _results(rows: Sequence[Listed]) -> None:
    ids = [row.model_id for row in rows]
    # A selection is a row's number: another page must not inherit it, so its key is made of what the rows are.
    key = f"models_{hash(tuple(ids))}"
    chosen = st.query_params.get(explore_view.CHOSEN, "")
    st.dataframe(
        _table(rows),
        hide_index=True,
        key=key,
        on_select=lambda: explore_view.choose_row(key, ids),
        selection_mode="single-row",
        selection_default={"selection": {"rows": [ids.index(chosen)]}} if chosen in ids else None,
        column_config=_COLUMNS,
        height="content",
        placeholder="not recorded",
        alt="Models of the catalog that pass the filters",
    )
    st.caption(
        "Parameters, context, licence, tools and thinking are as published; tick a row for the source of each. The "
        "smallest file is the smallest published GGUF or, where its size is not published, computed from the model's "
        f"shape. Catalog of {catalog().date}."
    )


def _page(filters: Filters, sort: str, descending: bool, total: int) -> int:
    """Which page is shown, counted from one: the first one again when something else is asked."""
    pages = max(math.ceil(total / _ROWS), 1)
    asked = (filters, sort, descending)
    if st.session_state.setdefault("explored", asked) != asked:
        st.session_state["explored"] = asked
        if explore_filters.PAGE in st.session_state:
            st.session_state[explore_filters.PAGE] = 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{count(total)}** {'model' if total == 1 else 'models'}", width="content")
        if pages == 1:
            return 1
        return min(int(st.pagination(pages, key=explore_filters.PAGE, **BOUND)), pages)


try:
    for note in catalog().notes:
        st.info(told(note))
    asked = device_input()
    filters, sort, descending = explore_filters.filters_input(facets(catalog()))
    explore_filters.set_filters(filters)
    total = explore(catalog(), filters, limit=0).total
    if total:
        number = _page(filters, sort, descending, total)
        _results(explore(catalog(), filters, sort, descending, _ROWS, (number - 1) * _ROWS).rows)
    else:
        explore_filters.nothing_left(filters, without_each(catalog(), filters))
    if chosen := st.query_params.get(explore_view.CHOSEN):
        explore_view.show(detail(catalog(), chosen), asked.device if asked else None)
    elif total:
        st.caption("Tick a row for its files, numbers, benchmarks and speeds on the device above.")
    refresh_view.offer()
    admin_view.offer()
except RecommenderError as error:
    st.error(told(error), icon=":material/error:")
