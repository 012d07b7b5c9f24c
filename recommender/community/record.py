"""What is shared of a run: hardware, model, settings and figures; nothing that says who or where.

A record is one JSON text. It is stored as it is shown. Records of others are not trusted: :func:`read_record` checks
every field against bounds, and the record's key against its content.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval, MaxLen
from pydantic import StringConstraints, TypeAdapter, ValidationError

from recommender import __version__, paths
from recommender.community.contributor import contributor
from recommender.community.stores import LONGEST_CHARACTERS, Row
from recommender.device import device_key
from recommender.errors import BadInputError
from recommender.types import GIB, OWN_FILE, Device, Gpu, Measurement, Settings

__all__ = [
    "SharedDevice",
    "SharedRun",
    "read_record",
    "record_text",
    "row_of",
    "settings_of",
    "shared_key",
    "shared_run",
]

FORMAT = 1
_ELSEWHERE = "openai"  # a server at an address: what it runs on is not known
_NO_PART_OF_THE_KEY = {"id", "app"}

_CONFIG: dict[str, Any] = {"extra": "forbid", "allow_inf_nan": False}

# Bounds keep nonsense from being counted with, and the arithmetic finite; what is plausible is judged later.
Name = Annotated[str, StringConstraints(max_length=160, pattern=r"^[^\x00-\x1f\x7f]*$")]
Given = Annotated[str, StringConstraints(min_length=1, max_length=160, pattern=r"^[^\x00-\x1f\x7f]*$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
Day = Annotated[str, StringConstraints(pattern=r"^20[0-9]{2}-[01][0-9]-[0-3][0-9]$")]
Speed = Annotated[float, Interval(ge=1e-6, le=1e9)]  # tokens per second
Seconds = Annotated[float, Interval(ge=0, le=1e6)]
Bytes = Annotated[float, Interval(ge=0, le=1e15)]
Rate = Annotated[float, Interval(ge=1e-3, le=20_000)]  # GB/s; the fastest of devices.csv has 5,300
Tokens = Annotated[int, Interval(ge=1, le=10_000_000)]
Count = Annotated[int, Interval(ge=1, le=65_536)]


@dataclass(frozen=True)
class SharedGpu:
    """A GPU as :class:`recommender.types.Gpu` has it, its memory in whole GiB."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CONFIG

    name: Name
    vendor: Name
    backend: Literal["", "cuda", "metal", "rocm", "vulkan"]
    memory_gib: Annotated[int, Interval(ge=0, le=65_536)] | None
    bandwidth_gb_s: Rate | None
    fp16_tflops: Annotated[float, Interval(ge=1e-3, le=100_000)] | None
    compute_capability: Name
    unified: bool


@dataclass(frozen=True)
class SharedDevice:
    """What of a machine its speed depends on, its memory in whole GiB."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CONFIG

    kind: Literal["phone", "tablet", "laptop", "desktop", "mini-pc", "workstation", "server", "sbc"]
    os: Literal["linux", "windows", "macos", "android", "ios"]
    arch: Literal["x86-64", "arm64"]
    cpu_model: Name
    physical_cores: Count | None
    performance_cores: Count | None
    isa: Annotated[tuple[Name, ...], MaxLen(32)]
    ram_gib: Annotated[int, Interval(ge=0, le=65_536)] | None
    bandwidth_gb_s: Rate | None
    unified_memory: bool
    gpus: Annotated[tuple[SharedGpu, ...], MaxLen(16)]

    def device(self) -> Device:
        """The machine to estimate for; all of its memory counts as free."""
        gpus = tuple(
            Gpu(
                one.name,
                one.vendor,
                one.backend,
                _times(one.memory_gib, GIB),
                _times(one.memory_gib, GIB),
                _times(one.bandwidth_gb_s, 1e9),
                _times(one.fp16_tflops, 1e12),
                one.compute_capability,
                one.unified,
            )
            for one in self.gpus
        )
        return Device(
            id="shared",
            name=self.words(),
            kind=self.kind,
            os=self.os,
            arch=self.arch,
            cpu_model=self.cpu_model,
            physical_cores=self.physical_cores,
            performance_cores=self.performance_cores,
            usable_threads=self.physical_cores,
            isa=self.isa,
            ram_bytes=_times(self.ram_gib, GIB),
            ram_free_bytes=_times(self.ram_gib, GIB),
            bandwidth_bytes_per_s=_times(self.bandwidth_gb_s, 1e9),
            gpus=gpus,
            unified_memory=self.unified_memory,
        )

    def words(self) -> str:
        """Its names in one line: "AMD Ryzen 7 7840U, 32 GiB, Radeon 780M"."""
        ram = f"{self.ram_gib} GiB" if self.ram_gib else ""
        return ", ".join(part for part in (self.cpu_model or self.arch, ram, *(gpu.name for gpu in self.gpus)) if part)


@dataclass(frozen=True)
class SharedSettings:
    """As :class:`recommender.types.Settings`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CONFIG

    context_tokens: Tokens
    kv_type: Name
    batch_tokens: Tokens
    ubatch_tokens: Tokens
    parallel: Annotated[int, Interval(ge=1, le=1024)]
    threads: Count
    gpu_layers: Annotated[int, Interval(ge=-1, le=65_536)]
    flash_attn: bool


