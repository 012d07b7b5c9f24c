"""Which shared runs are set aside, each with its reason. Nothing that is set aside is counted with.

The rules and their thresholds stand in ``catalog/community_rules.csv``: first what physics allows, then the distance
from the estimate for the run's own settings, then the distance from what others measured of the same.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

from recommender import paths
from recommender.community.record import SharedDevice, SharedRun, read_record, settings_of, shared_key
from recommender.community.stores import Row
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, catalog_row, estimate_rows
from recommender.engine.words import count, rate
from recommender.errors import RecommenderError
from recommender.estimate.calibrate import spread_of
from recommender.types import Device, Figure

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

__all__ = ["BROWSER", "Counted", "SetAside", "beyond_others", "judged", "rule"]

BROWSER = "wllama"  # in a browser page: an engine of its own, whatever it is compiled from
_LEAST = 1e-9  # tokens per second: an estimate beyond it, or beyond its inverse, is of no machine
_MAD_TO_DEVIATION = 1.4826  # of a Gaussian


@dataclass(frozen=True)
class SetAside:
    """A row that is not counted. ``run`` is ``None`` where the record could not be read."""

    id: str
    run: SharedRun | None
    reason: str


@dataclass(frozen=True)
class Counted:
    """A run beside the uncorrected estimates for its own settings, tokens per second."""

    run: SharedRun
    decode: Figure
    prefill: Figure

    @property
    def decode_ratio(self) -> float:
        """Logarithm of measured over estimated."""
        return math.log(self.run.decode_tokens_per_s / self.decode.value)

    @property
    def prefill_ratio(self) -> float:
        return math.log(self.run.prefill_tokens_per_s / self.prefill.value)

    @property
    def side(self) -> str:
        """What it ran on: "cpu" or "gpu"."""
        return "gpu" if self.run.settings.gpu_layers and self.run.device.gpus else "cpu"


@cache
def _rules() -> dict[str, float]:
    with (paths.catalog_dir() / "community_rules.csv").open(newline="", encoding="utf-8") as file:
        return {row["rule"]: float(row["value"]) for row in csv.DictReader(file)}


def rule(name: str) -> float:
    """A threshold of ``catalog/community_rules.csv``."""
    return _rules()[name]


def judged(rows: Iterable[Row], catalog: Catalog, device: Device | None = None) -> tuple[list[Counted], list[SetAside]]:
    """Read every row and hold it against physics and its own estimate.

    Args:
        device: the hardware that rows are of, as it is known here; rows of other hardware are left out. Without it each
            row's own word for its hardware is taken, which its writer could have invented.
    """
    hardware = shared_key(device) if device else None
    aside: list[SetAside] = []
    runs: dict[str, SharedRun] = {}
    for row in rows:
        found = read_record(row.record)
        if isinstance(found, str):
            aside.append(SetAside(row.id, None, found))
        elif hardware in (None, found.hardware):
            runs[found.id] = found
    counted: list[Counted] = []
    for run, verdict in _held_against_estimates(list(runs.values()), catalog, device):
        if isinstance(verdict, str):
            aside.append(SetAside(run.id, run, verdict))
        else:
            counted.append(verdict)
    return counted, aside


def beyond_others(group: Sequence[Counted]) -> dict[str, str]:
    """Contributor → why all that it shared of a group is set aside. A group has one side, one model, one runtime."""
    voices = {name: median(one.decode_ratio for one in own) for name, own in by_contributor(group).items()}
    if len(voices) < rule("deviations_contributors"):
        return {}
    centre = median(voices.values())
    deviation = _MAD_TO_DEVIATION * median(abs(value - centre) for value in voices.values())
    deviation = max(deviation, spread_of("decode", f"-{group[0].side}").between_runs)
    far = rule("deviations")
    return {
        name: f"Its decode speed is {math.exp(value - centre):.2g} times the median of {len(voices)} contributors, "
        f"{abs(value - centre) / deviation:.2g} deviations from it; more than {far:g} are not counted."
        for name, value in voices.items()
        if abs(value - centre) > far * deviation
    }


def by_contributor(group: Iterable[Counted]) -> dict[str, list[Counted]]:
    found: dict[str, list[Counted]] = {}
    for one in group:
        found.setdefault(one.run.contributor, []).append(one)
    return found


def catalog_runtime(runtime: str) -> str:
    """The catalog's name for a runtime: "wllama" for every way in which it runs in a browser."""
    return BROWSER if runtime.startswith(BROWSER) else runtime


