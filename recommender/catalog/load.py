"""From CSV rows into tables. The schema is the only list of columns, types and rules; a bad row is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommender.catalog.rows import CsvTable, refuse, typed_columns
from recommender.errors import CatalogError, nearest

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SHOWN = 80  # characters of a bad value in a message
_ARRAYS = "arrays to insert"
_NUMPY_TYPES = {"INTEGER": np.int64, "BIGINT": np.int64, "BOOLEAN": np.bool_}

Column = NDArray[Any]


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def create_tables(connection: DuckDBPyConnection, schema: Path) -> None:
    """Run ``schema.sql`` in the connection's current database."""
    connection.execute(schema.read_text(encoding="utf-8"))


def column_types(connection: DuckDBPyConnection, table: str) -> dict[str, str]:
    """Columns of a table in order, with their DuckDB types."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {quoted(table)}").fetchall()}


def tables(connection: DuckDBPyConnection) -> tuple[list[str], list[str]]:
    """The tables filled from CSV files and the derived ones, each in the schema's order."""
    rows = connection.execute(
        "SELECT table_name, coalesce(comment, '') FROM duckdb_tables()"
        " WHERE database_name = current_database() AND NOT temporary ORDER BY table_oid"
    ).fetchall()
    derived = [name for name, comment in rows if comment.startswith("derived")]
    return [name for name, _ in rows if name not in derived], derived


def load(connection: DuckDBPyConnection, table: str, source: CsvTable) -> None:
    """Check every row of ``source`` against the table's rules, then insert all of them."""
    types = column_types(connection, table)
    columns = typed_columns(source, types)
    names = ", ".join(quoted(name) for name in types)
    insert_columns(
        connection, "staging", {"line of file": "BIGINT", **types}, {"line of file": source.lines, **columns}
    )
    try:
        _check(connection, table, source)
        # DuckDB keeps the order: rows stay as the file has them.
        connection.execute(f"INSERT INTO {quoted(table)} ({names}) SELECT {names} FROM staging")
    finally:
        connection.execute("DROP TABLE IF EXISTS temp.staging")


def insert_columns(
    connection: DuckDBPyConnection, table: str, types: Mapping[str, str], columns: Mapping[str, Sequence[Any] | Column]
) -> None:
    """Bulk insert of equally long columns, by name; ``staging`` is made as a temporary table.

    ``None``, a masked value and NaN become NULL. DuckDB reads the arrays where they lie: 0.2 microseconds a value,
    where lists as parameters take 0.7 and hold every value three times.
    """
    names = list(types)
    arrays = {str(place): _array(columns[name], types[name]) for place, name in enumerate(names)}
    values = ", ".join(f"{quoted(str(i))}::{types[name]} AS {quoted(name)}" for i, name in enumerate(names))
    connection.register(_ARRAYS, arrays)
    try:
        if table == "staging":
            connection.execute(f"CREATE OR REPLACE TEMPORARY TABLE staging AS SELECT {values} FROM {quoted(_ARRAYS)}")
        else:
            wanted = ", ".join(map(quoted, names))
            connection.execute(f"INSERT INTO {quoted(table)} ({wanted}) SELECT {values} FROM {quoted(_ARRAYS)}")
    finally:
        connection.unregister(_ARRAYS)


def _array(values: Sequence[Any] | Column, kind: str) -> Column:
    """A column as NumPy has it: numbers as numbers, everything else as objects."""
    if isinstance(values, np.ndarray):
        return values
    if kind == "DOUBLE":
        return np.array(values, dtype=np.float64)  # None becomes NaN
    if kind in _NUMPY_TYPES:
        unknown = [value is None for value in values]
        return np.ma.array([value or 0 for value in values], mask=unknown, dtype=_NUMPY_TYPES[kind])
    return np.fromiter(values, dtype=object, count=len(values))


