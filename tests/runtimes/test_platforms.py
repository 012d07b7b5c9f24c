from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.runtimes import all_runtimes, runtime
from recommender.types import Device, Gpu

Make = Callable[..., Device]
MakeGpu = Callable[..., Gpu]


def running(device: Device) -> set[str]:
    return {each.id for each in all_runtimes() if not each.device_reason(device)}


def test_a_phone_gets_llama_cpp_litert_lm_and_the_browser(make_device: Make) -> None:
    ids = running(make_device("android", "arm64", "phone"))
    assert {"llama.cpp", "litert-lm", "wllama"} <= ids
    assert not {"ollama", "vllm", "mlx", "lm-studio", "docker-model-runner", "foundry-local"} & ids


def test_an_iphone_runs_llama_cpp_on_its_gpu(make_device: Make, make_gpu: MakeGpu) -> None:
    phone = make_device("ios", "arm64", "phone", gpus=(make_gpu("apple", "metal"),))
    assert runtime("llama.cpp").accelerator_for(phone) == "metal"


def test_mlx_is_for_apple_silicon_and_says_so_elsewhere(make_device: Make, make_gpu: MakeGpu) -> None:
    mac = make_device("macos", "arm64", "laptop", gpus=(make_gpu("apple", "metal"),))
    assert runtime("mlx").accelerator_for(mac) == "metal"
    intel_mac = make_device("macos", "x86-64", "laptop")
    assert "arm64" in runtime("mlx").device_reason(intel_mac)
    assert "macOS, not on Windows" in runtime("mlx").device_reason(make_device("windows"))


def test_an_experimental_port_counts_only_when_asked_for(make_device: Make) -> None:
    linux = make_device("linux")
    assert "experimental" in runtime("mlx").device_reason(linux)
    assert runtime("mlx").device_reason(linux, experimental=True) == ""
    assert runtime("mlx").accelerator_for(linux) == ""
    assert runtime("mlx").accelerator_for(linux, experimental=True) == "cpu"


def test_vllm_does_not_run_on_windows(make_device: Make, make_gpu: MakeGpu) -> None:
    windows = make_device("windows", gpus=(make_gpu("nvidia", "cuda", "8.9"),))
    assert runtime("vllm").device_reason(windows) == "vLLM runs on Linux, not on Windows"


def test_vllm_does_not_use_a_gpu_older_than_it_supports(make_device: Make, make_gpu: MakeGpu) -> None:
    volta = make_device(gpus=(make_gpu("nvidia", "cuda", "7.0", "Tesla V100"),))
    turing = make_device(gpus=(make_gpu("nvidia", "cuda", "7.5", "Tesla T4"),))
    assert "cuda" not in runtime("vllm").accelerators_for(volta)
    assert runtime("vllm").accelerator_for(turing) == "cuda"


@pytest.mark.parametrize("runtime_id", ["vllm", "transformers"])
def test_awq_is_refused_on_compute_capability_7_0_with_both_numbers(
    runtime_id: str, make_device: Make, make_gpu: MakeGpu
) -> None:
    volta = make_device(gpus=(make_gpu("nvidia", "cuda", "7.0", "Tesla V100"),))
    reason = runtime(runtime_id).quantization_reason("safetensors", "awq-int4", volta)
    assert "7.5" in reason
    assert "Tesla V100 has 7.0" in reason
    turing = make_device(gpus=(make_gpu("nvidia", "cuda", "7.5", "Tesla T4"),))
    assert runtime(runtime_id).quantization_reason("safetensors", "awq-int4", turing) == ""


def test_awq_is_refused_on_an_amd_gpu_machine_for_transformers(make_device: Make, make_gpu: MakeGpu) -> None:
    radeon = make_device(gpus=(make_gpu("amd", "rocm"),))
    assert "lacks" in runtime("transformers").quantization_reason("safetensors", "awq-int4", radeon)


def test_compute_capability_is_compared_as_a_version_not_as_text(make_device: Make, make_gpu: MakeGpu) -> None:
    blackwell = make_device(gpus=(make_gpu("nvidia", "cuda", "12.0"),))
    assert runtime("vllm").accelerator_for(blackwell) == "cuda"


def test_an_unknown_compute_capability_or_processor_counts_against_nothing(
    make_device: Make, make_gpu: MakeGpu
) -> None:
    device = make_device(gpus=(make_gpu("nvidia", "cuda", ""),))
    assert runtime("vllm").accelerator_for(device) == "cuda"
    assert runtime("bitnet.cpp").device_reason(make_device()) == ""