def _held_against_estimates(
    runs: Sequence[SharedRun], catalog: Catalog, device: Device | None
) -> list[tuple[SharedRun, Counted | str]]:
    """Each run with its estimate, or with why it is set aside. What runs have in common is estimated once."""
    machines: dict[SharedDevice, Device] = {}
    requests: dict[tuple[object, ...], EstimateRequest] = {}
    keys: list[tuple[object, ...]] = []
    for run in runs:
        keys.append((run.device, run.model_id, run.quantization, run.runtime, run.settings, *_counts(run)))
        if keys[-1] not in requests:
            machine = device or machines.setdefault(run.device, run.device.device())
            requests[keys[-1]] = _request(run, machine)
    answers = dict(zip(requests, estimate_rows(list(requests.values()), catalog), strict=True))
    limits = {
        key: _reading(requests[key], catalog)
        for key, answer in answers.items()
        if not isinstance(answer, RecommenderError)
    }
    return [(run, _verdict(run, answers[key], limits.get(key))) for run, key in zip(runs, keys, strict=True)]


def _verdict(
    run: SharedRun, answer: EstimateAnswer | RecommenderError, reading: tuple[float, float] | None
) -> Counted | str:
    if isinstance(answer, RecommenderError):
        return str(answer)
    decode, prefill = answer.estimate.decode_tokens_per_s, answer.estimate.prefill_tokens_per_s
    if decode is None or prefill is None or not (_sound(decode) and _sound(prefill)):
        return "There is no estimate to hold it against."
    if reading is not None:
        read_bytes, bytes_per_s = reading
        if run.decode_tokens_per_s * read_bytes > rule("bandwidth_times") * bytes_per_s:
            return (
                f"{rate(run.decode_tokens_per_s)} would read {count(run.decode_tokens_per_s * read_bytes / 1e9)} GB of "
                f"weights per second; its memory delivers at most {count(bytes_per_s / 1e9)} GB."
            )
    for name, speed, estimate in (
        ("decode", run.decode_tokens_per_s, decode),
        ("prefill", run.prefill_tokens_per_s, prefill),
    ):
        end = estimate.high if speed > estimate.value else estimate.low
        distance, width = abs(math.log(speed / estimate.value)), abs(math.log(end / estimate.value))
        if distance > min(rule("estimate_ranges") * width, math.log(rule("estimate_times"))):
            return (
                f"{rate(speed)} {name} is too far from the estimate for the same settings, {rate(estimate.low)} to "
                f"{rate(estimate.high)}."
            )
    return Counted(run, decode, prefill)


def _reading(request: EstimateRequest, catalog: Catalog) -> tuple[float, float]:
    """Bytes read per token, and bytes per second that the memories in use deliver together at most."""
    device, on_cpu, on_gpu = request.device, *_fastest_memory()
    parts = [device.bandwidth_bytes_per_s or on_cpu]
    if request.gpu_layers and device.gpus:
        parts = [gpu.bandwidth_bytes_per_s or on_gpu for gpu in device.gpus]
        if not device.unified_memory:
            parts.append(device.bandwidth_bytes_per_s or on_cpu)
    return float(str(catalog_row(request, catalog)["read_bytes_per_token"])), sum(parts)


@cache
def _fastest_memory() -> tuple[float, float]:
    """Bytes per second of the fastest main memory and the fastest GPU memory that ``devices.csv`` has, which stand in
    where a device's own are not known."""
    with (paths.catalog_dir() / "devices.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    on_cpu, on_gpu = (max(float(row[name] or 0) for row in rows) for name in ("cpu_mem_bw_gbs", "gpu_mem_bw_gbs"))
    return on_cpu * 1e9, on_gpu * 1e9


def _counts(run: SharedRun) -> tuple[int, int]:
    return run.prompt_tokens, run.gen_tokens


def _request(run: SharedRun, device: Device) -> EstimateRequest:
    prompt_tokens, gen_tokens = _counts(run)
    return EstimateRequest(
        run.model_id,
        run.quantization,
        device,
        runtime=catalog_runtime(run.runtime),
        prompt_tokens=prompt_tokens,
        gen_tokens=gen_tokens,
        **asdict(settings_of(run)),
    )


def _sound(figure: Figure) -> bool:
    return all(_LEAST < value < 1 / _LEAST for value in (figure.low, figure.value, figure.high))
