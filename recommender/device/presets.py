"""Machines one can pick from a list: the rows of ``catalog/devices.csv`` as ``Device``.

A row's ``role`` says what it is. A ``machine`` is whole. A ``chip`` is a processor: the machine around it has the
RAM that the person says. A ``card`` is a graphics card: its host's RAM, cores and memory bandwidth are assumed
(``reserves.csv``) and marked so. An ``anchor`` only gives published measurements a name and is not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from recommender.device import tables
from recommender.device.tables import Row
from recommender.errors import BadInputError, unknown
from recommender.types import GIB, Device, Gpu

#: How a field of ``bandwidth_origin`` is called in ``Device.sources``.
_ORIGINS = {"published": "preset", "derived": "derived", "assumed": "assumed"}

#: llama.cpp's backend for a GPU of this vendor; an AMD GPU inside a processor gets Vulkan. Phones' and boards' GPUs
#: (Adreno, Mali, VideoCore) have none that the runtimes here use, so they name no backend and the CPU does the work.
_BACKENDS = {"nvidia": "cuda", "apple": "metal", "amd": "rocm", "intel": "vulkan"}


@dataclass(frozen=True)
class Preset:
    """One line of the list of machines, enough to show and to search."""

    id: str
    name: str
    brand: str
    kind: str
    role: str  # machine, chip or card
    os_options: tuple[str, ...]
    ram_gib_options: tuple[float, ...]
    ram_gib_default: float
    aliases: tuple[str, ...]
    release_year: int | None
    confidence: str
    source: str


def _number(row: Row, column: str) -> float | None:
    return float(row[column]) if row[column] else None


def _whole(row: Row, column: str) -> int | None:
    return int(row[column]) if row[column] else None


def _split(text: str, separator: str = "|") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


def _listed_ram(row: Row) -> tuple[float, ...]:
    return tuple(float(value) for value in _split(row["ram_gb_options"]))


def _host_limit(rule: str, kind: str) -> float | None:
    found = tables.limit(rule, kind=kind)
    return found.number if found else None


def _ram_options(row: Row) -> tuple[float, ...]:
    listed = _listed_ram(row)
    if listed:
        return listed
    host = tables.limit("host_ram_gb", kind=row["kind"])
    return tuple(float(value) for value in _split(host.value)) if host else ()


def _default_ram(row: Row) -> float:
    options = _ram_options(row)
    stated = _number(row, "ram_gb_default")
    if stated is None and not _listed_ram(row):
        stated = _host_limit("host_ram_default_gb", row["kind"])
    if stated is not None:
        return stated
    return options[0] if options else 8.0


def _preset(row: Row) -> Preset:
    return Preset(
        id=row["id"],
        name=row["name"],
        brand=row["brand"],
        kind=row["kind"],
        role=row["role"],
        os_options=_split(row["os_options"]),
        ram_gib_options=_ram_options(row),
        ram_gib_default=_default_ram(row),
        aliases=_split(row["aliases"]),
        release_year=_whole(row, "release_year"),
        confidence=row["confidence"],
        source=row["source"],
    )


@cache
def presets() -> tuple[Preset, ...]:
    """Every machine, processor and card that can be picked, in the catalog's order."""
    return tuple(_preset(row) for row in tables.device_rows().values() if row["role"] != "anchor")


def _row(preset_id: str) -> Row:
    rows = tables.device_rows()
    row = rows.get(preset_id)
    if row is None or row["role"] == "anchor":
        raise unknown("device", preset_id, [preset.id for preset in presets()])
    return row


def ram_options(preset_id: str) -> tuple[float, ...]:
    """The sizes of RAM, GiB, that this machine is sold with, smallest first; one entry means there is no choice.

    Raises:
        UnknownNameError: no preset has this id; the nearest ones are in the message.
    """
    return _ram_options(_row(preset_id))


def _gpu_backend(vendor: str, unified: bool) -> str:
    return "vulkan" if vendor == "amd" and unified else _BACKENDS.get(vendor, "")


def usable_flops(row: Row) -> float | None:
    """The rate, FLOP/s, that half-precision matrix work runs at: the FP16 rate, or FP32's where that is faster.

    Some consumer chips run FP16 at a small fraction of FP32; llama.cpp computes in FP32 there.
    """
    rates = [rate for column in ("gpu_fp16_tflops_dense", "gpu_fp32_tflops") if (rate := _number(row, column))]
    return max(rates) * 1e12 if rates else None


def _gpus(row: Row, ram_bytes: float, os: str) -> tuple[Gpu, ...]:
    if not row["gpu_name"]:
        return ()
    unified = row["gpu_vram_gb"] in ("", "shared")
    bandwidth = _number(row, "gpu_mem_bw_gbs")
    share = _gpu_share(row, ram_bytes, os)
    if unified:
        memory = ram_bytes * share if share is not None else None
        free = None  # it comes out of RAM: see budget.py
    else:
        memory = float(row["gpu_vram_gb"]) * GIB
        reserve = tables.limit("vram_reserve", os=os, kind=row["kind"])
        free = max(0.0, memory - reserve.number * GIB) if reserve else None
    gpu = Gpu(
        name=row["gpu_name"],
        vendor=row["gpu_vendor"],
        backend=_gpu_backend(row["gpu_vendor"], unified),
        memory_bytes=memory,
        memory_free_bytes=free,
        bandwidth_bytes_per_s=bandwidth * 1e9 if bandwidth else None,
        fp16_flops=usable_flops(row),
        compute_capability=row["gpu_compute_capability"],
        unified=unified,
    )
    return (gpu,) * (_whole(row, "gpu_count") or 1)


