"""Rules that a runtime as a whole meets or breaks, whatever the model: they need no estimate and no row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recommender.engine.words import count, listing
from recommender.types import Need

if TYPE_CHECKING:
    from recommender.catalog.queries import RuntimeRow

GPU_ACCELERATORS = ("cuda", "metal", "rocm", "vulkan", "webgpu")


@dataclass(frozen=True)
class RuntimeOnDevice:
    """One runtime on the device asked about."""

    row: RuntimeRow
    reason_against: str  # "" when it runs there
    accelerators: tuple[str, ...]  # what it can use, best first: cpu, cuda, metal, rocm, vulkan, npu, webgpu, managed
    can_try_here: bool
    # (format, quantization) → why it does not take that on this device
    quantization_reasons: dict[tuple[str, str], str] = field(default_factory=dict, compare=False)

    @property
    def accelerator(self) -> str:
        """What it uses for any model; "" where it does not run. An NPU takes only what was made for it."""
        return next((name for name in self.accelerators if name != "npu"), next(iter(self.accelerators), ""))


@dataclass(frozen=True)
class RuntimeRule:
    """``reason`` is "" when the runtime meets the rule; ``change`` says what would admit it."""

    name: str
    reason: Callable[[Need, RuntimeOnDevice], str]
    change: Callable[[Need, RuntimeOnDevice], str]


def _device(need: Need, runtime: RuntimeOnDevice) -> str:
    return runtime.reason_against


def _placement(need: Need, runtime: RuntimeOnDevice) -> str:
    row = runtime.row
    if need.offline and not row.offline:
        return f"{row.name} needs a network to answer, and offline was asked"
    if row.managed and need.placement == "device":
        return f"{row.name} is a managed cloud service, and on-device was asked"
    if not row.managed and need.placement == "managed":
        return f"{row.name} runs on a machine of your own, and managed was asked"
    return ""


def _missing(need: Need, runtime: RuntimeOnDevice) -> str:
    lacking = [
        item.upper() if item in ("sla", "rbac") else item for item in need.enterprise if not getattr(runtime.row, item)
    ]
    return listing(lacking) if lacking else ""


def _enterprise(need: Need, runtime: RuntimeOnDevice) -> str:
    lacking = _missing(need, runtime)
    return f"{runtime.row.name} comes without {lacking}" if lacking else ""


def _accelerator(need: Need, runtime: RuntimeOnDevice) -> str:
    if need.accelerator is None or "managed" in runtime.accelerators:
        return ""
    wanted = GPU_ACCELERATORS if need.accelerator == "gpu" else (need.accelerator,)
    if set(wanted) & set(runtime.accelerators):
        return ""
    used = listing([name.upper() for name in runtime.accelerators]) if runtime.accelerators else "nothing"
    return f"{runtime.row.name} can use {used} here, the {need.accelerator.upper()} was asked for"


def _conversion(need: Need, runtime: RuntimeOnDevice) -> str:
    if need.own_conversion and not runtime.row.own_conversion:
        return f"{runtime.row.name} has no conversion and optimization pipeline of its own"
    return ""


def _users(need: Need, runtime: RuntimeOnDevice) -> str:
    most = runtime.row.users_max
    if most is None or need.users <= most:
        return ""
    many = "one user" if most == 1 else f"at most {count(most)} users"
    return f"{runtime.row.name} serves {many} at a time, {count(need.users)} were asked for"


def _experimental(need: Need, runtime: RuntimeOnDevice) -> str:
    return f"{runtime.row.name} is experimental" if runtime.row.experimental and not need.experimental else ""


RUNTIME_RULES = (
    RuntimeRule("device", _device, lambda need, runtime: "another runtime or another device"),
    RuntimeRule("placement", _placement, lambda need, runtime: "allow managed services and devices alike"),
    RuntimeRule("accelerator", _accelerator, lambda need, runtime: "let the best accelerator be used"),
    RuntimeRule("users", _users, lambda need, runtime: f"ask for {count(runtime.row.users_max or 1)} at once"),
    RuntimeRule("enterprise", _enterprise, lambda need, runtime: f"do without {_missing(need, runtime)}"),
    RuntimeRule("conversion", _conversion, lambda need, runtime: "take a file that is already converted"),
    RuntimeRule("experimental", _experimental, lambda need, runtime: "allow experimental set-ups"),
)


def first_broken(need: Need, runtime: RuntimeOnDevice) -> str:
    """The name of the first rule that a runtime breaks, "" when it meets all."""
    return next((rule.name for rule in RUNTIME_RULES if rule.reason(need, runtime)), "")
