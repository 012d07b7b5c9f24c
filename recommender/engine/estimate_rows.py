"""Estimates for named models with given settings: what ``recommender estimate`` and the Try page show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from recommender.catalog.queries import find_model, runtimes_for, variant_columns
from recommender.device.budget import memory_budget
from recommender.engine.picks import figure, gpu_layers_of, memory_of
from recommender.errors import BadInputError, RecommenderError, nearest
from recommender.estimate import estimate_columns
from recommender.estimate.calibrate import Calibration
from recommender.estimate.memory import BINDINGS
from recommender.types import (
    BATCH_TOKENS,
    KV_TYPES,
    UBATCH_TOKENS,
    Device,
    Estimate,
    Floats,
    Settings,
    SettingsColumns,
    Texts,
    VariantColumns,
)

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

_MANAGED = "managed"
# What grows with the file when its size is said to be another.
_SCALED = (
    "file_bytes",
    "tensor_bytes",
    "input_embedding_bytes",
    "output_bytes",
    "read_bytes_per_token",
    "repack_x86_bytes",
    "repack_arm_bytes",
)


@dataclass(frozen=True)
class EstimateRequest:
    """One model × quantization on a device, with the settings of the run. ``None`` takes the usual value."""

    model: str
    quantization: str
    device: Device
    runtime: str = "llama.cpp"
    context_tokens: int = 4096
    depth_tokens: int | None = None  # tokens already in the context while decoding
    kv_type: str = "f16"
    batch_tokens: int = BATCH_TOKENS
    ubatch_tokens: int = UBATCH_TOKENS
    parallel: int = 1
    threads: int | None = None
    gpu_layers: int = -1
    flash_attn: bool = True
    devices: int = 1  # GPUs of the same kind
    prompt_tokens: int = 512
    gen_tokens: int = 128
    binding: str = "xllamacpp"  # how llama.cpp is called; "llama-cpp-python" means its ``Llama`` class
    model_bytes: float | None = None  # the file's size, when it is known better than the catalog knows it


@dataclass(frozen=True)
class EstimateAnswer:
    """The estimate for one request, with the settings as they were resolved."""

    model_id: str
    quantization: str
    runtime: str
    settings: Settings
    estimate: Estimate


def estimate_rows(
    requests: Sequence[EstimateRequest],
    catalog: Catalog,
    calibration: Calibration | None = None,
) -> list[EstimateAnswer | RecommenderError]:
    """Estimate each request; one that cannot be estimated yields its error, the others go on.

    Requests for the same device are estimated together.
    """
    answers: list[EstimateAnswer | RecommenderError | None] = [None] * len(requests)
    groups: dict[tuple[int, int, str], list[int]] = {}
    found: dict[int, dict[str, object]] = {}
    for index, request in enumerate(requests):
        try:
            _check(request)
            found[index] = catalog_row(request, catalog)
        except RecommenderError as error:
            answers[index] = error
        else:
            groups.setdefault((id(request.device), request.devices, request.binding), []).append(index)
    for indices in groups.values():
        group = [requests[index] for index in indices]
        for index, answer in zip(
            indices, _estimate_group(group, [found[i] for i in indices], calibration), strict=True
        ):
            answers[index] = answer
    return [answer for answer in answers if answer is not None]


def estimate_one(request: EstimateRequest, catalog: Catalog, calibration: Calibration | None = None) -> EstimateAnswer:
    """Like ``estimate_rows`` for one request.

    Raises:
        RecommenderError: the name is unknown or a setting makes no sense.
    """
    answer = estimate_rows([request], catalog, calibration)[0]
    if isinstance(answer, RecommenderError):
        raise answer
    return answer


def estimate_row(
    request: EstimateRequest, row: dict[str, object], calibration: Calibration | None = None
) -> EstimateAnswer:
    """Like ``estimate_one`` for columns that do not come from the catalog, such as a file's own (``file_rows``).

    Raises:
        BadInputError: a setting makes no sense.
    """
    _check(request)
    return _estimate_group([request], [row], calibration)[0]


def _check(request: EstimateRequest) -> None:
    for name, least in (
        ("context_tokens", 1),
        ("batch_tokens", 1),
        ("ubatch_tokens", 1),
        ("parallel", 1),
        ("devices", 1),
        ("prompt_tokens", 1),
        ("gen_tokens", 1),
        ("gpu_layers", -1),
        ("depth_tokens", 0),
        ("threads", 1),
        ("model_bytes", 1),
    ):
        value = getattr(request, name)
        if value is not None and not value >= least:
            raise BadInputError(f"{name.replace('_', ' ').capitalize()} must be at least {least}, not {value:g}.")
    if request.binding not in BINDINGS:
        raise BadInputError(f"There is no binding {request.binding!r} of llama.cpp. Choose {' or '.join(BINDINGS)}.")
    if request.kv_type not in KV_TYPES:
        raise BadInputError(f"There is no KV cache type {request.kv_type!r}. Choose one of {', '.join(KV_TYPES)}.")
    depth = request.depth_tokens or 0
    if depth > request.context_tokens:
        raise BadInputError(f"A depth of {depth:,} tokens does not fit into a context of {request.context_tokens:,}.")


def catalog_row(request: EstimateRequest, catalog: Catalog) -> dict[str, object]:
    """The catalog's columns for one request, as ``VariantColumns`` names them."""
    model = find_model(catalog, request.model)
    rows = variant_columns(catalog, model.model_id, request.runtime)
    if not rows:
        raise BadInputError(
            f"{request.runtime} does not take {model.name}; "
            f"these do: {', '.join(runtimes_for(catalog, model.model_id)) or 'none that is recorded'}."
        )
    by_name = {str(row["quantization"]).casefold(): row for row in rows}
    row = by_name.get(request.quantization.casefold())
    if row is None:
        known = [str(row["quantization"]) for row in rows]
        close = ", ".join(nearest(request.quantization, known)) or ", ".join(known[:8])
        raise BadInputError(
            f"{model.name} has no quantization {request.quantization!r} for {request.runtime}. Did you mean {close}?"
        )
    if row["format"] == _MANAGED:
        raise BadInputError(f"{request.runtime} is a managed service: there is nothing to estimate on a device.")
    limit = model.context_max
    if limit is not None and request.context_tokens > limit:
        raise BadInputError(
            f"{model.name} reads at most {limit:,} tokens; a context of {request.context_tokens:,} was asked."
        )
    if request.model_bytes is not None:
        # A file of another size than the layout's: its tensors are taken to be larger or smaller all alike.
        ratio = request.model_bytes / float(row["file_bytes"])
        row = row | {name: float(row[name]) * ratio for name in _SCALED if row[name] is not None}
    return row