@dataclass(frozen=True)
class SharedRun:
    """One shared run. Speeds are medians over ``repeats``; lows and highs the slowest and fastest."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _CONFIG

    format: Literal[1]
    id: Hash  # of the content, so that a run is kept once however often it is shared
    contributor: Hash  # random, one per installation and hardware
    day: Day  # on which it was measured, UTC
    app: Name  # version of this program
    device: SharedDevice
    model_id: Given
    quantization: Given
    runtime: Given
    binding: Name
    build: Name
    settings: SharedSettings
    prompt_tokens: Tokens
    gen_tokens: Tokens
    repeats: Annotated[int, Interval(ge=1, le=1000)]
    rehearsal: bool  # weights without values
    prefill_tokens_per_s: Speed
    prefill_low: Speed
    prefill_high: Speed
    decode_tokens_per_s: Speed
    decode_low: Speed
    decode_high: Speed
    ttft_s: Seconds
    load_s: Seconds
    memory_bytes: Bytes | None
    peak_resident_bytes: Bytes | None
    load_average_before: Annotated[float, Interval(ge=0, le=1e6)] | None
    load_average_after: Annotated[float, Interval(ge=0, le=1e6)] | None
    cpu_steal_fraction: Annotated[float, Interval(ge=0, le=1)] | None

    @cached_property
    def hardware(self) -> str:
        """The key of its hardware, by its own word."""
        return device_key(self.device.device())

    @property
    def version(self) -> str:
        """Binding and build: what of the runtime a speed belongs to."""
        return self.binding if self.build in self.binding else f"{self.binding} {self.build}".strip()


def shared_key(device: Device) -> str:
    """The hardware's key as a record of it has it: from what is shared of the machine alone."""
    return device_key(_facts(device).device())


def _why_not(run: Measurement, device: Device) -> str:
    """Why a run cannot be shared, as a sentence; "" when it can."""
    if run.noisy:
        return f"It is marked noisy ({run.noise_reason or 'no reason kept'}), and a noisy run corrects nothing."
    if run.model_id.startswith(OWN_FILE) or run.model_id not in _shipped_models():
        return "Its model is not in the catalog that ships, and names of one's own files are not shared."
    if run.runtime == _ELSEWHERE:
        return "It was measured on a server at an address, and what that runs on is not known."
    if run.device_key != device_key(device):
        return "It was not measured on this computer as it is now."
    return ""


