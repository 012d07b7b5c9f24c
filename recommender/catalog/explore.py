"""The whole catalog as a list: search, filters, sort and pages.

What filters need is worked out once per open catalog, one row per model in memory, so that a question reads no other
table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import TYPE_CHECKING, Any

from recommender.errors import BadInputError
from recommender.types import OWN_FILE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from recommender.catalog.store import Catalog

__all__ = ["SORTS", "Facets", "Filters", "Listed", "Page", "explore", "facets", "listed", "without_each"]

# Where a model is listed that no live source was seen to list: in the catalog that ships.
SHIPPED = "catalog"
_LONGEST_SEARCH = 200  # characters; what is longer is cut

# What a person may sort by → SQL.
SORTS: Mapping[str, str] = {
    "released": "released",
    "name": "lower(name)",
    "parameters": "params_total",
    "context": "context_tokens",
    "licence": "lower(license)",
    "file": "smallest_bytes",
    "benchmarks": "benchmarks",
    "listings": "listings",
    "state": "state",
}


@dataclass(frozen=True)
class Filters:
    """What is asked. Empty, ``None`` and ``False`` ask nothing; within a tuple any one value will do."""

    text: str = ""  # each of its words must occur in the name, id, family, base model or an alias
    tiers: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    states: tuple[str, ...] = ()  # new, current, superseded, withdrawn
    commercial_use: tuple[str, ...] = ()  # yes, conditions, no, unknown
    licenses: tuple[str, ...] = ()  # as ``Listed.license``
    context_tokens: int | None = None  # at least
    languages: tuple[str, ...] = ()  # two-letter codes; all of them
    tool_calling: bool = False
    thinking: tuple[str, ...] = ()  # yes, no, hybrid, unknown
    runtimes: tuple[str, ...] = ()  # ids
    file_bytes: float | None = None  # its smallest file at most
    released_since: str = ""  # ISO date, or its beginning
    with_benchmarks: bool = False
    sources: tuple[str, ...] = ()  # of ``sightings``, or "catalog"


@dataclass(frozen=True)
class Listed:
    """One model of the list. Unknown texts are "", unknown numbers ``None``."""

    model_id: str
    name: str
    family: str
    tier: str
    role: str
    params_total: int
    params_active: int | None
    context_tokens: int | None  # the most it reads
    license: str
    commercial_use: str  # yes, conditions, no or unknown
    tool_calling: str  # yes, no or unknown
    thinking: str  # yes, no, hybrid or unknown
    languages: tuple[str, ...]
    runtimes: tuple[str, ...]  # ids of those that take it
    smallest_bytes: float | None
    smallest_from: str  # "published file", "rounded size", "exact layout", "rough estimate" or ""
    smallest_quantization: str
    released: str  # ISO date, or its beginning
    state: str
    state_why: str
    benchmarks: int  # scores
    files: int  # published GGUF files
    listings: int  # places where it, or something made of it, was seen
    sources: tuple[str, ...]  # live sources that list the model itself now, or "catalog"


@dataclass(frozen=True)
class Page:
    """Some of the rows, and how many there are."""

    rows: tuple[Listed, ...]
    total: int


@dataclass(frozen=True)
class Facets:
    """For each filter with a fixed choice: value → how many models have it, most first."""

    models: int
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by the field of ``Filters``

    def of(self, name: str) -> dict[str, int]:
        return dict(self.counts.get(name, {}))


_TABLE = "explored.listed"
# A text as it is searched: "Qwen3 4B", "qwen3-4b" and "qwen3_4b" are one. A new line keeps the parts of it apart.
_SEPARATORS = r"[-_ \t]"
_SEARCHED = (
    "regexp_replace(lower(concat_ws(chr(10), m.name, m.model_id, m.family, m.base_model, c.aliases)),"
    f" '{_SEPARATORS}', '', 'g')"
)
_MAKE = f"""
CREATE OR REPLACE TABLE {_TABLE} AS
WITH takes AS (
    SELECT model_id, list(DISTINCT runtime ORDER BY runtime) AS runtimes FROM candidates GROUP BY model_id
), scored AS (
    SELECT catalog_model_id AS model_id, count(*) AS n FROM benchmarks
    WHERE catalog_model_id IS NOT NULL AND duplicate IS NULL GROUP BY 1
), published AS (
    SELECT catalog_model_id AS model_id, count(*) AS n FROM gguf_files
    WHERE catalog_model_id IS NOT NULL AND kind = 'model' GROUP BY 1
), sized AS (
    SELECT catalog_model_id AS model_id, bytes::DOUBLE AS bytes, coalesce(quantization, quant, '') AS quantization,
           CASE WHEN bytes_kind <> 'exact' THEN 'rounded size'
                WHEN starts_with(gguf_repo, '{OWN_FILE}') THEN 'the file itself' ELSE 'published file' END AS told
    FROM gguf_files WHERE kind = 'model' AND bytes IS NOT NULL AND catalog_model_id IS NOT NULL
    UNION ALL
    SELECT model_id, file_bytes, quantization,
           CASE layout WHEN 'exact' THEN 'exact layout' ELSE 'rough estimate' END
    FROM variants WHERE availability IN ('file', 'repo') AND published_bytes IS NULL AND file_bytes IS NOT NULL
), smallest AS (
    SELECT model_id, min_by(sized, bytes) AS least FROM sized GROUP BY model_id
), seen AS (
    SELECT model_id, count(*) FILTER (WHERE gone_at IS NULL) AS n,
           list(DISTINCT source ORDER BY source) FILTER (WHERE gone_at IS NULL
               AND relation NOT IN ('finetune', 'adapter', 'merge')) AS sources
    FROM sightings WHERE model_id IS NOT NULL GROUP BY model_id
), called AS (
    SELECT model_id, string_agg(alias, ' ') AS aliases FROM model_aliases GROUP BY model_id
)
SELECT m.model_id, m.name, m.family, m.tier, m.role, m.params_total, m.params_active,
       coalesce(m.context_max, m.context_native) AS context_tokens,
       coalesce(m.license, m.license_id, '') AS license,
       coalesce(m.commercial_use, 'unknown') AS commercial_use,
       coalesce(m.tool_calling, 'unknown') AS tool_calling, coalesce(m.thinking, 'unknown') AS thinking,
       coalesce(string_split(m.languages, '|'), []) AS languages, coalesce(t.runtimes, []) AS runtimes,
       s.least.bytes AS smallest_bytes, coalesce(s.least.told, '') AS smallest_from,
       coalesce(s.least.quantization, '') AS smallest_quantization, coalesce(m.release_date, '') AS released,
       l.state, l.why AS state_why, coalesce(b.n, 0) AS benchmarks, coalesce(p.n, 0) AS files,
       coalesce(v.n, 0) AS listings, coalesce(v.sources, ['{SHIPPED}']) AS sources,
       {_SEARCHED} AS searched, concat('|', m.languages, '|') AS spoken,
       concat('|', list_aggregate(t.runtimes, 'string_agg', '|'), '|') AS taken_by
