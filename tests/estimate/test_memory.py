from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import BadInputError
from recommender.estimate.memory import kv_bytes_per_element, memory
from recommender.estimate.tensors import kv_shape, layout, live_width, parameters
from recommender.types import GIB, MIB, Device, Gpu, MemoryColumns, SettingsColumns, VariantColumns
from tests.estimate.shapes import catalog_architecture

CPU = Device("cpu", "CPU", "desktop", "linux", "x86-64")
NVIDIA = replace(CPU, gpus=(Gpu("GPU", "nvidia", "cuda", 24.0 * GIB, 24.0 * GIB),))
APPLE = replace(CPU, arch="arm64", unified_memory=True, gpus=(Gpu("M4", "apple", "metal", None, None, unified=True),))
MODELS = (
    "Qwen/Qwen3-0.6B",
    "google/gemma-3-1b-it",
    "LiquidAI/LFM2-1.2B",
    "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct",
)


def columns(model_ids: tuple[str, ...], quantization: str = "Q4_0", runtime: str = "llama.cpp") -> VariantColumns:
    architectures = [catalog_architecture(model_id) for model_id in model_ids]
    layouts = [layout(arch, quantization) for arch in architectures]
    shapes = [kv_shape(arch) for arch in architectures]

    def numbers(values: list[float]) -> np.ndarray:
        return np.array(values, dtype=np.float64)

    def texts(values: list[str]) -> np.ndarray:
        return np.array(values, dtype=object)

    n = len(model_ids)
    return VariantColumns(
        model_id=texts(list(model_ids)),
        quantization=texts([quantization] * n),
        runtime=texts([runtime] * n),
        format=texts(["gguf"] * n),
        architecture=texts([arch.id for arch in architectures]),
        **{
            name: numbers([getattr(each, name) for each in layouts])
            for name in (
                "file_bytes", "tensor_bytes", "input_embedding_bytes", "output_bytes", "read_bytes_per_token",
                "repack_x86_bytes", "repack_arm_bytes",
            )
        },
        **{
            name: numbers([getattr(each, name) for each in shapes])
            for name in (
                "k_full_elements_per_token", "v_full_elements_per_token", "k_window_elements_per_token",
                "v_window_elements_per_token", "window_tokens", "state_bytes", "v_full_even_elements_per_token",
                "v_window_even_elements_per_token",
            )
        },
        params_total=numbers([parameters(arch) for arch in architectures]),
        params_active=numbers([parameters(arch) for arch in architectures]),
        n_layer=numbers([arch.n_layer for arch in architectures]),
        n_embd=numbers([arch.n_embd for arch in architectures]),
        n_vocab=numbers([arch.n_vocab for arch in architectures]),
        n_head=numbers([max(arch.n_head) for arch in architectures]),
        n_ff=numbers([live_width(arch) for arch in architectures]),
        exact=np.ones(n, dtype=np.bool_),
    )  # fmt: skip


def run(n: int, **changes: float | str | bool) -> SettingsColumns:
    values: dict[str, float | str | bool] = {
        "context_tokens": 4096, "kv_type": "f16", "batch_tokens": 2048, "ubatch_tokens": 512, "parallel": 1,
        "threads": 4, "gpu_layers": -1, "flash_attn": True,
    }  # fmt: skip
    values |= changes
    return SettingsColumns(
        **{
            name: np.full(
                n, value, dtype=object if isinstance(value, str) else bool if isinstance(value, bool) else float
            )
            for name, value in values.items()
        }
    )


def of(
    model_id: str, device: Device = CPU, budget: float = 0.0, binding: str = "xllamacpp", **changes: float | str | bool
) -> MemoryColumns:
    return memory(columns((model_id,)), run(1, **changes), device, budget, binding)


def test_the_parts_add_up() -> None:
    found = memory(columns(MODELS), run(len(MODELS)), NVIDIA, 4.0 * GIB)
    parts = found.weights_bytes + found.kv_cache_bytes + found.compute_bytes + found.overhead_bytes
    assert np.allclose(parts, found.total_bytes)
    assert np.all(found.reclaimable_bytes <= found.weights_bytes)


def test_a_cache_is_two_bytes_per_element_and_position() -> None:
    found = of("Qwen/Qwen3-0.6B")
    assert found.kv_cache_bytes[0] == 448 * MIB  # as llama.cpp logs it


def test_positions_are_rounded_up_to_256() -> None:
    assert of("Qwen/Qwen3-0.6B", context_tokens=4000).kv_cache_bytes == of("Qwen/Qwen3-0.6B").kv_cache_bytes


def test_a_windowed_model_keeps_little_at_a_long_context() -> None:
    found = of("google/gemma-3-1b-it", context_tokens=32768)
    full, window = 4 * 1 * 256, 22 * 1 * 256  # key elements per position
    assert found.kv_cache_bytes[0] == 2 * 2 * (full * 32768 + window * 1024)


def test_the_llama_class_keeps_windowed_layers_at_full_length_and_a_batch_of_logits() -> None:
    server, own = of("google/gemma-3-1b-it"), of("google/gemma-3-1b-it", binding="llama-cpp-python")
    assert own.kv_cache_bytes[0] == 4096 * 26 * 2 * 256 * 2 > 2 * server.kv_cache_bytes[0]
    assert own.compute_bytes[0] > 500 * MIB > server.compute_bytes[0]


