"""What the engine asks of an open catalog."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recommender.catalog.facts import ModelRow, read_facts
from recommender.catalog.store import Catalog
from recommender.errors import BadInputError, UnknownNameError
from recommender.estimate.architecture import Architecture, architecture_from_row, merge_rows

if TYPE_CHECKING:
    from recommender.estimate.names import Resolver


@dataclass(frozen=True)
class RuntimeRow:
    """A runtime as ``runtimes.csv`` has it; every field but the texts and the numbers is a plain yes or no."""

    id: str
    runtime: str
    managed: bool
    offline: bool
    sla: bool
    audit: bool
    rbac: bool
    support: bool
    many_users: bool
    experimental: bool
    own_conversion: bool
    try_here: bool
    users_max: int | None = None  # at once; None: no limit is known
    max_file_bytes: int | None = None  # of one file
    max_model_bytes: int | None = None  # of all weights

    @property
    def name(self) -> str:
        return self.runtime


def runtimes(catalog: Catalog) -> tuple[RuntimeRow, ...]:
    """Every runtime. "conditions" counts as a yes: it can be had, and the terms stand in the recipe."""
    return catalog.keep("runtimes", lambda: _runtimes(catalog))


def _runtimes(catalog: Catalog) -> tuple[RuntimeRow, ...]:
    numbers = ("users_max", "max_file_bytes", "max_model_bytes")
    names = [field for field in RuntimeRow.__dataclass_fields__ if field not in ("id", "runtime", *numbers)]
    columns = ", ".join((*(f"CAST({name} AS VARCHAR) IN ('yes', 'true', 'conditions')" for name in names), *numbers))
    rows = catalog.cursor().execute(f"SELECT id, runtime, {columns} FROM runtimes ORDER BY rowid").fetchall()
    return tuple(RuntimeRow(*row) for row in rows)


def find_model(catalog: Catalog, name: str) -> ModelRow:
    """The model of this id or name, or the one that a name as it is found in the world means.

    Raises:
        UnknownNameError: no model has that name, or several could be meant; the message has the nearest ids.
    """
    try:
        return catalog.model(name)
    except UnknownNameError:
        match = _resolver(catalog).resolve(name)
        if match is None:
            raise
        return catalog.model(match.model_id)


def _resolver(catalog: Catalog) -> Resolver:
    from recommender.estimate.names import Resolver  # its patterns take time to compile, and few questions need them

    def make() -> Resolver:
        cursor = catalog.cursor().execute("SELECT alias, model_id FROM model_aliases")
        aliases = [{"alias": alias, "model_id": model_id} for alias, model_id in cursor.fetchall()]
        return Resolver([vars(model) for model in catalog.models()], aliases)

    return catalog.keep("resolver", make)


def own_entries(catalog: Catalog) -> tuple[tuple[str, str], ...]:
    """Id and name of every GGUF that a person added."""
    sql = "SELECT entry_id, name FROM sightings WHERE source = 'gguf' ORDER BY name, entry_id"
    return catalog.keep("own entries", lambda: tuple(catalog.cursor().execute(sql).fetchall()))


def candidates_per_role(catalog: Catalog) -> dict[tuple[str, str], int]:
    """How many variants of the models of each role a runtime takes, by (role, runtime)."""
    sql = "SELECT m.role, c.runtime, count(*) FROM candidates c JOIN models m USING (model_id) GROUP BY ALL"
    return catalog.keep(
        "candidates per role",
        lambda: {(role, runtime): number for role, runtime, number in catalog.cursor().execute(sql).fetchall()},
    )


def candidates_per_runtime(catalog: Catalog) -> dict[str, int]:
    """How many variants each runtime takes."""
    found: dict[str, int] = {}
    for (_, runtime), number in candidates_per_role(catalog).items():
        found[runtime] = found.get(runtime, 0) + number
    return found


def kinds_per_runtime(catalog: Catalog) -> dict[str, tuple[tuple[str, str], ...]]:
    """The different (format, quantization) that each runtime takes of any model."""

    def read() -> dict[str, tuple[tuple[str, str], ...]]:
        rows = catalog.cursor().execute("SELECT DISTINCT runtime, format, quantization FROM candidates ORDER BY ALL")
        found: dict[str, list[tuple[str, str]]] = {}
        for runtime, form, quantization in rows.fetchall():
            found.setdefault(runtime, []).append((form, quantization))
        return {runtime: tuple(kinds) for runtime, kinds in found.items()}

    return catalog.keep("kinds per runtime", read)


def models_by_id(catalog: Catalog, ids: Collection[str]) -> dict[str, ModelRow]:
    """The models of these ids."""
    if catalog.count("models") <= _FEW_MODELS:
        known = catalog.keep("models by id", lambda: {model.model_id: model for model in catalog.models()})
        return {model_id: known[model_id] for model_id in ids}
    known = catalog.keep("models asked for", dict)
    wanted = [model_id for model_id in ids if model_id not in known]
    if wanted:
        found = read_facts(
            catalog.cursor(), ModelRow, "models", where="model_id IN (SELECT unnest($1))", values=[wanted]
        )
        known.update((model.model_id, model) for model in found)
    return {model_id: known[model_id] for model_id in ids}


# Up to this many, all of them are read at once; beyond, only those asked for.
_FEW_MODELS = 1000

_COLUMNS = """
SELECT v.model_id, v.quantization, $2 AS runtime, v.format, coalesce(h.architecture, '') AS architecture,
       v.file_bytes, v.tensor_bytes, v.input_embedding_bytes, v.output_bytes, v.read_bytes_per_token,
       m.params_total, coalesce(m.params_active, m.params_total) AS params_active,
       h.n_layer, h.n_embd, h.n_vocab, h.n_head, h.n_ff_live AS n_ff,
       h.k_full_elements_per_token, h.v_full_elements_per_token,
       h.k_window_elements_per_token, h.v_window_elements_per_token, h.window_tokens, h.state_bytes,
       h.v_full_even_elements_per_token, h.v_window_even_elements_per_token,
       v.repack_x86_bytes, v.repack_arm_bytes,
       v.layout = 'exact' AS exact, v.published_bytes, v.repo, v.file, v.availability
