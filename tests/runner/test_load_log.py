from __future__ import annotations

import pytest

from recommender.runner import load_log
from recommender.types import MIB

SPLIT_AND_REPACKED = """\
0.00.006.388 I load_tensors: loading model tensors, this can take a while... (load_mode = mmap)
0.00.006.500 I load_tensors:   CPU_Mapped model buffer size =   100.50 MiB
0.00.006.501 I load_tensors:   CPU_Mapped model buffer size =    20.00 MiB
0.00.006.502 I load_tensors:   CPU_REPACK model buffer size =    60.00 MiB
0.00.006.816 I llama_context:        CPU  output buffer size =     0.58 MiB
0.00.006.886 I llama_kv_cache:        CPU KV buffer size =     4.00 MiB
0.00.006.887 I llama_kv_cache:        CPU KV buffer size =     2.25 MiB
0.00.006.888 I llama_memory_recurrent:        CPU RS buffer size =     1.00 MiB
0.00.007.000 I llama_kv_cache: size =    4.00 MiB (  1024 cells,   2 layers,  1/1 seqs), K (f16):    2.00 MiB
0.00.007.811 I sched_reserve:        CPU compute buffer size =    50.00 MiB
0.00.007.812 I sched_reserve:        CPU compute buffer size =    42.14 MiB
"""
GPU = """\
load_tensors:          CPU model buffer size =   281.81 MiB
load_tensors:        CUDA0 model buffer size =  4403.49 MiB
llama_kv_cache:      CUDA0 KV buffer size =  1024.00 MiB
llama_context:  CUDA_Host  output buffer size =     0.49 MiB
sched_reserve:      CUDA0 compute buffer size =   560.00 MiB
sched_reserve:  CUDA_Host compute buffer size =    24.01 MiB
"""


def test_parts_are_summed_and_a_buffer_reserved_again_counts_once() -> None:
    memory = load_log.memory_from_log(SPLIT_AND_REPACKED, overhead_bytes=10 * MIB, tensor_bytes=120.5 * MIB)
    assert memory.weights_bytes == pytest.approx(180.5 * MIB)
    assert memory.kv_cache_bytes == pytest.approx(7.25 * MIB)
    assert memory.compute_bytes == pytest.approx(42.72 * MIB)
    assert memory.reclaimable_bytes == pytest.approx(60 * MIB)
    assert memory.gpu_bytes == 0
    assert memory.total_bytes == pytest.approx((180.5 + 7.25 + 42.72 + 10) * MIB)


def test_buffers_of_a_graphics_card_are_told_apart_from_its_buffers_in_main_memory() -> None:
    memory = load_log.memory_from_log(GPU, overhead_bytes=0)
    assert memory.gpu_bytes == pytest.approx((4403.49 + 1024 + 560) * MIB)
    assert memory.total_bytes == pytest.approx((281.81 + 4403.49 + 1024 + 0.49 + 560 + 24.01) * MIB)


def test_a_text_out_of_the_file_does_not_pass_for_a_buffer() -> None:
    log = "llama_model_loader: - kv   0: general.name str = load_tensors: CPU model buffer size = 9999.00 MiB\n" + GPU
    assert load_log.memory_from_log(log, 0) == load_log.memory_from_log(GPU, 0)


def test_running_out_of_memory_is_told_with_its_size() -> None:
    log = "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 5368709120\n"
    sentence = load_log.load_failure(log, "m.gguf", 2 * 1024 * MIB)
    assert sentence.startswith("Memory ran out while m.gguf was loading for a buffer of 5.0 GiB (2.0 GiB were free")


def test_the_cause_is_told_and_not_the_last_line() -> None:
    log = (
        "0.00.01 E llama_model_load: error loading model: invalid n_rot: 7, expected 16\n"
        "0.00.02 E srv          init: exiting due to model loading error\n"
    )
    assert load_log.complaint(log) == "invalid n_rot: 7, expected 16"


def test_a_complaint_is_short_safe_and_without_source_paths() -> None:
    log = "/home/someone/src/llama-model.cpp:1389: GGML_ASSERT(\x1b[31mhparams.n_expert <= 1) failed" + "x" * 5000
    said = load_log.complaint(log)
    assert said.startswith("GGML_ASSERT(")
    assert len(said) <= 200
    assert said.isprintable()
    assert load_log.complaint("all went well\n") == ""