def test_a_processor_known_to_lack_an_instruction_set_is_told_which(make_device: Make) -> None:
    old = make_device(isa=("sse4_2", "avx"))
    assert "avx2" in runtime("lm-studio").device_reason(old)
    assert runtime("lm-studio").device_reason(make_device(isa=("avx", "avx2"))) == ""


def test_neon_need_not_be_listed_on_arm64(make_device: Make) -> None:
    assert runtime("bitnet.cpp").device_reason(make_device(arch="arm64", isa=("dotprod",))) == ""


@pytest.mark.parametrize(
    ("os", "arch", "npu", "expected"),
    [
        ("windows", "arm64", "Hexagon NPU", {"onnx-genai", "foundry-local"}),
        ("windows", "x86-64", "Intel AI Boost", {"onnx-genai", "foundry-local"}),
        ("windows", "x86-64", "AMD XDNA 2", {"onnx-genai", "foundry-local", "lemonade"}),
        ("linux", "x86-64", "Intel AI Boost", {"onnx-genai"}),
        ("windows", "x86-64", "AMD XDNA", set()),
        ("macos", "arm64", "Apple Neural Engine", set()),
        ("linux", "x86-64", "", set()),
    ],
)
def test_an_npu_is_used_only_by_runtimes_made_for_its_maker(
    os: str, arch: str, npu: str, expected: set[str], make_device: Make
) -> None:
    device = make_device(os, arch, "laptop", npu_name=npu, npu_tops=45.0 if npu else None)
    assert {each.id for each in all_runtimes() if "npu" in each.accelerators_for(device)} == expected


def test_an_npu_without_a_name_is_known_by_its_processor(make_device: Make) -> None:
    strix = make_device("windows", npu_tops=50.0, cpu_model="AMD Ryzen AI 9 HX 370")
    phoenix = make_device("windows", npu_tops=10.0, cpu_model="AMD Ryzen 7 7840U")
    assert runtime("lemonade").accelerator_for(strix) == "npu"
    assert runtime("lemonade").accelerator_for(phoenix) == "cpu"


def test_vllm_without_a_gpu_is_for_servers_and_says_what_a_laptop_lacks(make_device: Make) -> None:
    assert runtime("vllm").accelerator_for(make_device(kind="server")) == "cpu"
    reason = runtime("vllm").device_reason(make_device(kind="laptop"))
    assert reason == "vLLM on Linux needs an NVIDIA GPU (CUDA) or an AMD GPU (ROCm), which this device lacks"


def test_an_old_gpu_is_told_both_numbers(make_device: Make, make_gpu: MakeGpu) -> None:
    jetson = make_device("linux", "arm64", "sbc", gpus=(make_gpu("nvidia", "cuda", "7.2", "Volta"),))
    assert runtime("vllm").device_reason(jetson) == "vLLM needs compute capability 7.5 or newer, and Volta has 7.2"


def test_a_radeon_is_driven_by_rocm_before_vulkan_and_by_vulkan_where_rocm_is_missing(
    make_device: Make, make_gpu: MakeGpu
) -> None:
    with_rocm = make_device(gpus=(make_gpu("amd", "rocm"),))
    without = make_device(gpus=(make_gpu("amd", "vulkan"),))
    assert runtime("llama.cpp").accelerators_for(with_rocm) == ("rocm", "vulkan", "cpu")
    assert runtime("llama.cpp").accelerators_for(without) == ("vulkan", "cpu")


@pytest.mark.parametrize(
    ("name", "runs_on"),
    [
        ("Radeon RX 580", {"llama.cpp": "vulkan", "ollama": "vulkan", "vllm": "cpu"}),
        ("Radeon RX 6700 XT", {"llama.cpp": "rocm", "ollama": "vulkan", "vllm": "cpu"}),
        ("Radeon RX 7900 XTX", {"llama.cpp": "rocm", "ollama": "rocm", "vllm": "rocm"}),
        ("AMD Instinct MI300X", {"llama.cpp": "rocm", "ollama": "rocm", "vllm": "rocm"}),
        ("AMD Radeon Graphics", {"llama.cpp": "rocm", "ollama": "rocm", "vllm": "rocm"}),
    ],
)
def test_an_amd_gpu_that_a_runtimes_rocm_lacks_is_left_to_vulkan_or_the_cpu(
    name: str, runs_on: dict[str, str], make_device: Make, make_gpu: MakeGpu
) -> None:
    device = make_device("linux", gpus=(make_gpu("amd", "rocm", name=name),))
    assert {id: runtime(id).accelerator_for(device) for id in runs_on} == runs_on


def test_a_gpu_that_no_row_supports_is_named_in_the_reason(make_device: Make, make_gpu: MakeGpu) -> None:
    laptop = make_device("linux", kind="laptop", gpus=(make_gpu("amd", "rocm", name="Radeon RX 580"),))
    reason = runtime("vllm").device_reason(laptop)
    assert reason == "vLLM needs a GPU that it supports with ROCM, and Radeon RX 580 is none"


