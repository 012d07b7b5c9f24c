"""Two to four picks side by side: the same figures and scores that ``recommend`` gives, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from recommender.catalog.queries import find_model, runtimes_for, variant_columns
from recommender.engine.recommend import judge_named
from recommender.engine.words import count, listing, rate, seconds, size
from recommender.errors import BadInputError, RecommenderError
from recommender.types import Device, Estimate, Figure, Need, Pick, ScorePart, Task

if TYPE_CHECKING:
    from recommender.catalog.facts import ModelRow
    from recommender.catalog.store import Catalog
    from recommender.estimate.calibrate import Calibration

LEAST, MOST = 2, 4
MANAGED = "managed"  # stands where a quantization would
_AT = " @ "
# Differences of less than this share are within rounding and are called equal.
_ALIKE = 0.01


@dataclass(frozen=True)
class Choice:
    """A combination by name; ``device`` is a preset's id, "" for the device of the question."""

    model: str
    quantization: str
    runtime: str
    device: str = ""

    @property
    def text(self) -> str:
        """As links and the command line write it; ``parse_choice`` reads it."""
        return f"{self.model} {self.quantization} {self.runtime}" + (f"{_AT}{self.device}" if self.device else "")


def parse_choice(text: str) -> Choice:
    """ "MODEL QUANTIZATION RUNTIME", with " @ PRESET" for another device; the model may be a name with spaces.

    Raises:
        BadInputError: it has fewer than three words.
    """
    combination, _, device = text.partition(_AT)
    words = combination.split()
    if len(words) < 3:
        raise BadInputError(
            f"{text!r} is not a pick. Write model, quantization and runtime, such as "
            f"'Qwen/Qwen3-4B Q4_K_M llama.cpp'; '{_AT.strip()} PRESET' after it names another device."
        )
    return Choice(" ".join(words[:-2]), words[-2], words[-1], device.strip())


def choice_of(pick: Pick, device: str = "") -> Choice:
    return Choice(pick.model_id, pick.quantization or MANAGED, pick.runtime, device)


@dataclass(frozen=True)
class Column:
    """One pick of a comparison. ``pick`` is ``None`` only where nothing can be estimated; ``problem`` then says why."""

    choice: Choice
    device: Device
    pick: Pick | None
    problem: str  # "" when it fits
    change: str  # what would admit it
    model: ModelRow | None
    verdict: str = ""

    @property
    def fits(self) -> bool:
        return self.pick is not None and not self.problem

    @property
    def name(self) -> str:
        if self.pick is None:
            return self.choice.text
        parts = [self.pick.name, self.pick.quantization or MANAGED, self.pick.runtime]
        return " · ".join(parts + ([self.device.name] if self.choice.device else []))


@dataclass(frozen=True)
class Cell:
    """One value as it is read: its words, and where they come from ("" for facts that need no mark)."""

    text: str
    range: str = ""
    origin: str = ""
    value: float | None = None

    @property
    def line(self) -> str:
        extra = ", ".join(part for part in (self.range, self.origin) if part)
        return f"{self.text} ({extra})" if extra else self.text


@dataclass(frozen=True)
class Line:
    """One measure over all columns. ``best`` has the places of the best value where better has a direction."""

    group: str
    label: str
    cells: tuple[Cell, ...]
    differs: bool
    best: tuple[int, ...] = ()


@dataclass(frozen=True)
class Measure:
    """A value with a known direction, for verdicts and the chart."""

    label: str
    praise: str  # "the fastest writer"
    value: Callable[[Pick], float | None]
    words: Callable[[float], str]
    more_is_better: bool


@dataclass(frozen=True)
class Comparison:
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    need: Need
    task: Task
    context_tokens: int
    catalog_date: str


