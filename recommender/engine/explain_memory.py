"""Memory by part with the numbers that go into each, so that a person can check one by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, catalog_row, estimate_one
from recommender.engine.words import count, size
from recommender.estimate.memory import kv_bytes_per_element
from recommender.types import Device, Memory, Pick

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog


@dataclass(frozen=True)
class MemoryPart:
    """One part: its bytes and the sentence that gives its formula with the numbers filled in."""

    name: str
    value_bytes: float
    how: str


def explain_memory(request: EstimateRequest, catalog: Catalog) -> tuple[EstimateAnswer, tuple[MemoryPart, ...]]:
    """The estimate for a request, and where each part of its memory comes from.

    Raises:
        RecommenderError: the name is unknown or a setting makes no sense.
    """
    answer = estimate_one(request, catalog)
    memory = answer.estimate.memory
    return answer, _parts(request, catalog, memory) if memory else ()


def explain_pick(pick: Pick, device: Device, catalog: Catalog) -> tuple[MemoryPart, ...]:
    """Where each part of a pick's memory comes from; empty where it takes none."""
    settings, memory = pick.settings, pick.estimate.memory
    if settings is None or memory is None:
        return ()
    request = EstimateRequest(
        pick.model_id,
        pick.quantization or "",
        device,
        runtime=pick.runtime,
        context_tokens=settings.context_tokens,
        kv_type=settings.kv_type,
        batch_tokens=settings.batch_tokens,
        ubatch_tokens=settings.ubatch_tokens,
        parallel=settings.parallel,
        flash_attn=settings.flash_attn,
    )
    return _parts(request, catalog, memory)


def _parts(request: EstimateRequest, catalog: Catalog, memory: Memory) -> tuple[MemoryPart, ...]:
    row = catalog_row(request, catalog)
    kept = memory.total_bytes - memory.reclaimable_bytes
    return (
        MemoryPart("weights", memory.weights_bytes, _weights(row, memory)),
        MemoryPart("KV cache", memory.kv_cache_bytes, _cache(row, request)),
        MemoryPart("compute", memory.compute_bytes, _compute(row, request)),
        MemoryPart("overhead", memory.overhead_bytes, "the runtime's own process, measured without a model"),
        MemoryPart("total", memory.total_bytes, "the sum of the parts above"),
        MemoryPart("must stay", kept, "total less the mapped pages that were repacked elsewhere: what has to fit"),
    )


def _weights(row: Mapping[str, Any], memory: Memory) -> str:
    exact = "the sum of the tensors' blocks" if row["exact"] else "rough, from parameters × bits"
    text = f"{count(row['tensor_bytes'])} bytes of tensors ({exact})"
    if memory.reclaimable_bytes:
        text += f" + {count(memory.reclaimable_bytes)} repacked for this processor"
    extra = memory.weights_bytes - row["tensor_bytes"] - memory.reclaimable_bytes
    return text + (f" + {count(extra)} for a second copy of the output head" if extra > 1 else "")


def _cache(row: Mapping[str, Any], request: EstimateRequest) -> str:
    if row["k_full_elements_per_token"] is None:
        return "rough: the architecture's numbers are not complete, so it follows from the model's size"
    per_element = kv_bytes_per_element(request.kv_type)
    parts = []
    full = row["k_full_elements_per_token"] + row["v_full_elements_per_token"]
    if full:
        parts.append(
            f"{count(row['k_full_elements_per_token'])} K + {count(row['v_full_elements_per_token'])} V elements per "
            f"token × {count(request.context_tokens)} tokens, rounded up to 256"
        )
    windowed = row["k_window_elements_per_token"] + row["v_window_elements_per_token"]
    if windowed:
        parts.append(
            f"{count(windowed)} elements per token × a window of {count(row['window_tokens'])} tokens + "
            f"{count(request.ubatch_tokens)} of the step, rounded up to 256"
        )
    text = f"({' + '.join(parts) or 'no attention layer'}) × {per_element:g} bytes ({request.kv_type})"
    if row["state_bytes"]:
        text += f" + {count(row['state_bytes'])} bytes of recurrent state"
    return text + f", × {request.parallel} sequences"


def _compute(row: Mapping[str, Any], request: EstimateRequest) -> str:
    sizes = [("n_embd", "n_embd"), ("n_ff", "n_ff"), ("n_vocab", "n_vocab"), ("n_head", "n_head")]
    known = ", ".join(f"{name} {count(row[key])}" for name, key in sizes if row[key] is not None)
    return (
        f"the largest step of {request.runtime}: {count(min(request.ubatch_tokens, request.context_tokens))} tokens at "
        f"{known or 'rough shapes'}, flash attention {'on' if request.flash_attn else 'off'}, and the logits"
    )


def explanation_text(answer: EstimateAnswer, parts: tuple[MemoryPart, ...]) -> str:
    """The parts as lines: name, size, formula."""
    head = f"{answer.model_id} {answer.quantization} with {answer.runtime}"
    return "\n".join([head, *(f"  {part.name:10s} {size(part.value_bytes):>9s}  {part.how}" for part in parts)])
