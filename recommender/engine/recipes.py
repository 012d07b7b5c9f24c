"""The recipe of a pick: its runtime's own, with the pick's numbers and the names that the catalog has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recommender.catalog.queries import find_model
from recommender.engine.picks import WITHOUT_SHELL
from recommender.engine.words import rate
from recommender.errors import BadInputError
from recommender.runtimes import Recipe, RuntimeModel, Step, runtime
from recommender.types import Device, Need, Pick

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog


@dataclass(frozen=True)
class _Variant:
    format: str
    repo: str
    file: str


def recipe_of(pick: Pick, device: Device, need: Need, catalog: Catalog) -> Recipe:
    """How to set this pick up on this device.

    Raises:
        UnknownNameError: the catalog does not have the model or the runtime.
        BadInputError: the catalog has no such variant for the runtime, or a name that a command must not carry.
    """
    model = find_model(catalog, pick.model_id)
    how = runtime(pick.runtime)
    quantization = pick.quantization or ""
    row = (
        catalog.cursor()
        .execute(
            "SELECT c.format FROM candidates c WHERE c.model_id = $1 AND c.runtime = $2 "
            "AND (c.quantization = $3 OR c.format = 'managed' AND $3 = '') ORDER BY c.format LIMIT 1",
            [model.model_id, how.id, quantization],
        )
        .fetchone()
    )
    if row is None:
        raise BadInputError(f"{how.name} has no {quantization or 'managed'} {model.name}: choose another combination.")
    variant = _Variant(row[0], pick.file_repo, pick.file_name)
    accelerator = pick.accelerator or how.accelerator_for(device, need.experimental)
    made = how.recipe(pick, RuntimeModel.of(model, variant), device, accelerator)
    return _in_an_app(made, pick, how.name) if device.os in WITHOUT_SHELL else made


def _in_an_app(made: Recipe, pick: Pick, runtime_name: str) -> Recipe:
    """What is left of a recipe where no shell runs its commands."""
    load = f"Load {pick.file_repo}/{pick.file_name}".rstrip("/") if pick.file_repo else f"Load {pick.model_id}"
    speed = pick.estimate.decode_tokens_per_s
    expected = f" Expected: {rate(speed.value)}, {rate(speed.low)} to {rate(speed.high)}." if speed else ""
    return replace(
        made,
        steps=(
            Step("Load it in an app", f"{load} in an app built on {runtime_name}, at the context of the pick.", "text"),
        ),
        check=Step("Check that it works", "Ask it something in the app.", "text"),
        measure=Step(
            "Measure it",
            f"Read the speed that the app shows.{expected}",
            "text",
            note="This system runs no commands, so Rightsize cannot measure on it.",
        ),
        optional=(),
    )