def compare_picks(
    choices: Sequence[Choice],
    device: Device,
    need: Need,
    catalog: Catalog,
    device_of: Callable[[str], Device],
    calibration_of: Callable[[Device], Calibration | None],
) -> Comparison:
    """Judge two to four combinations for one need. One that does not fit keeps its column, with the reason.

    Args:
        device_of: a preset's id → the device; raises ``RecommenderError`` for an unknown one.
        calibration_of: what was measured on a device.

    Raises:
        BadInputError: fewer than two or more than four picks, or a limit of the need makes no sense.
        UnknownNameError: the task is not in the catalog.
    """
    different = list(dict.fromkeys(choices))
    if not LEAST <= len(different) <= MOST:
        raise BadInputError(f"Compare {LEAST} to {MOST} different picks, not {len(different)}.")
    task = catalog.task(need.task)
    columns = [_column(choice, device, need, catalog, device_of, calibration_of) for choice in different]
    told = tuple(_with_verdict(column, columns) for column in columns)
    return Comparison(told, lines(told, catalog), need, task, need.context_tokens or task.context_tokens, catalog.date)


def _column(
    choice: Choice,
    device: Device,
    need: Need,
    catalog: Catalog,
    device_of: Callable[[str], Device],
    calibration_of: Callable[[Device], Calibration | None],
) -> Column:
    model = None
    try:
        machine = device_of(choice.device) if choice.device else device
    except RecommenderError as error:
        return Column(choice, device, None, str(error), "choose a device of the list", None)
    try:
        model = find_model(catalog, choice.model)
        there = _quantizations(catalog, model.model_id, choice.runtime)
        quantization = "" if choice.quantization == MANAGED else _spelled(choice.quantization, there)
        named = judge_named(
            machine, need, (model.model_id, quantization, choice.runtime), catalog, calibration_of(machine)
        )
    except RecommenderError as error:
        return Column(choice, machine, None, str(error), "", model)
    if named is None:
        takers = runtimes_for(catalog, model.model_id)
        if choice.runtime in takers:
            why = f"{choice.runtime} has no {choice.quantization} of {model.name}"
            return Column(choice, machine, None, why, f"one of {', '.join(there)}", model)
        known = f"; these do: {', '.join(takers)}" if takers else ""
        return Column(choice, machine, None, f"{choice.runtime} cannot load {model.name}{known}", "", model)
    return Column(choice, machine, named.pick, "; ".join(named.against), "; ".join(named.changes), model)


def _quantizations(catalog: Catalog, model_id: str, runtime: str) -> list[str]:
    """What a runtime takes of a model, largest first."""
    rows = variant_columns(catalog, model_id, runtime)
    return list(dict.fromkeys(str(row["quantization"]) or MANAGED for row in rows))


def _spelled(quantization: str, there: Sequence[str]) -> str:
    """A quantization as the catalog spells it, whatever the case it was typed in."""
    if quantization in there:
        return quantization
    return next((known for known in there if known.casefold() == quantization.casefold()), quantization)


# ── what each is best at ─────────────────────────────────────────────────────────────────────────────────────


def resident_bytes(pick: Pick) -> float | None:
    """What must stay in memory."""
    memory = pick.estimate.memory
    return None if memory is None else memory.total_bytes - memory.reclaimable_bytes


def _value(figure: Figure | None) -> float | None:
    return figure.value if figure else None


def _points(value: float) -> str:
    return f"{value:.0f}"


MEASURES = (
    Measure("Quality", "best in quality", lambda pick: pick.quality, _points, True),
    Measure("Decode", "fastest at writing", lambda pick: _value(pick.estimate.decode_tokens_per_s), rate, True),
    Measure("Prefill", "fastest at reading", lambda pick: _value(pick.estimate.prefill_tokens_per_s), rate, True),
    Measure("First token", "first to start", lambda pick: _value(pick.estimate.ttft_s), seconds, False),
    Measure("Answer time", "quickest to finish", lambda pick: _value(pick.estimate.answer_time_s), seconds, False),
    Measure("Memory", "smallest in memory", resident_bytes, size, False),
    Measure("File", "smallest on disk", lambda pick: pick.estimate.file_bytes, size, False),
    Measure("Score", "highest in score", lambda pick: pick.score, lambda value: f"{value:.1f}", True),
)
# What a verdict speaks of: what a person feels. The others follow from these.
_TOLD = ("Quality", "Decode", "Answer time", "Memory", "Score")


def _with_verdict(column: Column, columns: Sequence[Column]) -> Column:
    return replace(column, verdict=_verdict(column, columns))


