"""The visitor's device by what their browser says of it, which is little and not to be trusted.

Everything is optional: each browser leaves out other things. What is missing is assumed (``reserves.csv``), and marked
so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from recommender.device import tables
from recommender.device.match import match_cpu, match_gpus
from recommender.device.presets import preset, ram_options
from recommender.device.renderer import Renderer, read_renderer
from recommender.device.tables import Row
from recommender.types import GIB, Device, Gpu

#: ``Device.id`` of a device that a browser described.
BROWSER = "browser"

SYSTEMS = {"windows": "Windows", "macos": "macOS", "linux": "Linux", "android": "Android", "ios": "iOS"}
FORMS = ("laptop", "desktop", "tablet", "phone")
ARCHITECTURES = ("x86-64", "arm64")
_NAMES = {
    ("ios", "phone"): "an iPhone",
    ("ios", "tablet"): "an iPad",
    ("android", "phone"): "an Android phone",
    ("android", "tablet"): "an Android tablet",
    ("macos", "laptop"): "a Mac",
    ("macos", "desktop"): "a Mac",
}
_APPLE_GPU = "Apple GPU"
_MOBILE = ("phone", "tablet")
# Column of ``devices.csv`` → the fields that are unsure where machines differ in it.
_COLUMNS = {
    "cpu_mem_bw_gbs": ("bandwidth_bytes_per_s",),
    "cpu_cores": ("physical_cores", "performance_cores", "usable_threads"),
    "cpu_isa": ("isa",),
}
_LONGEST_TEXT = 300
_LIMITS = {  # what a number may be
    "cores": (1, 1024),
    "memory_gib": (0.125, 4096),
    "touch_points": (0, 256),
    "quota_bytes": (0, 1e18),
    "bytes_per_s": (1e8, 1e13),
}


@dataclass(frozen=True)
class Said:
    """What is known of the visitor's device. Empty and ``None`` mean that nobody said.

    ``entered`` is true once the person confirmed or corrected it.
    """

    os: str = ""  # windows, macos, linux, android or ios
    kind: str = ""  # phone or tablet; a browser does not tell a laptop from a desktop computer
    arch: str = ""  # x86-64 or arm64
    model: str = ""  # a phone's or tablet's, where the browser names it: "Pixel 8", "SM-S921B"
    cores: int | None = None  # logical; some browsers say fewer than there are
    memory_gib: float | None = None  # at least so much: browsers round it and stop at a limit
    gpu: str = ""  # as its driver calls it
    quota_bytes: float | None = None  # what this site may store in the browser
    bandwidth_bytes_per_s: float | None = None  # read and written in the browser: at least so much
    entered: bool = False


# ── what the browser says ────────────────────────────────────────────────────────────────────────────────────


def read_answers(answers: object) -> Said:
    """What a browser answered, or claims to have answered. Whatever makes no sense counts as not said."""
    given = answers if isinstance(answers, Mapping) else {}
    agent, platform = _text(given, "user_agent"), _text(given, "platform")
    gpu = _gpu(_text(given, "webgl"), _text(given, "webgpu"))
    os, kind = _system(agent, platform, _number(given, "touch_points") or 0)
    if os == "android" and given.get("mobile") is True:
        kind = "phone"
    cores = _number(given, "cores")
    return Said(
        os=os,
        kind=kind,
        arch=_architecture(os, given, agent, read_renderer(gpu)),
        model=_text(given, "model"),
        cores=int(cores) if cores else None,
        memory_gib=_number(given, "memory_gib"),
        gpu=gpu,
        quota_bytes=_number(given, "quota_bytes"),
    )


def _gpu(webgl: str, webgpu: str) -> str:
    """WebGL names the GPU, where it does not draw in software; WebGPU its family: "nvidia ada", "apple metal-3"."""
    if webgpu and not read_renderer(webgl).name:
        return replace(read_renderer(webgpu), exact=False).text
    return webgl


def read_bandwidth(answer: object) -> float | None:
    """Bytes per second that the browser's probe moved; ``None`` when it did not work."""
    return _number(answer, "bytes_per_s") if isinstance(answer, Mapping) else None


