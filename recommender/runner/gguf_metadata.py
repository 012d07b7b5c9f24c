"""The metadata a GGUF file needs so that llama.cpp takes it for a given architecture, with a minimal tokenizer.

Key names as in ``src/llama-arch.cpp`` of ggml-org/llama.cpp; which of them an architecture insists on is in
``src/models/*.cpp``.
"""

from __future__ import annotations

from recommender.estimate.architecture import Architecture
from recommender.estimate.quantize import gguf_file_type
from recommender.runner.gguf_write import Value

__all__ = ["metadata"]

EPSILON = 1e-5
SOFTMAX_GATING, SIGMOID_GATING = 1, 2
BYTE_TOKENS = 256
CONTROL, NORMAL, BYTE, UNKNOWN = 3, 1, 6, 2  # llama.cpp's token types


def metadata(arch: Architecture, quantization: str, name: str) -> dict[str, Value]:
    """All keys of a weightless file: the architecture's numbers and a tokenizer of ``n_vocab`` tokens."""
    found: dict[str, Value] = {
        "general.architecture": arch.id,
        "general.name": name,
        "general.file_type": gguf_file_type(quantization),
        "general.quantization_version": 2,
    }
    numbers: dict[str, Value] = {
        "context_length": arch.context_train,
        "embedding_length": arch.n_embd,
        "block_count": arch.n_layer + arch.draft_layers,
        "vocab_size": arch.n_vocab,
        "feed_forward_length": _same(arch.n_ff) if any(arch.n_ff) else arch.n_ff_expert,
        "attention.head_count": _same(arch.n_head),
        "attention.head_count_kv": 1 if arch.features.mixer == "mla" else _same(_kv_heads(arch)),
        "attention.layer_norm_rms_epsilon": EPSILON,
        "attention.layer_norm_epsilon": EPSILON,
        "rope.freq_base": 10000.0,
        "rope.dimension_count": arch.rope_dim,
        "logit_scale": 1.0,
    }
    if arch.draft_layers:
        numbers["nextn_predict_layers"] = arch.draft_layers
    for part in (_attention, _experts, _recurrent, _embeddings):
        numbers |= part(arch)
    found |= {f"{arch.id}.{key}": value for key, value in numbers.items()}
    if arch.id == "apertus":  # the activation's constants
        found |= {f"xielu.{key}": [0.5] * arch.n_layer for key in ("alpha_n", "alpha_p", "beta", "eps")}
    return found | _tokenizer(arch.n_vocab)


def _attention(arch: Architecture) -> dict[str, Value]:
    full = next((i for i in arch.kv_layers if not arch.windowed[i]), 0)
    found: dict[str, Value] = {
        "attention.key_length": arch.head_dim[full],
        "attention.value_length": arch.value_dim[full],
    }
    if arch.features.mixer == "mla":
        found = {
            "attention.key_length": arch.kv_lora_rank + arch.rope_dim,
            "attention.value_length": arch.kv_lora_rank,
            "attention.key_length_mla": arch.head_dim[0],
            "attention.value_length_mla": arch.value_dim[0],
        }
    if arch.kv_lora_rank:
        found["attention.kv_lora_rank"] = arch.kv_lora_rank
        found |= {"attention.q_lora_rank": arch.q_lora_rank} if arch.q_lora_rank else {}
    if any(arch.windowed):
        window = arch.windowed.index(True)
        found["attention.sliding_window"] = arch.window_tokens
        found["attention.sliding_window_pattern"] = list(arch.windowed)
        found["attention.key_length_swa"] = arch.head_dim[window]
        found["attention.value_length_swa"] = arch.value_dim[window]
        found["rope.dimension_count_swa"] = min(arch.rope_dim, arch.head_dim[window])
    if "per_layer_embedding" in arch.features.extras:
        found["attention.shared_kv_layers"] = arch.kv_shared_layers
    if arch.features.recurrent == "gated_delta" or "vl" in arch.id:
        quarter = arch.rope_dim // 2
        found["rope.dimension_sections"] = [quarter - 2 * (quarter // 3), quarter // 3, quarter // 3, 0]
    return found


def _experts(arch: Architecture) -> dict[str, Value]:
    if not arch.n_expert:
        return {}
    sigmoid = arch.features.router_bias == "selection"
    found: dict[str, Value] = {
        "expert_count": arch.n_expert,
        "expert_used_count": arch.n_expert_used,
        "expert_feed_forward_length": arch.n_ff_expert,
        "expert_gating_func": SIGMOID_GATING if sigmoid else SOFTMAX_GATING,
        "expert_weights_scale": 1.0,
        "leading_dense_block_count": arch.n_dense_layers,
        "interleave_moe_layer_step": 1,
    }
    if arch.n_ff_shared:
        found["expert_shared_feed_forward_length"] = arch.n_ff_shared
        found["expert_shared_count"] = max(arch.n_ff_shared // arch.n_ff_expert, 1)
    if arch.features.architecture == "bailingmoe2":  # its shared width is given per shared expert
        found["expert_shared_feed_forward_length"] = arch.n_ff_expert
    if not any(arch.n_ff):
        found["feed_forward_length"] = arch.n_ff_expert
    return found


def _recurrent(arch: Architecture) -> dict[str, Value]:
    if arch.conv_cache:
        return {"shortconv.l_cache": arch.conv_cache}
    if not arch.ssm_conv:
        return {}
    found: dict[str, Value] = {
        "ssm.conv_kernel": arch.ssm_conv,
        "ssm.inner_size": arch.ssm_inner,
        "ssm.state_size": arch.ssm_state,
        "ssm.time_step_rank": arch.ssm_heads,
        "ssm.group_count": arch.ssm_groups,
    }
    if arch.features.recurrent == "gated_delta":
        found["attention.recurrent_layers"] = [*arch.recurrent, *[False] * arch.draft_layers]
    return found


def _embeddings(arch: Architecture) -> dict[str, Value]:
    if "per_layer_embedding" not in arch.features.extras:
        return {}
    return {"embedding_length_per_layer_input": arch.n_embd_per_layer}


def _kv_heads(arch: Architecture) -> tuple[int, ...]:
    return arch.n_head_kv


def _same(values: tuple[int, ...]) -> Value:
    """One number when all layers agree, else the list."""
    return values[0] if len(set(values)) == 1 else list(values)


def _tokenizer(n_vocab: int) -> dict[str, Value]:
    """A vocabulary of the right size that can spell every byte: control tokens, bytes, then invented words."""
    control = ["<unk>", "<s>", "</s>"]
    tokens = control + [f"<0x{byte:02X}>" for byte in range(BYTE_TOKENS)]
    tokens = (tokens + [f"▁{i:x}" for i in range(len(tokens), n_vocab)])[:n_vocab]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * BYTE_TOKENS, *[NORMAL] * n_vocab][:n_vocab]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.scores": [0.0] * n_vocab,
        "tokenizer.ggml.token_type": list(kinds),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
