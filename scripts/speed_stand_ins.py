"""Stand-ins for unknown figures, from the catalog's devices, drives and models alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from recommender.estimate.measured import number
from recommender.estimate.speed_hardware import MEANINGFUL_FLOPS_PER_BYTE, counted_cores


def fallback_rows(devices: Iterable[dict[str, str]], disks: Iterable[dict[str, str]]) -> list[dict[str, object]]:
    """Median and log spread of bandwidth, threads and FLOPS per byte by kind of device, from the catalog's devices."""
    found: dict[tuple[str, str, str], list[float]] = {}

    def add(side: str, kind: str, quantity: str, value: float | None) -> None:
        if value:
            for key in ((side, kind, quantity), (side, "any", quantity)):
                found.setdefault(key, []).append(value)

    for row in devices:
        kind, names = row["kind"], f"{row['id']} {row['gpu_name']}".casefold()
        gpu, main = number(row, "gpu_mem_bw_gbs"), number(row, "cpu_mem_bw_gbs")
        add("cpu", kind, "bandwidth_bytes_per_s", main * 1e9 if main else None)
        isa = [name.strip() for name in row["cpu_isa"].split(",")]
        threads = counted_cores(isa, number(row, "cpu_perf_cores"), number(row, "cpu_cores"))
        add("cpu", kind, "threads", threads)
        add("cpu", kind, "threads_per_byte", threads / (main * 1e9) if threads and main else None)
        if not gpu:
            continue
        flops = max(number(row, "gpu_fp16_tflops_dense") or 0.0, number(row, "gpu_fp32_tflops") or 0.0)
        ratio = flops * 1e12 / (gpu * 1e9) if flops else None
        vendor = {"apple": "metal", "iphone": "metal", "rx-": "rocm", "radeon": "rocm", "arc-": "sycl"}
        accelerators = [value for key, value in vendor.items() if key in names] or (
            ["cuda"]
            if any(key in names for key in ("rtx", "gtx", "geforce", "nvidia", "tesla", "quadro", "jetson"))
            else []
        )
        for side in ["gpu", *accelerators, *(["vulkan"] if "metal" not in accelerators else [])]:
            add(side, kind, "bandwidth_bytes_per_s", gpu * 1e9)
            if ratio and ratio >= MEANINGFUL_FLOPS_PER_BYTE:
                add(side, kind, "flops_per_byte", ratio)
    disk_rows = list(disks)
    own = {row["device_kind"] for row in disk_rows}
    for kind in own:
        for row in disk_rows:
            if row["device_kind"] == kind:
                found.setdefault(("disk", kind, "bandwidth_bytes_per_s"), []).append(float(row["bytes_per_s"]))
    rows: list[dict[str, object]] = []
    for (side, kind, quantity), values in sorted(found.items()):
        if len(values) < 3:
            continue
        logs = np.log(values)
        rows.append(
            {
                "side": side,
                "device_kind": kind,
                "quantity": quantity,
                "typical": f"{math.exp(np.median(logs)):.4g}",
                "log_spread": f"{np.std(logs, ddof=1):.4g}",
                "devices": len(values),
            }
        )
    return rows


def size_law_rows(models: Sequence[dict[str, str]]) -> list[dict[str, object]]:
    """Power laws of total parameters over the catalog's dense models."""
    quantities: dict[str, Callable[[dict[str, str]], float | None]] = {
        "n_layer": lambda m: number(m, "n_layer"),
        "n_embd": lambda m: number(m, "n_embd"),
        "kv_elements_per_token": _kv_elements,
        "embedding_elements": lambda m: _product(number(m, "vocab_size"), number(m, "n_embd")),
    }
    rows: list[dict[str, object]] = []
    for name, value_of in quantities.items():
        pairs = [
            (math.log(number(m, "params_total") or 1), math.log(value))
            for m in models
            if number(m, "params_total") and not number(m, "n_expert") and (value := value_of(m))
        ]
        x, y = np.array(pairs).T
        slope, intercept = np.polyfit(x, y, 1)
        rows.append(
            {
                "quantity": name,
                "log_intercept": f"{intercept:.5g}",
                "slope": f"{slope:.5g}",
                "log_spread": f"{np.std(y - slope * x - intercept):.4g}",
                "models": len(pairs),
            }
        )
    return rows


def _kv_elements(m: dict[str, str]) -> float | None:
    head_dim = number(m, "head_dim") or ((number(m, "n_embd") or 0) / (number(m, "n_head") or math.inf))
    return _product(2.0, number(m, "n_layer"), number(m, "n_head_kv"), head_dim)


def _product(*values: float | None) -> float | None:
    return None if any(v is None for v in values) else math.prod(v for v in values if v is not None) or None
