"""``recommender plan`` and ``recommender compare``: their options and their answers."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recommender.cli_need import need_from
from recommender.cli_shared import calibration_of, catalog_with_notes, device_by_name
from recommender.errors import BadInputError
from recommender.types import Device

if TYPE_CHECKING:
    from recommender.engine.plan_steps import Step


def add_compare_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--pick",
        action="append",
        default=[],
        metavar="PICK",
        help="'MODEL QUANTIZATION RUNTIME', with ' @ PRESET' for another device; two to four times",
    )


def add_plan_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", help="model id or name; without it any of --min-quality")
    command.add_argument("--quant", help="quantization, such as Q4_K_M (any that is published)")
    command.add_argument("--min-quality", type=float, metavar="POINTS", help="least quality on the task, of 100")
    command.add_argument(
        "--steps-from", metavar="PRESET", help="the device whose next steps are shown (the least found)"
    )


def compare_command(arguments: argparse.Namespace, device: Device) -> tuple[dict[str, Any], str]:
    """The comparison as JSON and as Markdown.

    Raises:
        BadInputError: fewer than two or more than four picks, or a text that is no pick.
    """
    from recommender.compare_text import comparison_json, comparison_markdown
    from recommender.engine.compare_picks import compare_picks, parse_choice

    choices = [parse_choice(text) for text in arguments.pick]
    with catalog_with_notes() as catalog:
        found = compare_picks(
            choices, device, need_from(arguments), catalog, device_by_name, lambda one: calibration_of(one, catalog)
        )
    return comparison_json(found), comparison_markdown(found)


def plan_command(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The plan and its steps as JSON and as text.

    Raises:
        UnknownNameError: a name that the catalog does not have.
        BadInputError: neither a model nor a least quality.
    """
    from recommender.engine.plan import plan
    from recommender.engine.plan_steps import steps
    from recommender.engine.recommend import recommend
    from recommender.plan_text import plan_json, plan_text

    need = need_from(arguments)
    if arguments.model:
        need = replace(need, models=(arguments.model,))
    if arguments.quant:
        need = replace(need, quantizations=(arguments.quant,))
    bought: tuple[Step, ...] = ()
    with catalog_with_notes() as catalog:
        found = plan(need, catalog, arguments.min_quality)
        if arguments.steps_from:
            device = device_by_name(arguments.steps_from)
            picks = recommend(device, need, catalog).picks
            if not picks:
                raise BadInputError(f"{device.name} does not meet this itself: name another device, or ask for less.")
            bought = steps(device, need, picks[0], catalog)
        elif found.found:
            bought = steps(found.found[0].device, need, found.found[0].pick, catalog)
    return plan_json(found, bought), plan_text(found, bought)