def _verdict(column: Column, columns: Sequence[Column]) -> str:
    if column.pick is None:
        return f"Cannot be compared: {column.problem}."
    if column.problem:
        return f"Does not fit: {column.problem}."
    rivals = [other.pick for other in columns if other is not column and other.fits and other.pick]
    if not rivals:
        return "The only one of these that fits."
    wins, losses = [], []
    for measure in MEASURES:
        mine = measure.value(column.pick)
        theirs = [value for rival in rivals if (value := measure.value(rival)) is not None]
        if measure.label not in _TOLD or mine is None or not theirs:
            continue
        best = max(theirs) if measure.more_is_better else min(theirs)
        if _better(mine, best, measure.more_is_better):
            wins.append(f"{measure.praise} ({measure.words(mine)}, the next {measure.words(best)})")
        elif _better(best, mine, measure.more_is_better):
            losses.append(measure.label.lower())
    if column.model and column.model.commercial_use == "yes":
        others = [other.model for other in columns if other is not column and other.model]
        if others and all(other.commercial_use != "yes" for other in others):
            wins.append("the only one whose licence allows commercial use without conditions")
    if not wins:
        behind = f": behind in {listing(losses)}" if losses else ": level with the others in all that counts"
        return f"Best at nothing here{behind}."
    sentence = listing(wins)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _better(one: float, other: float, more_is_better: bool) -> bool:
    return one > other * (1 + _ALIKE) if more_is_better else one < other * (1 - _ALIKE)


# ── line by line ─────────────────────────────────────────────────────────────────────────────────────────────


_FIGURES: tuple[tuple[str, Callable[[Estimate], Figure | None], Callable[[float], str], bool], ...] = (
    ("Decode", lambda estimate: estimate.decode_tokens_per_s, rate, True),
    ("Prefill", lambda estimate: estimate.prefill_tokens_per_s, rate, True),
    ("Time to first token", lambda estimate: estimate.ttft_s, seconds, False),
    ("Answer time", lambda estimate: estimate.answer_time_s, seconds, False),
    ("Load time", lambda estimate: estimate.load_s, seconds, False),
)


def lines(columns: Sequence[Column], catalog: Catalog) -> tuple[Line, ...]:
    """Every figure and fact, with which of them differ and which is best."""
    found = [
        _line("Verdict", "Best at", [Cell(column.verdict) for column in columns]),
        _line("Verdict", "Fits", [Cell("yes" if column.fits else f"no: {column.problem}") for column in columns]),
    ]
    if any(column.change for column in columns):
        found.append(_line("Verdict", "What would admit it", [Cell(column.change or "–") for column in columns]))
    found.append(_line("Verdict", "Device", [Cell(column.device.name) for column in columns]))
    for name, figure, words, more in _FIGURES:
        cells = [_figure(figure(column.pick.estimate) if column.pick else None, words) for column in columns]
        found.append(_line("Speed", name, cells, columns, more))
    found.append(_line("Memory", "In all", [_bytes(column, resident_bytes) for column in columns], columns, False))
    for name, part in (
        ("Weights", "weights_bytes"),
        ("KV cache", "kv_cache_bytes"),
        ("Compute buffer", "compute_bytes"),
        ("Overhead", "overhead_bytes"),
        ("On the GPU", "gpu_bytes"),
    ):
        cells = [_bytes(column, partial(_part, part=part)) for column in columns]
        found.append(_line("Memory", name, cells))
    found.append(_line("Memory", "File", [_file(column) for column in columns], columns, False))
    quality = [
        Cell(
            f"{column.pick.quality:.0f} of 100",
            f"± {column.pick.quality_se:.1f}, {count(column.pick.quality_evidence)} benchmark scores",
            "estimated",
            column.pick.quality,
        )
        if column.pick
        else Cell("–")
        for column in columns
    ]
    found.append(_line("Quality and score", "Quality", quality, columns, True))
    found.append(_line("Quality and score", "Score", [_score(column) for column in columns], columns, True))
    names = next((tuple(part.name for part in one.pick.score_parts) for one in columns if one.pick), ())
    for name in names:
        cells = [_score_part(_named_part(column, name)) for column in columns]
        found.append(_line("Quality and score", f"… from {name}", cells, columns, True))
    return (*found, *_facts(columns, catalog))


