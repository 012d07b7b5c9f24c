"""What was shared, as JSON values and as text for a terminal."""

from __future__ import annotations

from typing import Any

from recommender.community.aggregate import Group, Median, Summary
from recommender.community.judging import BROWSER, SetAside, rule
from recommender.engine.words import count, rate
from recommender.present import jsonable

__all__ = ["correction_words", "counts_words", "range_words", "set_aside_title", "summary_json", "summary_text"]


def summary_json(found: Summary) -> dict[str, Any]:
    """As ``recommender community summary --json`` prints it."""
    groups = [{name: value for name, value in vars(one).items() if name != "counted"} for one in found.groups]
    return {"groups": jsonable(groups), "set_aside": jsonable(found.set_aside)}


def summary_text(found: Summary) -> str:
    """A line per group, and one per run that is set aside."""
    if not found.groups and not found.set_aside:
        return "Nothing was shared yet."
    lines = [
        f"{one.device}: {one.model_id} {one.quantization} on {one.runtime} ({one.version}, {one.side.upper()}): "
        f"{range_words(one.decode_tokens_per_s)}; {counts_words(one)}; corrects estimates: {correction_words(one)}"
        for one in found.groups
    ]
    if found.set_aside:
        lines += ["", "Set aside, not counted:"]
        lines += [f"  {set_aside_title(one)}: {one.reason}" for one in found.set_aside]
    return "\n".join(lines)


def range_words(median: Median) -> str:
    """A speed: "31 tok/s (28 tok/s to 35 tok/s)"."""
    return f"{rate(median.value)} ({rate(median.low)} to {rate(median.high)})"


def counts_words(group: Group) -> str:
    """How many shared it: "4 runs of 3 contributors"."""
    runs = f"{count(group.runs)} {'run' if group.runs == 1 else 'runs'}"
    return f"{runs} of {count(group.contributors)} {'contributor' if group.contributors == 1 else 'contributors'}"


def correction_words(group: Group) -> str:
    """Whether it corrects estimates, and why not."""
    if group.corrects:
        return "yes"
    if group.runtime.startswith(BROWSER):
        return "no: measured in a browser"
    return f"not yet: fewer than {rule('calibration_contributors'):g} contributors"


def set_aside_title(one: SetAside) -> str:
    """What was set aside, in a line."""
    if one.run is None:
        return f"a record that cannot be read ({one.id[:8]})"
    run = one.run
    return f"{run.device.words()}: {run.model_id} {run.quantization} on {run.runtime}, {rate(run.decode_tokens_per_s)}"