def _check(connection: DuckDBPyConnection, table: str, source: CsvTable) -> None:
    """Ask the staged rows about each constraint in turn: DuckDB's own refusal would not say which line it was."""
    rules = connection.execute(
        "SELECT constraint_type, expression, constraint_column_names, referenced_table, referenced_column_names"
        " FROM duckdb_constraints() WHERE database_name = current_database() AND table_name = ?"
        " ORDER BY constraint_index",
        [table],
    ).fetchall()
    broken = [f"{quoted(columns[0])} IS NULL" for kind, _, columns, *_ in rules if kind == "NOT NULL"]
    broken += [f"NOT ({expression})" for kind, expression, *_ in rules if kind == "CHECK"]
    # One look over all rows settles most tables; only a bad one is asked rule by rule.
    fine = not connection.execute(f"SELECT 1 FROM staging WHERE {' OR '.join(broken or ['FALSE'])} LIMIT 1").fetchall()
    for kind, expression, columns, other, other_columns in rules:
        if kind in ("NOT NULL", "CHECK"):
            if fine:
                continue
            if kind == "CHECK":
                _check_rule(connection, source, columns, expression)
            else:
                _check_present(connection, source, columns[0])
        elif kind in ("PRIMARY KEY", "UNIQUE"):
            _check_unique(connection, source, columns)
        elif kind == "FOREIGN KEY":
            _check_reference(connection, source, columns, other, other_columns)
        else:
            raise CatalogError(f"schema.sql: {table} has a {kind} constraint, which rows are not checked against.")


def _check_present(connection: DuckDBPyConnection, source: CsvTable, column: str) -> None:
    row = connection.execute(
        f'SELECT "line of file" FROM staging WHERE {quoted(column)} IS NULL ORDER BY 1 LIMIT 1'
    ).fetchone()
    if row:
        raise refuse(source.path.name, row[0], column, "is empty, and every row needs it")


def _check_unique(connection: DuckDBPyConnection, source: CsvTable, columns: Sequence[str]) -> None:
    names = ", ".join(quoted(column) for column in columns)
    filled = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
    row = connection.execute(
        f'SELECT "line of file", first("line of file") OVER (PARTITION BY {names} ORDER BY "line of file") AS before,'
        f' {names} FROM staging WHERE {filled} QUALIFY before < "line of file" ORDER BY 1 LIMIT 1'
    ).fetchone()
    if row:
        value = ", ".join(_shown(value) for value in row[2:])
        raise refuse(source.path.name, row[0], ", ".join(columns), f"{value} is on line {row[1]} already")


def _check_rule(connection: DuckDBPyConnection, source: CsvTable, columns: Sequence[str], expression: str) -> None:
    names = ", ".join(quoted(column) for column in columns)
    row = connection.execute(
        f'SELECT "line of file", {names} FROM staging WHERE NOT ({expression}) ORDER BY 1 LIMIT 1'
    ).fetchone()
    if row:
        rule = expression.removeprefix("(").removesuffix(")")
        value = ", ".join(_shown(value) for value in row[1:])
        raise refuse(source.path.name, row[0], ", ".join(columns), f"{value} breaks the rule {rule}")


def _check_reference(
    connection: DuckDBPyConnection,
    source: CsvTable,
    columns: Sequence[str],
    other: str,
    other_columns: Sequence[str],
) -> None:
    names = ", ".join(quoted(column) for column in columns)
    targets = ", ".join(quoted(column) for column in other_columns)
    filled = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
    row = connection.execute(
        f'SELECT "line of file", {names} FROM staging WHERE {filled}'
        f" AND ({names}) NOT IN (SELECT ({targets}) FROM {quoted(other)}) ORDER BY 1 LIMIT 1"
    ).fetchone()
    if row:
        value = ", ".join(_shown(value) for value in row[1:])
        reason = f"{value} is not in {other}.csv, column {', '.join(other_columns)}"
        if len(other_columns) == 1:
            known = [str(name) for (name,) in connection.execute(f"SELECT {targets} FROM {quoted(other)}").fetchall()]
            close = nearest(str(row[1]), known)
            reason += f" (nearest: {', '.join(close)})" if close else ""
        raise refuse(source.path.name, row[0], ", ".join(columns), reason)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else "empty" if value is None else str(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