FROM variants v JOIN models m USING (model_id) LEFT JOIN shapes h USING (model_id)
WHERE v.model_id = $1
  AND EXISTS (FROM candidates c WHERE c.model_id = v.model_id AND c.format = v.format
              AND c.quantization = v.quantization AND c.runtime = $2)
ORDER BY v.tensor_bytes DESC NULLS LAST
"""


def variant_columns(catalog: Catalog, model_id: str, runtime: str) -> list[dict[str, Any]]:
    """Every variant of a model that a runtime takes, as the estimators' columns, largest first."""
    known: dict[tuple[str, str], list[dict[str, Any]]] = catalog.keep("variant columns", dict)
    if (model_id, runtime) not in known:
        cursor = catalog.cursor().execute(_COLUMNS, [model_id, runtime])
        names = [column[0] for column in cursor.description or []]
        known[model_id, runtime] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [dict(row) for row in known[model_id, runtime]]


def runtimes_for(catalog: Catalog, model_id: str) -> tuple[str, ...]:
    """The runtimes that take some variant of a model."""
    rows = catalog.cursor().execute(
        "SELECT DISTINCT runtime FROM candidates WHERE model_id = $1 ORDER BY 1", [model_id]
    )
    return tuple(row[0] for row in rows.fetchall())


def architecture_of(catalog: Catalog, model_id: str) -> Architecture:
    """All numbers of a model's shape.

    Raises:
        UnknownNameError: the catalog has no such model.
        BadInputError: its shape is not known exactly, so no file of that shape can be made.
    """
    model = catalog.model(model_id)
    rows = [_texts(catalog, table, model.model_id) for table in ("models", "architectures")]
    try:
        return architecture_from_row(merge_rows(rows[0], rows[1]))
    except BadInputError as error:
        raise BadInputError(
            f"{model.name} cannot be rehearsed, because its exact shape is not known. {error}"
        ) from None


def _texts(catalog: Catalog, table: str, model_id: str) -> dict[str, str]:
    """A row as its CSV file has it; empty when there is none."""
    cursor = catalog.cursor().execute(f"SELECT * FROM {table} WHERE model_id = $1", [model_id])
    names = [column[0] for column in cursor.description or []]
    row = cursor.fetchone()
    return {} if row is None else {name: _text(value) for name, value in zip(names, row, strict=True)}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
