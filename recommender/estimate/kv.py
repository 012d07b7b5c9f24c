"""What a model keeps per token and per sequence while it writes: keys, values and recurrent state.

After ``src/llama-kv-cache*.cpp``, ``src/llama-memory-recurrent.cpp`` and ``src/llama-hparams.cpp`` of
ggml-org/llama.cpp.
"""

from __future__ import annotations

from recommender.estimate.architecture import Architecture
from recommender.types import KvShape

__all__ = ["kv_shape", "state_elements"]


def kv_shape(arch: Architecture) -> KvShape:
    """Elements of the cache per token, over full and windowed layers, and the constant state in bytes (f32).

    Layers that reuse another layer's cache and layers without attention keep nothing here. Latent attention keeps
    one row of ``kv_lora_rank + rope_dim`` and no values.
    """
    if arch.features.mixer == "mla":
        row = arch.kv_lora_rank + arch.rope_dim
        return KvShape(float(row * len(arch.kv_layers)), 0.0)
    layers = arch.kv_layers
    full = [i for i in layers if not arch.windowed[i]]
    window = [i for i in layers if arch.windowed[i]]
    widest = max((kv * width for kv, width in zip(arch.n_head_kv, arch.value_dim, strict=True)), default=0)
    return KvShape(
        k_full_elements_per_token=float(sum(arch.n_head_kv[i] * arch.head_dim[i] for i in full)),
        v_full_elements_per_token=float(sum(arch.n_head_kv[i] * arch.value_dim[i] for i in full)),
        k_window_elements_per_token=float(sum(arch.n_head_kv[i] * arch.head_dim[i] for i in window)),
        v_window_elements_per_token=float(sum(arch.n_head_kv[i] * arch.value_dim[i] for i in window)),
        window_tokens=arch.window_tokens if window else 0,
        state_bytes=4.0 * state_elements(arch) * sum(arch.recurrent),
        v_full_even_elements_per_token=float(widest * len(full)),
        v_window_even_elements_per_token=float(widest * len(window)),
    )


def state_elements(arch: Architecture) -> int:
    """Elements that one recurrent layer keeps per sequence: the convolution's past inputs and the state itself."""
    if arch.conv_cache:
        return arch.n_embd * (arch.conv_cache - 1)
    convolved = arch.ssm_inner + 2 * arch.ssm_groups * arch.ssm_state
    return max(arch.ssm_conv - 1, 0) * convolved + arch.ssm_state * arch.ssm_inner
