"""Looks for contradictions in the built catalog, in shipped rows and refreshed ones: ``recommender catalog check``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from recommender import paths
from recommender.catalog import overlay
from recommender.catalog.curation_files import FILE_RULES
from recommender.catalog.curation_models import MODEL_RULES
from recommender.catalog.curation_names import NamedFigures, named_figures, size_text
from recommender.catalog.curation_rules import KEYS, PREPARE
from recommender.catalog.rows import read_csv
from recommender.plain import plain

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from recommender.catalog.store import Catalog

__all__ = ["Contradiction", "check_json", "check_text", "contradictions"]

_RULES = (*MODEL_RULES, *FILE_RULES)
_OFF = 1.25  # names round: "3B" is anything from 2.4 to 3.75 billion
_FAR_OFF = 2.0


@dataclass(frozen=True)
class Contradiction:
    """Two things in the catalog that cannot both be true.

    Attributes:
        rule: which rule found it, such as "file-size".
        title: what such a row breaks, in a few words.
        table: the table of the row, such as "gguf_files".
        key: what tells the row apart in its table; "" where a column is empty.
        severity: "wrong" where one of the two must be, "doubtful" where both may be right.
        sentence: both figures and where they stand.
        line: of the row in its CSV file; ``None`` where it is not found there.
        refreshed: the row is a live source's, not one that ships.
    """

    rule: str
    title: str
    table: str
    key: tuple[str, ...]
    severity: str
    sentence: str
    line: int | None = None
    refreshed: bool = False


Found = tuple[tuple[Any, ...], str, str]  # key, severity, sentence
_Check = Callable[["DuckDBPyConnection"], Iterable[Found]]


def contradictions(catalog: Catalog) -> tuple[Contradiction, ...]:
    """Every contradiction that a rule finds, by rule, wrong ones first."""
    cursor = catalog.cursor()
    cursor.execute(PREPARE)
    found: list[tuple[str, str, str, Found]] = []
    for rule in _RULES:
        rows = cursor.execute(rule.sql).fetchall()
        found += [(rule.name, rule.title, rule.table, (row[:-2], row[-2], row[-1])) for row in rows]
    for name, title, table, check in _IN_PYTHON:
        found += [(name, title, table, one) for one in check(cursor)]
    lines = {table: _lines(table) for table in {table for _, _, table, _ in found}}
    made = []
    for name, title, table, (values, severity, sentence) in found:
        key = tuple("" if value is None else str(value) for value in values)
        line, refreshed = lines[table].get(key, (None, False))
        made.append(Contradiction(name, title, table, key, severity, sentence, line, refreshed))
    order = {name: place for place, name in enumerate((*(r.name for r in _RULES), *(c[0] for c in _IN_PYTHON)))}
    return tuple(sorted(made, key=lambda one: (order[one.rule], one.severity != "wrong", one.key, one.sentence)))


def check_text(found: Sequence[Contradiction]) -> str:
    """What was found, by rule with counts, each with its row."""
    if not found:
        return "No contradictions."
    wrong = sum(one.severity == "wrong" for one in found)
    parts = [f"{wrong} wrong, {len(found) - wrong} doubtful."]
    for rule, group in groupby(found, key=lambda one: one.rule):
        rows = list(group)
        parts.append(f"\n{rule}: {rows[0].title} ({len(rows)})")
        parts += [f"  {one.severity}  {_place(one)}: {plain(one.sentence)}" for one in rows]
    return "\n".join(parts)


def check_json(found: Sequence[Contradiction]) -> dict[str, Any]:
    """The same as data: how many are wrong and doubtful, and each one's fields."""
    wrong = sum(one.severity == "wrong" for one in found)
    return {"wrong": wrong, "doubtful": len(found) - wrong, "contradictions": [asdict(one) for one in found]}


def _place(one: Contradiction) -> str:
    file = f"refreshed {one.table}.csv" if one.refreshed else f"{one.table}.csv"
    return f"{file} line {one.line}" if one.line else f"{one.table} {plain(' '.join(one.key))}"


def _lines(table: str) -> dict[tuple[str, ...], tuple[int, bool]]:
    """Key → line of the row, and whether that is in the refreshed file, which counts before the shipped one."""
    lines: dict[tuple[str, ...], tuple[int, bool]] = {}
    live = overlay.current()
    for folder in (live, paths.catalog_dir()):
        path = folder / f"{table}.csv" if folder else None
        if path is None or not path.exists():
            continue
        rows = read_csv(path)
        columns = [rows.header.index(column) for column in KEYS[table]]
        for row, line in zip(rows.rows, rows.lines, strict=True):
            lines.setdefault(tuple(row[column] for column in columns), (line, folder == live))
    return lines


# ── rules about names, which SQL cannot read ─────────────────────────────────────────────────────────────────