def test_a_format_for_a_gpu_that_is_too_old_says_both_numbers(make_device: Make, make_gpu: MakeGpu) -> None:
    volta = make_device(gpus=(make_gpu("nvidia", "cuda", "7.0", "Tesla V100"),))
    reason = runtime("vllm").quantization_reason("safetensors", "fp8", volta)
    assert reason == "vLLM needs compute capability 7.5 or newer, and Tesla V100 has 7.0, for fp8"


def test_a_managed_service_needs_nothing_of_the_device(make_device: Make) -> None:
    for device in (make_device(), make_device("ios", "arm64", "phone"), make_device("linux", "riscv64", "sbc")):
        assert runtime("azure-ai-foundry").accelerator_for(device) == "managed"


def test_webllm_needs_a_gpu_on_a_desktop_and_finds_one_on_any_phone(make_device: Make, make_gpu: MakeGpu) -> None:
    assert "WebGPU" in runtime("webllm").device_reason(make_device())
    assert runtime("webllm").device_reason(make_device("android", "arm64", "phone")) == ""
    assert runtime("webllm").device_reason(make_device(gpus=(make_gpu("intel", "vulkan"),))) == ""


def test_quantizations_nobody_listed_are_not_taken() -> None:
    assert "gguf" in runtime("ollama").quantization_reason("safetensors", "bf16")
    assert "not known" in runtime("llama.cpp").quantization_reason("gguf", "Q9_Z")
    assert runtime("llama.cpp").quantization_reason("gguf", "TQ1_0") == ""
    assert "I2_S" in runtime("ollama").quantization_reason("gguf", "I2_S")


def test_architectures_nobody_listed_are_not_loaded() -> None:
    assert runtime("llama.cpp").architecture_reason("qwen3") == ""
    assert "not known" in runtime("llama.cpp").architecture_reason("hal9000")
    assert "removed" in runtime("vllm").architecture_reason("mllama")
    assert "this model" in runtime("vllm").architecture_reason("")


GPUS = st.builds(
    Gpu,
    name=st.just("card"),
    vendor=st.sampled_from(["nvidia", "amd", "intel", "apple", "qualcomm", "arm", ""]),
    backend=st.sampled_from(["cuda", "rocm", "metal", "vulkan", ""]),
    memory_bytes=st.none(),
    memory_free_bytes=st.none(),
    compute_capability=st.sampled_from(["", "5.0", "7.0", "7.5", "8.9", "10.0", "unknown"]),
)
DEVICES = st.builds(
    Device,
    id=st.just("any"),
    name=st.just("any"),
    kind=st.sampled_from(["phone", "tablet", "laptop", "desktop", "server", "sbc"]),
    os=st.sampled_from(["linux", "windows", "macos", "android", "ios", "haiku"]),
    arch=st.sampled_from(["x86-64", "arm64", "riscv64"]),
    cpu_model=st.sampled_from(["", "AMD Ryzen AI 9", "Snapdragon X Elite", "Intel Core Ultra 7"]),
    isa=st.sampled_from([(), ("avx",), ("avx2",), ("neon",)]),
    gpus=st.lists(GPUS, max_size=2).map(tuple),
    npu_tops=st.sampled_from([None, 45.0]),
)


@given(DEVICES, st.booleans())
def test_a_runtime_has_either_an_accelerator_or_a_reason_on_every_device(device: Device, experimental: bool) -> None:
    for each in all_runtimes():
        reason = each.device_reason(device, experimental)
        found = each.accelerators_for(device, experimental)
        assert bool(reason) != bool(found)
        assert each.accelerator_for(device, experimental) == (found[0] if found else "")
        if reason:
            assert each.name in reason
            assert not reason.endswith(".")


@given(DEVICES)
def test_asking_for_experimental_ports_never_takes_a_runtime_away(device: Device) -> None:
    for each in all_runtimes():
        assert set(each.accelerators_for(device)) <= set(each.accelerators_for(device, experimental=True))


@given(DEVICES)
def test_an_accelerator_is_one_the_device_has(device: Device) -> None:
    backends = {gpu.backend for gpu in device.gpus} | {gpu.vendor for gpu in device.gpus}
    for each in all_runtimes():
        for accelerator in each.accelerators_for(device, experimental=True):
            if accelerator in ("rocm", "metal"):
                assert accelerator in backends
            if accelerator == "cuda":
                assert {"cuda", "nvidia"} & backends
            if accelerator == "npu":
                assert device.npu_tops
