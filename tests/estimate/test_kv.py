from __future__ import annotations

import pytest

from recommender.estimate.architecture import architecture_from_row
from recommender.estimate.kv import kv_shape, state_elements
from tests.estimate.shapes import HYBRID, WINDOWED, catalog_architecture, dense


def test_grouped_query_attention_keeps_one_row_per_key_head_and_layer() -> None:
    shape = kv_shape(dense())
    assert shape.k_full_elements_per_token == shape.v_full_elements_per_token == 8 * 2 * 64
    assert (shape.k_window_elements_per_token, shape.window_tokens, shape.state_bytes) == (0, 0, 0)


def test_windowed_layers_are_counted_apart() -> None:
    shape = kv_shape(architecture_from_row(WINDOWED))
    assert shape.k_window_elements_per_token == 7 * 2 * 64
    assert shape.k_full_elements_per_token == 1 * 2 * 64
    assert shape.window_tokens == 512


def test_recurrent_layers_keep_a_state_and_no_rows() -> None:
    arch = architecture_from_row(HYBRID)
    shape = kv_shape(arch)
    assert shape.k_full_elements_per_token == 2 * 2 * 64
    assert state_elements(arch) == 3 * (1024 + 2 * 64) + 64 * 1024
    assert shape.state_bytes == 4 * 6 * state_elements(arch)


@pytest.mark.parametrize(
    ("model_id", "bytes_per_token"),
    [
        # Two bytes per element, as in an f16 cache.
        ("Qwen/Qwen3-0.6B", 28 * 8 * 128 * 2 * 2),
        ("deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct", 27 * (512 + 64) * 2),  # latent rows, no values
        ("zai-org/GLM-4.7-Flash", 47 * 576 * 2),
        ("google/gemma-3n-E2B-it", 4 * 2 * 256 * 2 * 2),  # of 30 layers 20 have a cache, every fifth sees everything
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 6 * 2 * 128 * 2 * 2),  # of 52 layers 6 are attention
        ("Qwen/Qwen3.5-0.8B", 6 * 2 * 256 * 2 * 2),
        ("LiquidAI/LFM2-1.2B", 6 * 8 * 64 * 2 * 2),
    ],
)
def test_bytes_per_token_of_known_models(model_id: str, bytes_per_token: int) -> None:
    shape = kv_shape(catalog_architecture(model_id))
    assert 2 * (shape.k_full_elements_per_token + shape.v_full_elements_per_token) == bytes_per_token