def _gpu_share(row: Row, ram_bytes: float, os: str) -> float | None:
    if row["unified_memory"] != "y" or not row["gpu_name"]:
        return None
    stated = _number(row, "gpu_max_mem_fraction")
    if stated is not None:
        return stated
    rule = tables.limit("gpu_share", os=os, memory_gb=ram_bytes / GIB)
    return rule.number if rule else None


def _check_ram(row: Row, ram_gib: float) -> None:
    if not 0.125 <= ram_gib <= 65536:
        raise BadInputError(f"{ram_gib:g} GiB of RAM makes no sense for {row['name']}. Give a size such as 16.")


def preset(preset_id: str, ram_gib: float | None = None, os: str | None = None) -> Device:
    """The machine with this id.

    Args:
        preset_id: an id of ``presets()``.
        ram_gib: its RAM; without it the usual size is taken and ``sources["ram_bytes"]`` is "assumed" where there
            is a choice (``ram_options`` lists it).
        os: one of its operating systems; without it the first.

    Returns:
        A ``Device`` whose free memory is the total less what the operating system keeps (``reserves.csv``).

    Raises:
        UnknownNameError: no preset has this id; the nearest ones are in the message.
        BadInputError: RAM or operating system that this machine cannot have.
    """
    row = _row(preset_id)
    choices = _split(row["os_options"])
    chosen_os = os or choices[0]
    if chosen_os not in choices:
        raise BadInputError(f"{row['name']} runs {' or '.join(choices)}, not {chosen_os}.")
    options = _ram_options(row)
    sources: dict[str, str] = dict.fromkeys(("kind", "os", "arch", "name"), "preset")
    if ram_gib is not None:
        _check_ram(row, ram_gib)
        sources["ram_bytes"] = "preset" if ram_gib in _listed_ram(row) else "entered"
    else:
        ram_gib = _default_ram(row)
        sources["ram_bytes"] = "preset" if len(options) == 1 and _listed_ram(row) else "assumed"
    ram_bytes = ram_gib * GIB

    reserve = tables.limit("system_ram", os=chosen_os, kind=row["kind"])
    free = max(0.0, ram_bytes - reserve.number * GIB) if reserve else None
    if free is not None:
        sources["ram_free_bytes"] = "derived"

    cores = _whole(row, "cpu_cores")
    bandwidth = _number(row, "cpu_mem_bw_gbs")
    if bandwidth is not None:
        sources["bandwidth_bytes_per_s"] = _ORIGINS.get(row["bandwidth_origin"], "preset")
    if cores is not None:
        sources["physical_cores"] = "preset"
    if row["role"] == "card":
        if cores is None and (assumed := _host_limit("host_cores", row["kind"])) is not None:
            cores = int(assumed)
            sources["physical_cores"] = "assumed"
        if bandwidth is None and (assumed := _host_limit("host_bandwidth_gb_s", row["kind"])) is not None:
            bandwidth = assumed
            sources["bandwidth_bytes_per_s"] = "assumed"

    if row["cpu_threads"] or "physical_cores" in sources:
        sources["usable_threads"] = sources.get("physical_cores", "preset")
    gpus = _gpus(row, ram_bytes, chosen_os)
    share = _gpu_share(row, ram_bytes, chosen_os)
    isa = _split(row["cpu_isa"], ",")
    filled = {
        "cpu_model": row["cpu_model"],
        "performance_cores": row["cpu_perf_cores"],
        "isa": isa,
        "gpus": gpus,
        "npu_name": row["npu_name"],
        "npu_tops": row["npu_tops"],
        "tdp_w": row["tdp_w"],
    }
    sources |= {field: "preset" for field, value in filled.items() if value}
    if share is not None:
        sources["gpu_memory_fraction"] = "preset" if row["gpu_max_mem_fraction"] else "derived"
    return Device(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        os=chosen_os,
        arch=row["arch"],
        cpu_model=row["cpu_model"],
        physical_cores=cores,
        performance_cores=_whole(row, "cpu_perf_cores"),
        usable_threads=_whole(row, "cpu_threads") or cores,
        isa=isa,
        ram_bytes=ram_bytes,
        ram_free_bytes=free,
        bandwidth_bytes_per_s=bandwidth * 1e9 if bandwidth else None,
        gpus=gpus,
        npu_name=row["npu_name"],
        npu_tops=_number(row, "npu_tops"),
        unified_memory=row["unified_memory"] == "y",
        gpu_memory_fraction=share,
        tdp_w=_number(row, "tdp_w"),
        source=row["source"],
        sources=sources,
    )
