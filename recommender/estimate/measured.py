"""Published measurements as estimator input: rows of ``measurements.csv`` beside devices and models, as columns.

Used by the fit script and by the evaluation, so both see a row the same way. A row that cannot be compared is
skipped with its reason; nothing is dropped silently.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recommender import paths
from recommender.estimate.architecture import merge_rows
from recommender.estimate.model_shape import ModelShape, model_shape, rough_shape
from recommender.estimate.names import size_in_name
from recommender.estimate.speed_hardware import Side, counted_cores, cpu_side, gpu_side
from recommender.estimate.speed_tables import Label, SpeedTables
from recommender.types import BATCH_TOKENS, UBATCH_TOKENS, Floats, SettingsColumns, Texts, VariantColumns

Row = Mapping[str, str]
Resolve = Callable[[str, float | None], str | None]

# Decode cannot read weights faster than the memory delivers them; a little more is measurement error.
CEILING = 1.03
# Evidence classes that say nothing about what the hardware can do.
SET_ASIDE = {
    "speculative": "speculative decoding",
    "engine-defect": "engine known to be slow on that host",
    "multi-gpu": "several devices",
    "batched": "batch above 1",
}
# No context is longer; a larger number in a table is a slip.
MOST_TOKENS = 1e9
_TOKENS = ("prompt_tokens", "gen_tokens", "depth")
# Sizes closer than this (log) are the same size, rounded.
ROUNDING = 0.15


@dataclass(frozen=True)
class Measured:
    """Comparable rows as columns, each of shape (n,). Speeds are NaN where the row has none."""

    row_id: Texts
    device: Texts  # one id for both sides of a machine, so that it is left out whole
    family: Texts
    sides: tuple[Side, ...]
    variants: VariantColumns
    settings: SettingsColumns
    depth_tokens: Floats
    prompt_tokens: Floats  # NaN where unknown or too short to be a prefill measurement
    decode_tokens_per_s: Floats
    prefill_tokens_per_s: Floats
    evidence: Texts
    weight: Floats
    configuration: Texts  # rows with the same value measured the same thing

    def __len__(self) -> int:
        return len(self.row_id)


@dataclass(frozen=True)
class _Usable:
    row: Row
    device: str
    family: str
    side: Side
    shape: ModelShape
    evidence: Row
    gpu_layers: float


class Skip(Exception):
    """Raised inside the reader for a row that cannot be compared; the message is the reason that is counted."""


def read_measured(
    rows: Sequence[Row],
    devices: Sequence[Row],
    models: Sequence[Row],
    tables: SpeedTables,
    resolve: Resolve | None = None,
) -> tuple[Measured, dict[str, int]]:
    """Columns of all rows that can be compared, and why the others could not (reason → count).

    ``rows`` have the headers of ``measurements.csv``; its review columns (``model_id``, ``outlier``, ``evidence`` …)
    are used where they are there. ``resolve(name, params_b)`` maps a model's free-text name to a catalog id.
    """
    reader = _Reader(devices, models, tables, resolve)
    usable: list[_Usable] = []
    skipped: Counter[str] = Counter()
    for row in rows:
        try:
            usable.append(reader.read(row))
        except Skip as reason:
            skipped[str(reason)] += 1
    return _columns(usable, tables), dict(skipped.most_common())


class _Reader:
    def __init__(
        self, devices: Sequence[Row], models: Sequence[Row], tables: SpeedTables, resolve: Resolve | None
    ) -> None:
        self.devices = {row["id"]: row for row in devices}
        architectures = {row["model_id"]: row for row in _table("architectures.csv")}
        self.models = {row["model_id"]: merge_rows(row, architectures.get(row["model_id"])) for row in models}
        self.shapes: dict[tuple[str, str, float | None, Label | None], ModelShape] = {}
        self.tables = tables
        self.resolve = resolve
        self.backends = _table("measured_backends.csv")
        self.sources = _table("measured_sources.csv")

    def read(self, row: Row) -> _Usable:
        """One row, or ``Skip`` with the reason."""
        if _positive(row, "decode_tok_s") is None and _positive(row, "prefill_tok_s") is None:
            raise Skip("no speed")
        device = self.devices.get(row["device"])
        if device is None:
            raise Skip("device not in the catalog")
        engine, accelerator = self._backend(row, device)
        side = self._side(device, accelerator)
        if not side.bandwidth_known:
            raise Skip("device without a known bandwidth")
        if (number(row, "n_devices") or 1) != 1:
            raise Skip("several devices")
        if (number(row, "batch") or 1) != 1:
            raise Skip("batch above 1")
        if max(abs(number(row, name) or 0.0) for name in _TOKENS) > MOST_TOKENS:
            raise Skip("more tokens than any context holds")
        evidence = self._evidence(row)
        if evidence["evidence"] in SET_ASIDE:
            raise Skip(SET_ASIDE[evidence["evidence"]])
        if row.get("duplicate_of"):
            raise Skip("duplicate of another row")
        if row.get("outlier"):
            raise Skip("set aside in review")
        shape = self._shape(row)
        gpu_layers = self._gpu_layers(row, accelerator, shape)
        self._plausible(row, device, side, shape)
        return _Usable(row, _whole(row["device"]), f"{engine}-{accelerator}", side, shape, evidence, gpu_layers)

    def _backend(self, row: Row, device: Row) -> tuple[str, str]:
        label = row["backend"].casefold()
        engine = next((p["value"] for p in self.backends if p["part"] == "engine" and _names(p, row)), "llama.cpp")
        accelerator = next(
            (p["value"] for p in self.backends if p["part"] == "accelerator" and p["pattern"] in label), ""
        )
        if not accelerator:
            names = f"{device['id']} {device.get('gpu_name', '')}".casefold()
            has_gpu = bool(device.get("gpu_mem_bw_gbs")) and not device["id"].endswith("-cpu")
            accelerator = (
                next((p["value"] for p in self.backends if p["part"] == "device" and p["pattern"] in names), "vulkan")
                if has_gpu
                else "cpu"
            )
        return engine, accelerator

    def _side(self, device: Row, accelerator: str) -> Side:
        bandwidth = number(device, "gpu_mem_bw_gbs")
        main = number(device, "cpu_mem_bw_gbs")
        if accelerator == "cpu":
            isa = [name.strip() for name in (device.get("cpu_isa") or "").split(",")]
            threads = counted_cores(isa, number(device, "cpu_perf_cores"), number(device, "cpu_cores"))
            main = main or (bandwidth if device.get("unified_memory") == "y" else None)
            return cpu_side(
                self.tables, isa=isa, kind=device["kind"], bandwidth=main * 1e9 if main else None, threads=threads
            )
        unified = device.get("unified_memory") == "y"
        bandwidth = bandwidth or (main if unified else None)
        flops = max(number(device, "gpu_fp16_tflops_dense") or 0.0, number(device, "gpu_fp32_tflops") or 0.0)
        return gpu_side(
            self.tables,
            accelerator=accelerator,
            kind=device["kind"],
            name=f"{device['id']} {device.get('gpu_name', '')}",
            unified=unified,
            bandwidth=bandwidth * 1e9 if bandwidth else None,
            flops=flops * 1e12 if flops else None,
            compute_capability=device.get("gpu_compute_capability") or "",
        )

    def _evidence(self, row: Row) -> Row:
        found = next(rule for rule in self.sources if _all_in(rule["pattern"], _text(row)))
        if row.get("evidence"):
            return {**found, "evidence": row["evidence"], "weight": row.get("weight") or found["weight"]}
        return found

    def _shape(self, row: Row) -> ModelShape:
        label = self.tables.label(row.get("quant") or "")
        model_bytes = _positive(row, "model_bytes")
        if label is None and model_bytes is None:
            raise Skip("quantization unknown")
        given = _positive(row, "reviewed_params_b") or _positive(row, "params_b")
        model_id = row.get("model_id")
        if model_id is None and self.resolve is not None:
            model_id = self.resolve(row["model"], given)
        model = self.models.get(model_id or "")
        if model is not None:
            kind = label.quantization if label and label.quantization else row.get("quant") or ""
            return self._cached_shape(model, label, kind, model_bytes, self._active(row))
        params = given * 1e9 if given else math.nan
        named = size_in_name(row["model"])
        # People round sizes when they report them (0.5B as 1); the name is then the better witness.
        if math.isfinite(named) and not (math.isfinite(params) and abs(math.log(params / named)) < ROUNDING):
            params = named
        if not math.isfinite(params):
            raise Skip("model size unknown")
        return rough_shape(self.tables, params, self._active(row), label, model_bytes)

    def _cached_shape(
        self, model: Row, label: Label | None, kind: str, size: float | None, active: float
    ) -> ModelShape:
        key = (model["model_id"], kind, size, label)
        if key not in self.shapes:
            self.shapes[key] = model_shape(model, label, kind, size, active)
        return self.shapes[key]

    def _active(self, row: Row) -> float:
        """Active parameters as review, row or name give them; NaN where none does."""
        active = _positive(row, "reviewed_active_params_b") or _positive(row, "active_params_b")
        return active * 1e9 if active else active_in_name(row["model"])

    def _gpu_layers(self, row: Row, accelerator: str, shape: ModelShape) -> float:
        layers = number(row, "n_gpu_layers")
        if accelerator == "cpu":
            return 0.0
        if layers is not None and 0 <= layers < shape.n_layer:
            raise Skip("layers partly on the CPU")
        return shape.n_layer + 1

    def _plausible(self, row: Row, device: Row, side: Side, shape: ModelShape) -> None:
        memory = number(device, "gpu_vram_gb")
        if side.accelerator != "cpu" and memory and shape.stored_bytes > memory * 1e9 * 1.074:
            raise Skip("larger than the GPU's memory")
        speed = _positive(row, "decode_tok_s")
        if speed and speed * shape.read_bytes > CEILING * side.bandwidth_bytes_per_s:
            raise Skip("faster than memory can deliver the weights")


def _columns(usable: Sequence[_Usable], tables: SpeedTables) -> Measured:
    shapes = [item.shape for item in usable]
    n = len(usable)

    def of(name: str) -> Floats:
        return np.array([getattr(shape, name) for shape in shapes], dtype=float)

    def texts(values: Sequence[str]) -> Texts:
        return np.array(list(values), dtype=object)

    def column(name: str) -> Floats:
        return np.array([_or_nan(number(item.row, name)) for item in usable], dtype=float)

    total = of("params_total")
    variants = VariantColumns(
        model_id=texts([shape.model_id for shape in shapes]),
        quantization=texts([item.row.get("quant") or "" for item in usable]),
        runtime=texts([item.family for item in usable]),
        format=texts(["gguf"] * n),
        architecture=texts([""] * n),
        file_bytes=of("stored_bytes"),
        tensor_bytes=of("stored_bytes"),
        input_embedding_bytes=of("input_embedding_bytes"),
        output_bytes=np.full(n, np.nan),
        read_bytes_per_token=of("read_bytes"),
        params_total=total,
        params_active=of("params_active"),
        n_layer=of("n_layer"),
        n_embd=of("n_embd"),
        n_vocab=of("n_vocab"),
        n_head=np.full(n, np.nan),
        n_ff=np.full(n, np.nan),
        k_full_elements_per_token=of("kv_full") / 2,
        v_full_elements_per_token=of("kv_full") / 2,
        k_window_elements_per_token=of("kv_window") / 2,
        v_window_elements_per_token=of("kv_window") / 2,
        window_tokens=of("window_tokens"),
        state_bytes=of("state_bytes"),
        exact=np.array([shape.exact for shape in shapes], dtype=bool),
    )
    threads = column("threads")
    settings = SettingsColumns(
        context_tokens=np.full(n, np.nan),
        kv_type=texts(["f16"] * n),
        batch_tokens=np.full(n, float(BATCH_TOKENS)),
        ubatch_tokens=np.full(n, float(UBATCH_TOKENS)),
        parallel=np.ones(n),
        threads=np.where(np.isfinite(threads), threads, 0.0),
        gpu_layers=np.array([item.gpu_layers for item in usable], dtype=float),
        flash_attn=np.nan_to_num(column("flash_attn")).astype(bool),
    )
    prompt, depth = _tokens(usable)
    return Measured(
        row_id=texts([item.row["row_id"] for item in usable]),
        device=texts([item.device for item in usable]),
        family=texts([item.family for item in usable]),
        sides=tuple(item.side for item in usable),
        variants=variants,
        settings=settings,
        depth_tokens=depth,
        prompt_tokens=prompt,
        decode_tokens_per_s=column("decode_tok_s"),
        prefill_tokens_per_s=column("prefill_tok_s"),
        evidence=texts([item.evidence["evidence"] for item in usable]),
        weight=np.array([float(item.evidence["weight"]) for item in usable]),
        configuration=texts([_configuration(item) for item in usable]),
    )


def _tokens(usable: Sequence[_Usable]) -> tuple[Floats, Floats]:
    """Prompt length for prefill, and mean depth during generation, per row.

    llama-bench generates from ``depth`` (0 by default) whatever its prompt test was; applications generate after
    the prompt; some sources publish one mean over fixed shapes, whose means are in ``measured_sources.csv``.
    """
    prompts, depths = [], []
    for item in usable:
        fixed_prompt = number(item.evidence, "prompt_tokens")
        fixed_depth = number(item.evidence, "depth_tokens")
        prompt = fixed_prompt or number(item.row, "prompt_tokens")
        generated = number(item.row, "gen_tokens") or 128.0
        start = number(item.row, "depth") or 0.0
        if fixed_depth is not None:
            depths.append(fixed_depth)
        elif item.evidence["evidence"] == "llama-bench":
            depths.append(start + generated / 2)
        else:
            depths.append(start + (prompt or 0.0) + generated / 2)
        # A prefill figure without its prompt length, or over a few words, measures start-up rather than prefill.
        prompts.append(_or_nan(prompt) if prompt and prompt >= 64 else math.nan)
    return np.array(prompts), np.array(depths)


def _configuration(item: _Usable) -> str:
    row = item.row
    keys = ("device", "quant", "prompt_tokens", "gen_tokens", "depth", "threads", "flash_attn")
    return "|".join([item.family, item.shape.model_id or row["model"], *(row.get(key, "") for key in keys)])


def _text(row: Row) -> str:
    """What describes how a row was measured."""
    return f"{row.get('backend', '')} | {row.get('source', '')} | {row.get('notes', '')}".casefold()


def _names(engine: Row, row: Row) -> bool:
    """Whether a pattern of ``measured_backends.csv`` names the row's engine: by its backend, or with its version."""
    backend = row["backend"].casefold()
    if " & " not in engine["pattern"]:
        return engine["pattern"] in backend
    return _all_in(engine["pattern"], f"{backend} | {(row.get('version') or '').casefold()}")


def _all_in(pattern: str, text: str) -> bool:
    return all(part in text for part in pattern.split(" & "))


def _whole(device: str) -> str:
    return device.removesuffix("-cpu").removesuffix("-npu")


def active_in_name(text: str) -> float:
    """Active parameters as a mixture-of-experts name gives them ("35B-A3B" → 3e9); NaN when it gives none."""
    found = re.search(r"[-_ ]a(\d+(?:\.\d+)?)b(?![a-z0-9])", text.casefold())
    return float(found[1]) * 1e9 if found else math.nan


def number(row: Row, key: str) -> float | None:
    """A number in a text row; None where the cell is empty, missing or not a finite number."""
    text = (row.get(key) or "").strip()
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _positive(row: Row, key: str) -> float | None:
    """Like ``number`` for what exists only above zero, such as a size or a speed."""
    value = number(row, key)
    return value if value is not None and value > 0 else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _table(name: str) -> list[dict[str, str]]:
    with (paths.catalog_dir() / name).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
