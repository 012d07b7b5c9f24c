"""``recommender recipe``: all it takes to set a pick up, as text or as files."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from recommender.calibrated import calibration_here
from recommender.catalog.queries import find_model
from recommender.catalog.store import Catalog, open_catalog
from recommender.cli_need import need_from
from recommender.engine.recipes import recipe_of
from recommender.engine.recommend import recommend
from recommender.errors import BadInputError, NotWritableError
from recommender.present import jsonable
from recommender.runtimes import Recipe
from recommender.types import Device, Need, Recommendation


def recipe_command(arguments: argparse.Namespace, device: Device) -> tuple[Any, str]:
    """The recipe of the best pick for the question, as JSON and as Markdown; with ``--write`` its files too.

    Raises:
        BadInputError: nothing fits the question; the nearest reasons are in the message.
        NotWritableError: a file cannot be written, or one of that name is there already.
    """
    with open_catalog() as catalog:
        need = _need(arguments, catalog)
        answer = recommend(device, need, catalog, calibration=calibration_here(device, catalog), top=1)
        if not answer.picks:
            raise BadInputError(_nothing(answer))
        recipe = recipe_of(answer.picks[0], answer.device, need, catalog)
    text = recipe.markdown()
    if arguments.write is not None:
        text += "".join(f"\nWritten: {path}" for path in _write(recipe, arguments.write))
    return {**jsonable(recipe), "files": recipe.files, "markdown": recipe.markdown()}, text


def _need(arguments: argparse.Namespace, catalog: Catalog) -> Need:
    """The question of the command line; ``--model``, ``--quant`` and ``--runtime`` narrow it to one combination."""
    need = need_from(arguments)
    if arguments.model:
        need = replace(need, models=(find_model(catalog, arguments.model).model_id,))
    if arguments.quant:
        need = replace(need, quantizations=(arguments.quant,), all_quantizations=True)
    if arguments.runtime:
        need = replace(need, runtimes=(arguments.runtime,))
    return need


def _nothing(answer: Recommendation) -> str:
    reasons = [f"{miss.pick.name} {miss.pick.quantization or ''}: {miss.reason}" for miss in answer.near_misses[:3]]
    kept_out = [f"{rule} kept out {number}" for rule, number in answer.rejected.items()]
    return f"Nothing fits this question on {answer.device.name}. {'. '.join(reasons) or ', '.join(kept_out)}."


def _write(recipe: Recipe, folder: Path) -> list[Path]:
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {"recipe.md": recipe.markdown(), **recipe.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text if text.endswith("\n") else text + "\n")
            written.append(path)
    except FileExistsError as error:
        raise NotWritableError(f"{error.filename} is there already: name another folder with --write.") from error
    except OSError as error:
        raise NotWritableError(f"{folder} cannot be written: {error.strerror}. Name another folder.") from error
    return written