def _facts(columns: Sequence[Column], catalog: Catalog) -> list[Line]:
    def of_model(label: str, words: Callable[[ModelRow], str]) -> Line:
        return _line("Facts", label, [Cell(words(one.model) or "–" if one.model else "–") for one in columns])

    def of_pick(label: str, words: Callable[[Pick], str]) -> Line:
        return _line("Facts", label, [Cell(words(one.pick) or "–" if one.pick else "–") for one in columns])

    return [
        of_model("Licence", lambda model: model.license or "not recorded"),
        of_model("Commercial use", lambda model: model.commercial_use or "not recorded"),
        of_model("Longest context", lambda model: f"{count(model.context_max)} tokens" if model.context_max else ""),
        of_model("Tier", lambda model: model.tier),
        of_model("Parameters", _parameters),
        of_model("Released", lambda model: model.release_date),
        of_model("Runtimes that take it", lambda model: ", ".join(runtimes_for(catalog, model.model_id))),
        of_pick("Experimental", lambda pick: "yes" if pick.experimental else "no"),
        of_pick("Published file", lambda pick: "/".join(part for part in (pick.file_repo, pick.file_name) if part)),
        of_pick("Command", lambda pick: pick.command),
    ]


def _parameters(model: ModelRow) -> str:
    active = model.params_active
    routed = f", {active / 1e9:.1f} B active" if active and active != model.params_total else ""
    return f"{model.params_total / 1e9:.1f} B{routed}"


def _line(
    group: str,
    label: str,
    cells: Sequence[Cell],
    columns: Sequence[Column] = (),
    more_is_better: bool | None = None,
) -> Line:
    texts = {cell.text for cell in cells}
    best: tuple[int, ...] = ()
    known = (
        [(place, cell.value) for place, cell in enumerate(cells) if cell.value is not None and columns[place].fits]
        if more_is_better is not None
        else []
    )
    if len(known) > 1 and len({cells[place].text for place, _ in known}) > 1:
        top = (max if more_is_better else min)(value for _, value in known)
        # What reads the same is the same: no best among equal texts.
        words = {cells[place].text for place, value in known if value == top}
        best = tuple(place for place, _ in known if cells[place].text in words)
    return Line(group, label, tuple(cells), len(texts) > 1, best)


def _figure(figure: Figure | None, words: Callable[[float], str]) -> Cell:
    if figure is None:
        return Cell("–")
    return Cell(words(figure.value), f"{words(figure.low)} to {words(figure.high)}", figure.provenance, figure.value)


def _bytes(column: Column, of: Callable[[Pick], float | None]) -> Cell:
    memory = column.pick.estimate.memory if column.pick else None
    value = of(column.pick) if column.pick else None
    if memory is None or value is None:
        return Cell("–")
    return Cell(size(value), "", memory.provenance, value)


def _part(pick: Pick, part: str) -> float | None:
    memory = pick.estimate.memory
    if memory is None:
        return None
    value: float = getattr(memory, part)
    return value - memory.reclaimable_bytes if part == "weights_bytes" else value


def _file(column: Column) -> Cell:
    estimate = column.pick.estimate if column.pick else None
    if estimate is None or estimate.file_bytes is None:
        return Cell("–")
    exact = f"{count(estimate.file_bytes)} bytes"
    return Cell(size(estimate.file_bytes), exact, estimate.file_provenance, estimate.file_bytes)


def _score(column: Column) -> Cell:
    if column.pick is None:
        return Cell("–")
    return Cell(f"{column.pick.score:.1f}", "" if column.fits else "if it fitted", "", column.pick.score)


def _named_part(column: Column, name: str) -> ScorePart | None:
    return next((part for part in column.pick.score_parts if part.name == name), None) if column.pick else None


def _score_part(part: ScorePart | None) -> Cell:
    if part is None:
        return Cell("–")
    return Cell(f"{part.points:.1f}", f"{part.weight:.0%} × {part.value:.0f}", "", part.points)
