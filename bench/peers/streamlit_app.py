"""The orders' dashboard in Streamlit, as its documentation has it: the connection is cached, the charts are its own.

`streamlit run streamlit_app.py -- TILES.json DATABASE`; `?over=AMOUNT` is the choice. A cursor for each query, as
DuckDB's documentation advises.
"""

import json
import sys
from pathlib import Path

import altair as alt  # type: ignore[import-not-found]
import duckdb
import streamlit as st  # type: ignore[import-not-found]

st.set_page_config(layout="wide")


@st.cache_resource  # type: ignore[untyped-decorator]
def connect() -> duckdb.DuckDBPyConnection:
    """One for all who look."""
    return duckdb.connect(sys.argv[2], read_only=True)


def show(tile: dict[str, str], over: float) -> None:
    """One tile."""
    found = connect().cursor().execute(tile["sql"], [over]).df()
    names = list(found.columns)
    kind = tile["kind"]
    if kind == "number":
        st.metric(tile["title"], f"{found.iloc[0, 0]:,.2f}")
        return
    st.subheader(tile["title"])
    if kind == "table":
        st.dataframe(found)
    elif kind == "bar":
        st.bar_chart(found, x="product", y="amount", horizontal=True, sort=False)
    elif kind == "scatter":
        st.scatter_chart(found, x="amount", y="items")
    elif kind == "heat":
        chart = alt.Chart(found).mark_rect().encode(x="hour:O", y="weekday:O", color="orders:Q")
        st.altair_chart(chart)
    elif kind == "area":
        st.area_chart(found, x=names[0], y=names[2], color=names[1], stack=True)
    else:
        st.line_chart(found, x=names[0], y=names[2], color=names[1])


tiles = json.loads(Path(sys.argv[1]).read_text())
chosen = float(st.query_params.get("over", "0"))
for start, many in ((0, 3), (3, 2), (5, 2), (7, 2)):
    for column, each in zip(st.columns(many), tiles[start : start + many], strict=True):
        with column, st.container(key=f"tile-{each['id']}"):
            show(each, chosen)