def shared_run(run: Measurement, device: Device) -> SharedRun:
    """What would be stored of a run.

    Args:
        run: measured on ``device``.
        device: the machine; only hardware names, sizes and its operating system are taken from it.

    Raises:
        BadInputError: it cannot be shared; the sentence says why.
        NotWritableError: the installation's random number cannot be kept.
    """
    reason = _why_not(run, device)
    if reason:
        raise BadInputError(f"This run cannot be shared. {reason}")
    facts = _facts(device)
    values = {field: getattr(run, field) for field in SharedRun.__dataclass_fields__ if hasattr(run, field)} | {
        "format": FORMAT,
        "id": "0" * 32,
        "contributor": contributor(device_key(facts.device())),
        "day": run.measured_at[:10],
        "app": __version__,
        "device": asdict(facts),
        "settings": asdict(run.settings),
        "memory_bytes": run.memory.total_bytes if run.memory else None,
    }
    try:
        made = _adapter().validate_python(values)
    except ValidationError as error:
        raise BadInputError(f"This run cannot be shared. {_reason(error)}") from None
    return replace(made, id=_key(made))


def record_text(run: SharedRun) -> str:
    """The JSON that is shown and stored."""
    return json.dumps(asdict(run), indent=1, ensure_ascii=False, allow_nan=False)


def row_of(run: SharedRun) -> Row:
    """As it is stored."""
    return Row(run.id, run.hardware, record_text(run))


def read_record(text: str) -> SharedRun | str:
    """The run of a record that somebody stored, or why it is none."""
    if len(text) > LONGEST_CHARACTERS:
        return f"It is longer than {LONGEST_CHARACTERS:,} characters."
    try:
        found = _adapter().validate_json(text)
    except ValidationError as error:
        return _reason(error)
    if found.model_id not in _shipped_models():
        return "Its model is not in the catalog that ships."
    if found.id != _key(found):
        return "Its key is not that of its content."
    for name in ("decode", "prefill"):
        low, median, high = (getattr(found, f"{name}_{end}") for end in ("low", "tokens_per_s", "high"))
        if not low <= median <= high:
            return f"Its {name} median is not between its slowest and fastest repeat."
    return found


@cache
def _adapter() -> TypeAdapter[SharedRun]:
    return TypeAdapter(SharedRun)


def _key(run: SharedRun) -> str:
    content = _adapter().dump_python(run, exclude=_NO_PART_OF_THE_KEY)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _reason(error: ValidationError) -> str:
    """The first thing wrong, without the value: it is somebody's text."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        return "It has a field that no record has."
    if first["type"] == "json_invalid":
        return "It is no JSON."
    return f"{place or 'It'}: {first['msg']}."


def _facts(device: Device) -> SharedDevice:
    return SharedDevice(
        kind=device.kind,  # type: ignore[arg-type]  # what no record may hold is refused when it is made
        os=device.os,  # type: ignore[arg-type]
        arch=device.arch,  # type: ignore[arg-type]
        cpu_model=device.cpu_model,
        physical_cores=device.physical_cores,
        performance_cores=device.performance_cores,
        isa=device.isa,
        ram_gib=_whole_gib(device.ram_bytes),
        bandwidth_gb_s=_rounded(device.bandwidth_bytes_per_s, 1e9),
        unified_memory=device.unified_memory,
        gpus=tuple(
            SharedGpu(
                gpu.name,
                gpu.vendor,
                gpu.backend,  # type: ignore[arg-type]
                _whole_gib(gpu.memory_bytes),
                _rounded(gpu.bandwidth_bytes_per_s, 1e9),
                _rounded(gpu.fp16_flops, 1e12),
                gpu.compute_capability,
                gpu.unified,
            )
            for gpu in device.gpus
        ),
    )


def _whole_gib(value_bytes: float | None) -> int | None:
    return None if value_bytes is None else round(value_bytes / GIB)


def _rounded(value: float | None, unit: float) -> float | None:
    return float(f"{value / unit:.3g}") if value else None


def _times(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def settings_of(run: SharedRun) -> Settings:
    """The settings it was run with."""
    return Settings(**asdict(run.settings))


@cache
def _shipped_models() -> frozenset[str]:
    with (paths.catalog_dir() / "models.csv").open(newline="", encoding="utf-8") as file:
        return frozenset(row["model_id"] for row in csv.DictReader(file))