def _estimate_group(
    group: Sequence[EstimateRequest],
    rows: Sequence[dict[str, object]],
    calibration: Calibration | None,
) -> list[EstimateAnswer]:
    first = group[0]
    device = first.device
    if first.devices > 1 and device.gpus:
        device = replace(device, gpus=device.gpus[:1] * first.devices)
    text = ("model_id", "quantization", "runtime", "format", "architecture")

    def texts(values: Sequence[object]) -> Texts:
        return np.array(list(values), dtype=object)

    def floats(values: Sequence[object]) -> Floats:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    columns = {
        name: (texts if name in text else floats)([row[name] for row in rows])
        for name in VariantColumns.__dataclass_fields__
        if name != "exact"
    }
    variants = VariantColumns(**columns, exact=np.array([bool(row["exact"]) for row in rows], dtype=np.bool_))
    threads = [request.threads or default_threads(device) for request in group]
    settings = SettingsColumns(
        context_tokens=floats([request.context_tokens for request in group]),
        kv_type=texts([request.kv_type for request in group]),
        batch_tokens=floats([request.batch_tokens for request in group]),
        ubatch_tokens=floats([request.ubatch_tokens for request in group]),
        parallel=floats([request.parallel for request in group]),
        threads=floats(threads),
        gpu_layers=floats([request.gpu_layers for request in group]),
        flash_attn=np.array([request.flash_attn for request in group], dtype=np.bool_),
    )
    prompt = floats([request.prompt_tokens for request in group])
    gen = floats([request.gen_tokens for request in group])
    depth = floats(
        [
            request.prompt_tokens + request.gen_tokens / 2 if request.depth_tokens is None else request.depth_tokens
            for request in group
        ]
    )
    budget = memory_budget(device)
    estimates = estimate_columns(
        variants,
        settings,
        device,
        0.0 if budget.unified else budget.gpu_bytes or 0.0,
        prompt,
        gen,
        depth_tokens=depth,
        binding=first.binding,
        calibration=calibration,
    )
    answers = []
    for index, request in enumerate(group):
        exact = bool(variants.exact[index])
        answers.append(
            EstimateAnswer(
                str(variants.model_id[index]),
                str(variants.quantization[index]),
                request.runtime,
                Settings(
                    request.context_tokens,
                    request.kv_type,
                    request.batch_tokens,
                    request.ubatch_tokens,
                    request.parallel,
                    threads[index],
                    gpu_layers_of(estimates, index),
                    request.flash_attn,
                ),
                Estimate(
                    file_bytes=float(variants.file_bytes[index]),
                    file_provenance="exact layout" if exact else "rough estimate",
                    memory=memory_of(estimates, index, exact),
                    prefill_tokens_per_s=figure(estimates.prefill, index),
                    decode_tokens_per_s=figure(estimates.decode, index),
                    ttft_s=figure(estimates.ttft, index),
                    answer_time_s=figure(estimates.answer_time, index),
                    load_s=figure(estimates.load, index),
                ),
            )
        )
    return answers


def default_threads(device: Device) -> int:
    """Physical cores within what this process may use: ggml gains nothing from a second thread on a core."""
    usable = device.usable_threads or device.physical_cores or 1
    return min(usable, device.physical_cores or usable)