def _text(given: Mapping[object, object], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.isprintable():
        return ""
    return value.strip()[:_LONGEST_TEXT]


def _number(given: Mapping[object, object], name: str) -> float | None:
    value = given.get(name)
    least, most = _LIMITS[name]
    # Compared, not converted: a whole number of 400 digits has no float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        return None
    return float(value)


def _system(agent: str, platform: str, touch_points: float) -> tuple[str, str]:
    """Operating system and, for what is carried in a hand, phone or tablet."""
    if re.search(r"iPhone|iPod", agent):
        return "ios", "phone"
    if "iPad" in agent or ("Macintosh" in agent and touch_points > 1):  # an iPad asks for pages as a Mac does
        return "ios", "tablet"
    if "Android" in agent or platform == "Android":
        return "android", "phone" if "Mobile" in agent else "tablet"
    for words, os in (("Windows", "windows"), ("Mac", "macos"), ("Linux|CrOS|Chrome OS|X11", "linux")):
        if re.search(words, f"{platform} {agent}"):
            return os, ""
    return "", ""


def _architecture(os: str, given: Mapping[object, object], agent: str, gpu: Renderer) -> str:
    told = _text(given, "architecture").casefold()
    if os in ("android", "ios") or told.startswith("arm") or gpu.vendor == "qualcomm":
        return "arm64"
    if os == "macos":  # Macs with either processor call themselves Intel ones
        return "x86-64" if told.startswith("x86") or gpu.vendor in ("intel", "amd", "nvidia") else "arm64"
    if re.search(r"aarch64|arm64|armv8", f"{agent} {_text(given, 'navigator_platform')}", re.IGNORECASE):
        return "arm64"
    return "x86-64" if os else ""


# ── which machines of the list it may be ─────────────────────────────────────────────────────────────────────


def matches(said: Said) -> tuple[str, ...]:
    """Ids of the presets that it may be, whole machines of the newest year first; empty when none is told by it."""
    return tuple(row["id"] for row in _rows(said))


def is_named(said: Said) -> bool:
    """Whether the browser named the machine itself, not just its parts."""
    return len(_by_model(said.model)) == 1


def _rows(said: Said) -> tuple[Row, ...]:
    gpu = read_renderer(said.gpu)
    found: Sequence[Row] = _by_model(said.model)
    if not found and gpu.vendor == "apple":
        found = match_cpu(gpu.name) if gpu.exact else _with_gpu_of("apple")
    elif not found and gpu.exact:
        found = match_gpus(gpu.name, gpu.vendor)
    elif not found and said.os == "ios":
        found = _with_gpu_of("apple")
    found = [row for row in found if not said.os or said.os in row["os_options"].split("|")]
    if said.kind in _MOBILE:
        found = [row for row in found if row["kind"] == said.kind]
    found = _where(found, lambda row: _has_memory(row, said.memory_gib, said.entered))
    found = _where(found, lambda row: _has_cores(row, said.cores))
    order = {"card": 0, "machine": 1, "chip": 2}
    return tuple(sorted(found, key=lambda row: (order[row["role"]], -int(row["release_year"] or 0))))


def _by_model(model: str) -> list[Row]:
    """Rows of a phone or tablet by its name or by the start of its model number, which ends in a country's letter."""
    wanted = model.casefold()
    if len(wanted) < 3:
        return []
    found = []
    for row in tables.device_rows().values():
        if row["kind"] not in _MOBILE or row["role"] == "anchor":
            continue
        names = {row["name"].partition(" (")[0].casefold(), *row["aliases"].casefold().split("|")} - {""}
        codes = [name for name in names if len(name) > 5 and " " not in name and re.search(r"\d{3}", name)]
        if wanted in names or any(wanted.startswith(code) for code in codes):
            found.append(row)
    return found


def _with_gpu_of(vendor: str) -> list[Row]:
    rows = tables.device_rows().values()
    return [row for row in rows if row["gpu_vendor"] == vendor and row["role"] == "machine"]


def _where(rows: Sequence[Row], holds: Callable[[Row], bool]) -> Sequence[Row]:
    """Those for which it holds; all when it holds for none: what a browser says may be made up."""
    return [row for row in rows if holds(row)] or rows


def _has_memory(row: Row, memory_gib: float | None, exactly: bool) -> bool:
    if memory_gib is None or row["role"] == "card":
        return True
    options = ram_options(row["id"])
    return memory_gib in options if exactly else max(options, default=math.inf) >= memory_gib


def _has_cores(row: Row, logical: int | None) -> bool:
    """Whether so many logical cores may be told of it. Safari says eight at most."""
    if logical is None or not row["cpu_cores"] or row["role"] == "card":
        return True
    physical = int(row["cpu_cores"])
    return physical <= logical <= 2 * physical or (row["gpu_vendor"] == "apple" and 8 == logical < physical)


def memory_options(said: Said, preset_id: str | None = None) -> tuple[float, ...]:
    """Sizes of memory, GiB, that it may have by what was said; of one preset, or of any machine of its kind."""
    least = said.memory_gib or 0.0
    if preset_id is not None:
        options = ram_options(preset_id)
        return tuple(size for size in options if size >= least) or options
    usual = tables.limit("host_ram_gb", kind=said.kind or FORMS[0])
    sizes = {float(size) for size in usual.value.split("|")} if usual else set()
    return tuple(sorted({size for size in sizes if size >= least} | ({least} if least else set())))


# ── what it is taken for ─────────────────────────────────────────────────────────────────────────────────────


def propose(said: Said) -> Device | None:
    """The device to answer for, ``None`` when not even the operating system is known.

    Where several machines of the list may be meant, figures are those of the least capable one. ``sources`` says of
    each field "browser", "entered", "lower bound", "preset", "derived" or "assumed".
    """
    if not said.os:
        return None
    rows = _rows(said)
    device = _listed(rows, said) if rows else _unlisted(said)
    origin = "entered" if said.entered else BROWSER
    sources = dict(device.sources) | dict.fromkeys(("os", "kind", "arch"), origin)
    if said.memory_gib and not (is_named(said) and sources.get("ram_bytes") == "preset"):
        sources["ram_bytes"] = origin if said.entered else "lower bound"
    if device.gpus:
        sources["gpus"] = origin
    if said.cores and sources.get("physical_cores") != "preset":
        physical = _physical(said.cores, said.arch)
        device = replace(device, physical_cores=physical, performance_cores=None, usable_threads=said.cores)
        sources |= {"physical_cores": "assumed" if said.arch == "x86-64" else origin, "usable_threads": origin}
    measured = said.bandwidth_bytes_per_s
    if measured and sources.get("bandwidth_bytes_per_s") == "assumed":
        shared = (replace(gpu, bandwidth_bytes_per_s=measured) if gpu.unified else gpu for gpu in device.gpus)
        device = replace(device, bandwidth_bytes_per_s=measured, gpus=tuple(shared))
        sources["bandwidth_bytes_per_s"] = "lower bound"
    return replace(device, id=BROWSER, source="the visitor's browser", sources=sources)


def _listed(rows: Sequence[Row], said: Said) -> Device:
    """The machine that the browser names, or the least of those that share its GPU."""
    least = min([row for row in rows if row["role"] == "card"] or rows, key=_capability)
    known = memory_options(said, least["id"]) if least["role"] != "card" else ()
    memory = known[0] if known else said.memory_gib or _assumed("browser_ram_gb", said)
    device = preset(least["id"], memory, said.os)
    if is_named(said):
        several = len(ram_options(least["id"])) > 1
        return replace(device, sources=dict(device.sources) | ({"ram_bytes": "assumed"} if several else {}))
    sources = dict(device.sources) | {"ram_bytes": "assumed"}
    # An Apple chip is told by its GPU; other GPUs stand in machines of many kinds.
    one_chip = least["gpu_vendor"] == "apple" and len({row["cpu_model"] for row in rows}) == 1
    for column, names in _COLUMNS.items():
        if least["role"] != "card" and (not one_chip or len({row[column] for row in rows}) > 1):
            sources |= {name: "assumed" for name in names if name in sources}
    kind, gpus = said.kind or device.kind, device.gpus
    if len({row["gpu_name"] for row in rows}) > 1 and least["role"] != "card":
        told = _APPLE_GPU if least["gpu_vendor"] == "apple" else read_renderer(said.gpu).name
        gpus = tuple(replace(gpu, name=told or gpu.name) for gpu in gpus)  # which of them it is, nobody said
    return replace(
        device,
        gpus=gpus,
        name=_name(said.os, kind),
        kind=kind,
        arch=said.arch or device.arch,
        cpu_model=device.cpu_model if one_chip else "",
        npu_name=device.npu_name if one_chip else "",
        npu_tops=device.npu_tops if one_chip else None,
        tdp_w=device.tdp_w if one_chip else None,
        sources=sources,
    )


def _capability(row: Row) -> tuple[float, ...]:
    """What decides how much a machine can run: its GPU's memory, its bandwidth, its arithmetic."""
    memory = row["gpu_vram_gb"] if row["gpu_vram_gb"] != "shared" else ""
    figures = (memory, row["gpu_mem_bw_gbs"] or row["cpu_mem_bw_gbs"], row["gpu_fp16_tflops_dense"])
    return tuple(float(figure) if figure else math.inf for figure in figures)


def _unlisted(said: Said) -> Device:
    """A machine of which nothing but the browser's words is known."""
    kind, gpu = said.kind or FORMS[0], read_renderer(said.gpu)
    memory = said.memory_gib or _assumed("browser_ram_gb", said)
    reserve = tables.limit("system_ram", os=said.os, kind=kind)
    arch = said.arch or ARCHITECTURES[0]
    return Device(
        id=BROWSER,
        name=_name(said.os, kind),
        kind=kind,
        os=said.os,
        arch=arch,
        isa=("avx2",) if arch == "x86-64" else ("neon", "dotprod"),
        ram_bytes=memory * GIB,
        ram_free_bytes=max(0.0, memory - (reserve.number if reserve else 0.0)) * GIB,
        bandwidth_bytes_per_s=_assumed("host_bandwidth_gb_s", said) * 1e9,
        gpus=_unlisted_gpu(gpu),
        sources={
            "isa": "assumed",
            "ram_bytes": "assumed",
            "ram_free_bytes": "derived",
            "bandwidth_bytes_per_s": "assumed",
        },
    )


def _unlisted_gpu(gpu: Renderer) -> tuple[Gpu, ...]:
    """A GPU that the list does not have. NVIDIA's has memory of its own, of unknown size; others are not counted on."""
    if not gpu.name:
        return ()
    own = gpu.vendor == "nvidia"
    return (Gpu(gpu.name, gpu.vendor, "cuda" if own else "", None, None, unified=not own),)


def _assumed(rule: str, said: Said) -> float:
    found = tables.limit(rule, os=said.os, kind=said.kind or FORMS[0])
    assert found is not None, rule
    return found.number


def _physical(logical: int, arch: str) -> int:
    """Cores behind so many threads: x86-64 processors mostly run two on each."""
    return max(1, logical // 2) if arch == "x86-64" else logical


def _name(os: str, kind: str) -> str:
    return _NAMES.get((os, kind), f"a {SYSTEMS[os]} computer")
