"""A GGUF file as a row to estimate, whether or not the catalog knows its model: its header lists every tensor."""

from __future__ import annotations

from recommender.runner.gguf_header import GgufHeader

# Keys after which a layer does not cache every position of every head in full; then the cache is only known roughly.
_OTHER_CACHES = ("attention.sliding_window", "attention.kv_lora_rank", "ssm.state_size", "shortconv.l_cache")
_WHOLE_NUMBERS = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")


def file_row(header: GgufHeader, model_id: str) -> dict[str, object]:
    """The columns of ``VariantColumns`` for one file run by llama.cpp; ``None`` where the header does not say.

    Weights are exact. The cache is exact for full attention with the same heads in every layer; any other kind, and a
    split file, is left unknown, to be filled roughly from the number of parameters.
    """
    whole = header.split_count <= 1
    embedding = _bytes(header, "token_embd.weight")
    output = _bytes(header, "output.weight") or embedding
    experts, used = _number(header, "expert_count"), _number(header, "expert_used_count")
    inactive = 1.0 - used / experts if experts and used else 0.0
    routed = [tensor for tensor in header.tensors if "_exps." in tensor.name]
    routed_bytes = sum(tensor.size_bytes or 0 for tensor in routed)
    routed_params = sum(_elements(tensor.shape) for tensor in routed)
    inside = header.tensor_bytes - embedding - _bytes(header, "output.weight")
    known = _shape(header) if whole else None
    shape = known or dict.fromkeys(_SHAPE)
    return {
        "model_id": model_id,
        "quantization": header.quantization,
        "runtime": "llama.cpp",
        "format": "gguf",
        "architecture": header.architecture,
        "file_bytes": float(header.file_bytes),
        "tensor_bytes": float(header.tensor_bytes),
        "input_embedding_bytes": float(embedding),
        "output_bytes": float(output),
        "read_bytes_per_token": inside + output - routed_bytes * inactive,
        "params_total": float(header.params),
        "params_active": header.params - routed_params * inactive,
        "repack_x86_bytes": 0.0,
        "repack_arm_bytes": 0.0,
        "exact": known is not None,
        **shape,
    }


_SHAPE = (
    "n_layer",
    "n_embd",
    "n_vocab",
    "n_head",
    "n_ff",
    "k_full_elements_per_token",
    "v_full_elements_per_token",
    "v_full_even_elements_per_token",
    "k_window_elements_per_token",
    "v_window_elements_per_token",
    "v_window_even_elements_per_token",
    "window_tokens",
    "state_bytes",
)


def _shape(header: GgufHeader) -> dict[str, float | None] | None:
    if any(_number(header, key) for key in _OTHER_CACHES):
        return None
    layers, embedding, feed_forward, heads = (_number(header, key) for key in _WHOLE_NUMBERS)
    if not (layers and embedding and heads and header.n_vocab):
        return None
    kv_heads = _number(header, "attention.head_count_kv") or heads
    key = _number(header, "attention.key_length") or embedding / heads
    value = _number(header, "attention.value_length") or embedding / heads
    return {
        "n_layer": layers,
        "n_embd": embedding,
        "n_vocab": float(header.n_vocab),
        "n_head": heads,
        "n_ff": feed_forward or _number(header, "expert_feed_forward_length") or 4 * embedding,
        "k_full_elements_per_token": layers * kv_heads * key,
        "v_full_elements_per_token": layers * kv_heads * value,
        "v_full_even_elements_per_token": layers * kv_heads * value,
        "k_window_elements_per_token": 0.0,
        "v_window_elements_per_token": 0.0,
        "v_window_even_elements_per_token": 0.0,
        "window_tokens": 0.0,
        "state_bytes": 0.0,
    }


def _number(header: GgufHeader, key: str) -> float:
    """A number of the architecture; 0 when it is not there or differs from layer to layer."""
    value = header.metadata.get(f"{header.architecture}.{key}")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0.0


def _bytes(header: GgufHeader, name: str) -> int:
    return next((tensor.size_bytes or 0 for tensor in header.tensors if tensor.name == name), 0)


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for width in shape:
        count *= width
    return count