FROM models m JOIN lifecycles l USING (model_id) LEFT JOIN takes t USING (model_id) LEFT JOIN scored b USING (model_id)
LEFT JOIN published p USING (model_id) LEFT JOIN smallest s USING (model_id) LEFT JOIN seen v USING (model_id)
LEFT JOIN called c USING (model_id)
"""


_making = Lock()


def _table(catalog: Catalog) -> DuckDBPyConnection:
    """A connection with the list beside the catalog: made once, in memory, by the first who asks."""

    def make() -> bool:
        cursor = catalog.cursor()
        cursor.execute("ATTACH IF NOT EXISTS ':memory:' AS explored")
        cursor.execute(_MAKE)
        return True

    with _making:  # two threads would otherwise replace the table under each other
        catalog.keep("explored", make)
    return catalog.cursor()


def explore(
    catalog: Catalog,
    filters: Filters | None = None,
    sort: str = "released",
    descending: bool = True,
    limit: int = 50,
    offset: int = 0,
) -> Page:
    """The models that pass every filter; unknown values come last either way, equal ones by name.

    Raises:
        BadInputError: there is nothing of that name to sort by, or limit or offset is negative.
    """
    if sort not in SORTS:
        raise BadInputError(f"Models cannot be sorted by {sort!r}. Choose one of {', '.join(SORTS)}.")
    if limit < 0 or offset < 0:
        raise BadInputError("The number of rows and the first of them cannot be negative.")
    conditions, values = _conditions(filters or Filters())
    where = " AND ".join(conditions.values()) or "TRUE"
    order = f"nullif(CAST({SORTS[sort]} AS VARCHAR), '') IS NULL, {SORTS[sort]} {'DESC' if descending else 'ASC'}"
    cursor = _table(catalog)
    total = int(cursor.execute(f"SELECT count(*) FROM {_TABLE} WHERE {where}", values).fetchall()[0][0])
    if offset >= total or not limit:
        return Page((), total)
    rows = _read(
        cursor,
        f"WHERE {where} ORDER BY {order}, lower(name), model_id LIMIT $limit OFFSET $offset",
        values | {"limit": limit, "offset": offset},
    )
    return Page(rows, total)


def listed(catalog: Catalog, model_id: str) -> Listed | None:
    """One model as the list has it, ``None`` when the catalog has no such model."""
    found = _read(_table(catalog), "WHERE model_id = $model_id", {"model_id": model_id})
    return found[0] if found else None


def without_each(catalog: Catalog, filters: Filters) -> dict[str, int]:
    """Per filter that is set, by its field: how many models there would be without that one alone."""
    conditions, values = _conditions(filters)
    if not conditions:
        return {}
    passed = ", ".join(f"({condition}) AS {name}_" for name, condition in conditions.items())
    counts = ", ".join(
        f"count(*) FILTER (WHERE {' AND '.join(f'{other}_' for other in conditions if other != name) or 'TRUE'})"
        for name in conditions
    )
    row = _table(catalog).execute(f"SELECT {counts} FROM (SELECT {passed} FROM {_TABLE})", values).fetchall()[0]
    return {name: int(number) for name, number in zip(conditions, row, strict=True)}


def facets(catalog: Catalog) -> Facets:
    """Every value that a filter can take, with how many models of the whole catalog have it; most first."""
    return catalog.keep("facets", lambda: _facets(catalog))


# Fields of ``Filters`` that are one of a column's values.
_ONE_OF = {
    "tiers": "tier",
    "families": "family",
    "roles": "role",
    "states": "state",
    "commercial_use": "commercial_use",
    "licenses": "license",
    "thinking": "thinking",
}
_FACETS = {
    **_ONE_OF,
    "licenses": "nullif(license, '')",
    "tool_calling": "tool_calling",
    "languages": "unnest(languages)",
    "runtimes": "unnest(runtimes)",
    "sources": "unnest(sources)",
}


def _facets(catalog: Catalog) -> Facets:
    cursor = _table(catalog)
    counts = {
        name: dict(
            cursor.execute(
                f"SELECT value, count(*) AS n FROM (SELECT {what} AS value FROM {_TABLE}) WHERE value IS NOT NULL"
                " GROUP BY value ORDER BY n DESC, value"
            ).fetchall()
        )
        for name, what in _FACETS.items()
    }
    return Facets(catalog.count("models"), counts)


def _conditions(filters: Filters) -> tuple[dict[str, str], dict[str, Any]]:
    """SQL by the filter's field, and the values of its parameters."""
    conditions: dict[str, str] = {}
    values: dict[str, Any] = {}
    if words := filters.text[:_LONGEST_SEARCH].lower().split():
        _holds("text", "searched", [re.sub(_SEPARATORS, "", word) for word in words], conditions, values)
    for name, column in _ONE_OF.items():
        if chosen := getattr(filters, name):
            values[name] = list(chosen)
            conditions[name] = f"list_contains(${name}::VARCHAR[], {column})"
    if filters.sources:
        values["sources"] = list(filters.sources)
        conditions["sources"] = "list_has_any(sources, $sources::VARCHAR[])"
    if filters.runtimes:
        _holds("runtimes", "taken_by", [f"|{one}|" for one in filters.runtimes], conditions, values, "OR")
    if filters.languages:
        _holds("languages", "spoken", [f"|{one}|" for one in filters.languages], conditions, values)
    if filters.tool_calling:
        conditions["tool_calling"] = "tool_calling = 'yes'"
    if filters.with_benchmarks:
        conditions["with_benchmarks"] = "benchmarks > 0"
    if filters.context_tokens is not None:
        values["context_tokens"] = filters.context_tokens
        conditions["context_tokens"] = "coalesce(context_tokens >= $context_tokens, FALSE)"
    if filters.file_bytes is not None:
        values["file_bytes"] = filters.file_bytes
        conditions["file_bytes"] = "coalesce(smallest_bytes <= $file_bytes, FALSE)"
    if filters.released_since:
        # Of "2025-04" the day is not known: it is taken for the month's last, so that nothing is missed.
        values["released_since"] = filters.released_since
        conditions["released_since"] = "released <> '' AND rpad(released, 10, '-99') >= $released_since"
    return conditions, values


def _holds(
    name: str, column: str, parts: list[str], conditions: dict[str, str], values: dict[str, Any], joined_by: str = "AND"
) -> None:
    """The condition that a text holds the parts: all of them, or with "OR" one. Much faster than lists of texts."""
    values.update({f"{name}_{place}": part for place, part in enumerate(parts)})
    conditions[name] = f"({f' {joined_by} '.join(f'contains({column}, ${name}_{p})' for p in range(len(parts)))})"


_COLUMNS = tuple(one.name for one in fields(Listed))


def _read(cursor: DuckDBPyConnection, clause: str, values: dict[str, Any]) -> tuple[Listed, ...]:
    rows = cursor.execute(f"SELECT {', '.join(_COLUMNS)} FROM {_TABLE} {clause}", values).fetchall()
    return tuple(Listed(*map(_frozen, row)) for row in rows)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