def _named_sizes(connection: DuckDBPyConnection) -> Iterator[Found]:
    """Parameters against the sizes in a model's name.

    A name may round generously where the architecture adds up to the listed count: then the name is what is loose.
    """
    rows = connection.execute(
        "SELECT model_id, params_total, coalesce(params_text, params_total), coalesce(params_active, 0),"
        " coalesce(context_max, 0), coalesce(abs(coalesce(params_text, params_total) / elements - 1) < 0.02, false)"
        " FROM models LEFT JOIN counted USING (model_id)"
    ).fetchall()
    for model_id, total, text, active, context, settled in rows:
        named = named_figures(model_id)
        if _misnamed(named, total, text, _FAR_OFF if settled else _OFF):
            severity = "wrong" if _misnamed(named, total, text, _FAR_OFF) else "doubtful"
            yield (
                (model_id,),
                severity,
                f"{model_id} is called {named.text} and is listed with {total:,} parameters.",
            )
        if named.active and not active and total > _OFF * named.active.params:
            yield (
                (model_id,),
                "doubtful",
                f"{model_id} says {size_text(named.active.params)} active parameters in its name; its row has none.",
            )
        elif named.active and not _near(named.active_ratio(active), _OFF):
            yield (
                (model_id,),
                "doubtful" if _near(named.active_ratio(active), _FAR_OFF) else "wrong",
                f"{model_id} says {size_text(named.active.params)} active parameters in its name and is listed with "
                f"{active:,}.",
            )
        if named.context_tokens and context and context < 0.95 * named.context_tokens:
            yield (
                (model_id,),
                "doubtful",
                f"{model_id} says {named.context_tokens:,} tokens of context in its name, and its row {context:,}.",
            )


def _named_repositories(connection: DuckDBPyConnection) -> Iterator[Found]:
    """Repositories of files whose name has another size than the model they are listed for."""
    rows = connection.execute(
        "SELECT gguf_repo, first(file ORDER BY file), first(bytes ORDER BY file), m.model_id, params_total,"
        " coalesce(params_text, params_total) AS text, count(*)"
        " FROM gguf_files f JOIN models m ON m.model_id = catalog_model_id"
        " WHERE gguf_repo IS NOT NULL GROUP BY gguf_repo, m.model_id, params_total, text"
    ).fetchall()
    for repo, file, size, *model, files in rows:
        if said := _other_size(repo, *model):
            yield (repo, file, size), "wrong", f"{said} ({files} files)."


def _named_by_runtimes(connection: DuckDBPyConnection) -> Iterator[Found]:
    """Names of runtimes' own catalogs that have another size than the model they are listed for."""
    rows = connection.execute(
        "SELECT runtime, r.name, model_id, params_total, coalesce(params_text, params_total)"
        " FROM runtime_models r JOIN models USING (model_id)"
    ).fetchall()
    for runtime, name, *model in rows:
        if said := _other_size(name, *model):
            yield (runtime, name), "wrong", f"{said}."


def _other_size(name: str, model_id: str, total: int, text: int) -> str:
    """What ``name`` says against a model's size, "" when nothing."""
    named, model = named_figures(name), named_figures(model_id)
    shared = {size.params for size in named.sizes} & {size.params for size in model.sizes}
    if shared or not _misnamed(named, total, text, _OFF):
        return ""
    return f"{name} says {named.text} and is listed for {model_id} with {total:,} parameters"


def _quantizations_in_names(connection: DuckDBPyConnection) -> Iterator[Found]:
    """Quantizations against those in the files' names."""
    from recommender.runner.hub import quantization_in  # the runner's room, which no other rule needs

    rows = connection.execute(
        "SELECT gguf_repo, file, bytes, quantization FROM gguf_files"
        " WHERE quantization IS NOT NULL AND kind IN ('model', 'split')"
    ).fetchall()
    for repo, file, size, quantization in rows:
        named = quantization_in(file)
        # "Q4_K" is another name of llama.cpp's for "Q4_K_M".
        if named and quantization not in (named, f"{named}_M"):
            yield (repo, file, size), "wrong", f"{file} says {named} in its name; its row says {quantization}."


def _misnamed(named: NamedFigures, total: int, text: int, within: float) -> bool:
    return not (_near(named.ratio(total), within) or _near(named.ratio(text), within))


def _near(ratio: float, within: float) -> bool:
    return 1 / within <= ratio <= within


_IN_PYTHON: tuple[tuple[str, str, str, _Check], ...] = (
    ("name-size", "figures that its name denies", "models", _named_sizes),
    ("repository-size", "a repository of another size than its model", "gguf_files", _named_repositories),
    ("runtime-name", "a runtime's name of another size than its model", "runtime_models", _named_by_runtimes),
    ("file-name", "a quantization that the file's name denies", "gguf_files", _quantizations_in_names),
)