def test_an_eight_bit_cache_takes_34_bytes_per_32_elements() -> None:
    half, eight = of("Qwen/Qwen3-0.6B"), of("Qwen/Qwen3-0.6B", kv_type="q8_0")
    assert eight.kv_cache_bytes[0] / half.kv_cache_bytes[0] == pytest.approx(34 / 64)
    with pytest.raises(BadInputError, match="q7"):
        kv_bytes_per_element("q7")


def test_each_sequence_has_its_own_cache_and_state() -> None:
    one, four = of("LiquidAI/LFM2-1.2B"), of("LiquidAI/LFM2-1.2B", parallel=4)
    assert four.kv_cache_bytes[0] == 4 * one.kv_cache_bytes[0]


def test_repacked_weights_are_held_twice_and_the_mapped_pages_can_be_taken_back() -> None:
    variants = columns(("Qwen/Qwen3-0.6B",))
    found = memory(variants, run(1), CPU, 0.0)
    assert found.reclaimable_bytes[0] == variants.repack_x86_bytes[0] > 0
    assert found.weights_bytes[0] == variants.tensor_bytes[0] + variants.repack_x86_bytes[0]


def test_without_a_gpu_no_layer_is_on_one() -> None:
    found = of("Qwen/Qwen3-0.6B")
    assert (found.gpu_layers[0], found.layers_total[0], found.gpu_bytes[0]) == (0, 29, 0)


def test_all_layers_go_to_a_gpu_that_has_room_and_all_to_a_shared_one() -> None:
    assert of("Qwen/Qwen3-0.6B", NVIDIA, 20.0 * GIB).gpu_layers[0] == 29
    shared = of("Qwen/Qwen3-0.6B", APPLE, 0.0)
    assert (shared.gpu_layers[0], shared.gpu_bytes[0]) == (29, 0)


@given(st.floats(0.1, 20.0), st.sampled_from(MODELS))
@settings(max_examples=50, deadline=None)
def test_what_is_put_on_a_gpu_fits_there(budget_gib: float, model_id: str) -> None:
    found = of(model_id, NVIDIA, budget_gib * GIB)
    assert found.gpu_bytes[0] <= budget_gib * GIB * (1 + 1e-9)
    assert 0 <= found.gpu_layers[0] <= found.layers_total[0]


@given(st.integers(256, 60_000), st.integers(1, 20_000), st.sampled_from(["xllamacpp", "llama-cpp-python"]))
@settings(max_examples=50, deadline=None)
def test_more_context_never_takes_less(context: int, more: int, binding: str) -> None:
    variants = columns(MODELS)
    short = memory(variants, run(len(MODELS), context_tokens=float(context)), CPU, 0.0, binding)
    long = memory(variants, run(len(MODELS), context_tokens=float(context + more)), CPU, 0.0, binding)
    assert np.all(long.total_bytes >= short.total_bytes)
    assert np.all(long.kv_cache_bytes >= short.kv_cache_bytes)


def test_scores_are_kept_only_without_flash_attention() -> None:
    with_it, without = of("Qwen/Qwen3-0.6B"), of("Qwen/Qwen3-0.6B", flash_attn=False)
    assert without.compute_bytes[0] - with_it.compute_bytes[0] > 100 * MIB


def test_vllm_needs_the_gpu_for_everything_and_leaves_a_tenth_free() -> None:
    found = memory(columns(("Qwen/Qwen3-0.6B",), "F16", "vllm"), run(1), NVIDIA, 20.0 * GIB)
    assert found.gpu_bytes[0] == found.total_bytes[0]
    inside = found.weights_bytes + found.kv_cache_bytes + found.compute_bytes
    assert found.overhead_bytes[0] > inside[0] / 9


def test_managed_rows_have_no_memory() -> None:
    found = memory(columns(("Qwen/Qwen3-0.6B",), runtime="azure-ai-foundry"), run(1), CPU, 0.0)
    assert np.isnan(found.total_bytes[0])


def test_an_unknown_binding_is_refused() -> None:
    with pytest.raises(BadInputError, match="not a binding"):
        of("Qwen/Qwen3-0.6B", binding="llamafile")


def test_without_flash_attention_values_are_as_wide_as_the_widest_layers() -> None:
    with_it, without = of("google/gemma-4-E2B-it"), of("google/gemma-4-E2B-it", flash_attn=False)
    # 12 windowed layers of 256 and 3 others of 512 have a cache; all values are stored 512 wide.
    assert without.kv_cache_bytes[0] - with_it.kv_cache_bytes[0] == 2 * 12 * 256 * 1024


def test_an_untied_head_is_not_counted_twice_on_a_gpu_and_a_tied_one_is() -> None:
    for model_id, tied in (("Qwen/Qwen3-8B", False), ("Qwen/Qwen3-4B", True)):
        variants = columns((model_id,), "Q8_0")
        found = memory(variants, run(1), NVIDIA, 23.0 * GIB)
        assert found.gpu_layers[0] == found.layers_total[0]
        assert found.weights_bytes[0] == variants.tensor_bytes[0] + (variants.output_bytes[0] if tied else 0)
