"""Which runtime is chosen where: devices and needs far beyond the guide's situations, and what must always hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalog.queries import find_model
from recommender.catalog.queries import runtimes as catalog_runtimes
from recommender.catalog.store import Catalog
from recommender.device import preset, presets
from recommender.engine.recipes import recipe_of
from recommender.engine.recommend import recommend
from recommender.engine.runtime_rules import GPU_ACCELERATORS
from recommender.runtimes import runtime as get_runtime
from recommender.runtimes import tables
from recommender.runtimes.platforms import npu_makers
from recommender.types import GIB, Device, Gpu, Need, Pick

LLAMA = {"llama.cpp", "ollama"}
BITNET = "microsoft/bitnet-b1.58-2B-4T"


@dataclass(frozen=True)
class Row:
    """A situation and what must hold of its first pick."""

    device: str
    need: Need = field(default_factory=Need)
    os: str | None = None
    ram_gib: float | None = None
    runtimes: frozenset[str] | set[str] = frozenset()  # one of these; empty: nothing fits
    never: frozenset[str] | set[str] = frozenset()  # in no pick at all
    on: str = ""  # what it computes on
    says: str = ""  # in the runtime's reason


ROWS = {
    # One user on NVIDIA cards, old and new.
    "V100": Row("tesla-v100-pcie-16gb", runtimes=LLAMA, never={"vllm"}, on="cuda"),
    "V100, many users: too old for vLLM": Row(
        "tesla-v100-pcie-16gb", Need(users=16), runtimes={"llama.cpp"}, never={"vllm"}, on="cuda"
    ),
    "GTX 1080": Row("gtx-1080", runtimes=LLAMA, never={"vllm"}, on="cuda"),
    "GTX 1080 on Linux, many users": Row("gtx-1080", Need(users=16), "linux", runtimes={"llama.cpp"}, never={"vllm"}),
    "T4 alone": Row("t4", runtimes=LLAMA, on="cuda"),
    "T4, 32 users": Row("t4", Need(users=32), runtimes={"vllm"}, on="cuda", says="32 users"),
    "RTX 3060": Row("rtx-3060", runtimes=LLAMA, never={"vllm"}, on="cuda"),
    "RTX 3060 on Windows, 64 users: vLLM is not there": Row(
        "rtx-3060", Need(users=64), "windows", runtimes={"llama.cpp"}, never={"vllm", "foundry-local", "webllm"}
    ),
    "RTX 3060 on Linux, 8 users": Row("rtx-3060", Need(users=8), "linux", runtimes={"vllm"}, on="cuda"),
    "RTX 3060 on Linux, 64 users": Row("rtx-3060", Need(users=64), "linux", runtimes={"vllm"}, on="cuda"),
    "RTX 4090 on Linux, one user": Row("rtx-4090", os="linux", runtimes=LLAMA, on="cuda"),
    "H100, 200 users": Row("h100-sxm-80gb", Need(users=200), runtimes={"vllm"}, on="cuda", says="of that speed"),
    "two T4, 16 users": Row("kaggle-2xt4", Need(users=16), runtimes={"vllm"}, on="cuda"),
    "more users than llama.cpp's engine takes": Row(
        "h100-sxm-80gb", Need(users=400, context_tokens=1024), runtimes={"vllm"}, never=LLAMA
    ),
    # AMD and Intel cards.
    "MI300X, 64 users": Row("mi300x", Need(users=64), runtimes={"vllm"}, on="rocm"),
    "RX 7900 XTX": Row("rx-7900-xtx", runtimes=LLAMA, never={"vllm"}, on="rocm"),
    "RX 7900 XTX on Linux, 16 users": Row("rx-7900-xtx", Need(users=16), "linux", runtimes={"vllm"}, on="rocm"),
    "RX 580: older than ROCm's GPUs": Row("rx-580", runtimes=LLAMA, on="vulkan"),
    "RX 580 on Linux, 16 users: no GPU of vLLM's": Row(
        "rx-580", Need(users=16), "linux", runtimes={"llama.cpp"}, on="vulkan"
    ),
    "Arc A770": Row("arc-a770", runtimes=LLAMA, on="vulkan"),
    # Apple.
    "M1 with 8 GB": Row("macbook-air-m1", ram_gib=8, runtimes=LLAMA | {"mlx"}, on="metal", says="by estimate"),
    "M4 Max with 128 GB": Row("macbook-pro-m4-max", ram_gib=128, runtimes=LLAMA | {"mlx"}, on="metal"),
    "Mac, speed first": Row(
        "macbook-air-m3",
        Need(task="rag", priority="speed", models=("Qwen/Qwen3-1.7B",)),
        ram_gib=16,
        runtimes={"mlx"},
        on="metal",
        says="slower by estimate",
    ),
    "iPhone 15 Pro": Row("iphone-15-pro", runtimes={"llama.cpp"}, never={"mlx", "ollama"}, on="metal"),
    "iPad Pro M4": Row("ipad-pro-m4", runtimes={"llama.cpp"}, never={"mlx", "ollama"}, on="metal"),
    "Mac, NPU asked: none of its software uses it": Row("macbook-air-m4", Need(accelerator="npu")),
    # Phones and boards.
    "Pixel 8": Row("pixel-8", runtimes={"llama.cpp", "litert-lm"}, never={"ollama", "mlx", "vllm"}),
    "Galaxy S24": Row("galaxy-s24", runtimes={"llama.cpp", "litert-lm"}, never={"ollama", "vllm"}),
    "phone, commercial and offline": Row(
        "pixel-8", Need(commercial=True, offline=True), runtimes={"llama.cpp", "litert-lm"}, never={"azure-ai-foundry"}
    ),
    "phone, LiteRT-LM asked": Row("pixel-8", Need(runtimes=("litert-lm",)), runtimes={"litert-lm"}),
    "phone, NPU asked: nothing here has a variant": Row("galaxy-s24-ultra", Need(accelerator="npu")),
    "Raspberry Pi 5": Row("raspberry-pi-5", runtimes=LLAMA, never={"vllm", "lm-studio"}, on="cpu"),
    "board with 2 GB": Row("raspberry-pi-4", ram_gib=2, runtimes=LLAMA, on="cpu"),
    "server with 2 GB": Row("vps-1c-2gb", runtimes=LLAMA, on="cpu"),
    "laptop with 4 GB": Row("thinkpad-t480", os="linux", ram_gib=4, runtimes=LLAMA),
    "Jetson AGX Orin": Row("jetson-agx-orin-64", runtimes=LLAMA, on="cuda"),
    "Jetson Xavier: compute capability 7.2": Row("jetson-agx-xavier-32", Need(users=4), runtimes=LLAMA, never={"vllm"}),
    # NPUs.
    "Snapdragon laptop, NPU not asked": Row("surface-laptop-7-x-elite", runtimes=LLAMA, on="cpu"),
    "Snapdragon laptop, NPU asked": Row(
        "surface-laptop-7-x-elite",
        Need(accelerator="npu"),
        runtimes={"foundry-local", "onnx-genai"},
        never=LLAMA,
        on="npu",
        says="a Qualcomm NPU",
    ),
    "Core Ultra, NPU asked": Row(
        "copilot-pc-lunar-lake",
        Need(accelerator="npu"),
        runtimes={"foundry-local", "onnx-genai"},
        on="npu",
        says="an Intel NPU",
    ),
    "Core Ultra, NPU asked at a context its variants were not made for": Row(
        "copilot-pc-lunar-lake",
        Need(accelerator="npu", context_tokens=16384),
        runtimes={"onnx-genai"},
        never={"foundry-local"},
        on="npu",
    ),
    "Ryzen AI, NPU asked": Row(
        "copilot-pc-ryzen-ai-350", Need(accelerator="npu"), runtimes={"lemonade"}, on="npu", says="XDNA 2"
    ),
    "Ryzen AI of the first generation, NPU asked": Row("framework-13-7840u", Need(accelerator="npu")),
    "Ryzen AI on Linux, NPU asked": Row("copilot-pc-ryzen-ai-350", Need(accelerator="npu"), "linux"),
    "own conversion for a Qualcomm NPU": Row(
        "surface-pro-11", Need(own_conversion=True, accelerator="npu"), runtimes={"onnx-genai"}, on="npu", says="recipe"
    ),
    "own conversion without an NPU": Row(
        "cpu-intel-core-i7-13700h", Need(own_conversion=True), runtimes={"onnx-genai"}, on="cpu"
    ),
    "own conversion on a Mac": Row("macbook-air-m4", Need(own_conversion=True), runtimes={"onnx-genai"}, on="cpu"),
    # Processors.
    "CPU only": Row("cpu-intel-core-i7-13700h", Need(accelerator="cpu"), runtimes=LLAMA, on="cpu"),
    "GPU there, CPU asked": Row("rtx-4090", Need(accelerator="cpu"), runtimes=LLAMA, on="cpu"),
    "CPU server, 16 users": Row("cpu-amd-epyc-9454p", Need(users=16), "linux", runtimes={"llama.cpp"}, on="cpu"),
    # 1 bit.
    "ternary weights on x86": Row(
        "cpu-intel-core-i7-13700h",
        Need(experimental=True, models=(BITNET,)),
        runtimes={"bitnet.cpp"},
        never=LLAMA,
        on="cpu",
    ),
    "ternary weights on Arm": Row(
        "raspberry-pi-5", Need(experimental=True, models=(BITNET,)), runtimes={"bitnet.cpp"}, never=LLAMA, on="cpu"
    ),
    "ternary weights, nothing experimental": Row(
        "cpu-intel-core-i7-13700h", Need(models=(BITNET,)), runtimes={"transformers"}, never={"bitnet.cpp", *LLAMA}
    ),
    # Browsers.
    "browser without a GPU": Row(
        "cpu-intel-core-i7-13700h", Need(runtimes=("wllama", "webllm")), runtimes={"wllama"}, on="cpu"
    ),
    "browser with a GPU": Row("rtx-4060", Need(runtimes=("webllm",)), runtimes={"webllm"}, on="webgpu"),
    "browser on an iPhone": Row("iphone-15-pro", Need(runtimes=("wllama", "webllm")), runtimes={"wllama"}, on="cpu"),
    # Enterprise.
    "managed with SLA": Row(
        "azure-f4s-v2",
        Need(placement="managed", enterprise=("sla", "audit")),
        runtimes={"azure-ai-foundry"},
        on="managed",
        says="SLA and audit",
    ),
    "managed, a model the service does not have": Row(
        "azure-f4s-v2", Need(placement="managed", enterprise=("sla",), models=("Qwen/Qwen3-8B",))
    ),
    "offline with access roles": Row(
        "surface-pro-11", Need(offline=True, enterprise=("rbac",)), runtimes={"foundry-local"}, says="RBAC"
    ),
    "offline with an SLA: nobody promises that": Row("surface-pro-11", Need(offline=True, enterprise=("sla",))),
    "placement on the device": Row("azure-f4s-v2", never={"azure-ai-foundry"}, runtimes=LLAMA),
    # Asked for by name.
    "LM Studio": Row("macbook-air-m4", Need(runtimes=("lm-studio",)), runtimes={"lm-studio"}, on="metal"),
    "Docker Model Runner": Row(
        "macbook-air-m4", Need(runtimes=("docker-model-runner",)), runtimes={"docker-model-runner"}, on="metal"
    ),
    "Docker Model Runner on an Arc: the CPU": Row(
        "copilot-pc-lunar-lake", Need(runtimes=("docker-model-runner",)), runtimes={"docker-model-runner"}, on="cpu"
    ),
    "Lemonade on a Ryzen AI with a GGUF: the GPU": Row(
        "copilot-pc-ryzen-ai-350",
        Need(runtimes=("lemonade",), quantizations=("Q4_K_M",)),
        runtimes={"lemonade"},
        on="vulkan",
    ),
}


def asked(row: Row) -> Device:
    return preset(row.device, row.ram_gib, row.os)


@pytest.mark.parametrize("name", ROWS)
def test_the_runtime_suits_the_situation(catalog: Catalog, name: str) -> None:
    row = ROWS[name]
    answer = recommend(asked(row), row.need, catalog)
    picks = answer.picks
    if not row.runtimes:
        assert not picks, picks[0]
        return
    assert picks, answer.rejected
    first = picks[0]
    assert first.runtime in row.runtimes
    assert not {pick.runtime for pick in picks} & row.never
    assert first.accelerator == row.on or not row.on
    assert row.says in first.reasons[1]
    assert first.command


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.runtimes])
def test_the_pick_has_a_recipe_with_its_own_settings(catalog: Catalog, name: str) -> None:
    row = ROWS[name]
    answer = recommend(asked(row), row.need, catalog, top=1)
    pick = answer.picks[0]
    recipe = recipe_of(pick, answer.device, row.need, catalog)
    assert recipe.steps
    if pick.settings is not None:
        assert pick.settings.parallel == row.need.users
        assert (pick.settings.gpu_layers > 0) <= (pick.accelerator in GPU_ACCELERATORS)


def test_an_intel_mac_computes_on_its_processor(catalog: Catalog) -> None:
    mac = Device("mac", "An Intel Mac", "laptop", "macos", "x86-64", physical_cores=6, isa=("avx2",))
    mac = replace(mac, ram_bytes=16.0 * GIB, ram_free_bytes=12.0 * GIB, bandwidth_bytes_per_s=40e9)
    pick = recommend(mac, Need(), catalog, top=1).picks[0]
    assert pick.runtime in LLAMA
    assert pick.accelerator == "cpu"


def test_a_radeon_that_rocm_lacks_is_estimated_with_vulkans_coefficients(catalog: Catalog) -> None:
    need = Need(models=("Qwen/Qwen3-4B",), quantizations=("Q4_K_M",), runtimes=("llama.cpp",))
    device = preset("rx-580", os="windows")
    named_vulkan = replace(device, gpus=tuple(replace(gpu, backend="vulkan") for gpu in device.gpus))
    ours, theirs = (recommend(one, need, catalog, top=1).picks[0].estimate for one in (device, named_vulkan))
    assert ours.decode_tokens_per_s == theirs.decode_tokens_per_s


# ── what must always hold ────────────────────────────────────────────────────────────────────────────────────

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MACHINES = [one.id for one in presets()]
DEVICES = st.sampled_from(MACHINES)
NEEDS = st.builds(
    Need,
    task=st.sampled_from(["chat", "code", "summarize"]),
    users=st.sampled_from([1, 1, 4, 32]),
    accelerator=st.sampled_from([None, None, "cpu", "gpu", "npu"]),
    placement=st.sampled_from(["device", "device", "any", "managed"]),
    own_conversion=st.sampled_from([False, False, True]),
    experimental=st.booleans(),
    priority=st.sampled_from(["balanced", "speed", "quality", "smallest"]),
    all_quantizations=st.booleans(),
)


def formats_of(catalog: Catalog, pick: Pick) -> list[str]:
    found = catalog.cursor().execute(
        "SELECT format FROM candidates WHERE model_id = $1 AND runtime = $2 AND (quantization = $3 OR $3 = '')",
        [pick.model_id, pick.runtime, pick.quantization or ""],
    )
    return [form for (form,) in found.fetchall()]


@given(device_id=DEVICES, need=NEEDS)
@few
def test_no_pick_breaks_a_rule_of_its_own_runtime(catalog: Catalog, device_id: str, need: Need) -> None:
    answer = recommend(preset(device_id), need, catalog)
    rows = {row.id: row for row in catalog_runtimes(catalog)}
    for pick in answer.picks[:: max(1, len(answer.picks) // 12)]:
        runtime, row = get_runtime(pick.runtime), rows[pick.runtime]
        assert not runtime.device_reason(answer.device, need.experimental)
        forms = formats_of(catalog, pick)
        assert any(not runtime.quantization_reason(form, pick.quantization or "", answer.device) for form in forms)
        assert pick.accelerator == "managed" or pick.accelerator in runtime.accelerators_for(
            answer.device, need.experimental
        )
        if "gguf" in forms or "safetensors" in forms or "mlx" in forms:
            assert not runtime.architecture_reason(find_model(catalog, pick.model_id).architecture)
        assert row.users_max is None or need.users <= row.users_max
        assert not row.experimental or need.experimental
        assert row.managed <= (need.placement != "device")
        assert (not row.managed) <= (need.placement != "managed")
        assert row.own_conversion or not need.own_conversion
        if need.accelerator in ("cpu", "npu") and not row.managed:
            assert pick.accelerator == need.accelerator
        if need.accelerator == "gpu" and not row.managed:
            assert pick.accelerator in GPU_ACCELERATORS


@given(device_id=st.sampled_from([one.id for one in presets() if preset(one.id).npu_name]), need=NEEDS)
@few
def test_an_npu_computes_only_what_has_a_variant_for_its_maker(catalog: Catalog, device_id: str, need: Need) -> None:
    answer = recommend(preset(device_id), need, catalog)
    makers = npu_makers(answer.device)
    for pick in answer.picks:
        if pick.accelerator == "npu":
            rows = tables.npu_models(pick.runtime).get(pick.model_id, ())
            fitting = [row for row in rows if row.npu in makers]
            assert fitting
            assert any((row.context_tokens or answer.context_tokens) >= answer.context_tokens for row in fitting)
            assert pick.settings is not None
            assert pick.settings.gpu_layers == 0


@given(
    device_id=st.sampled_from(["cpu-intel-core-i7-13700h", "cpu-amd-ryzen-5-5600x", "thinkpad-t14-gen4", "vps-4c-8gb"]),
    vram_gib=st.sampled_from([4.0, 8.0, 24.0]),
    model=st.sampled_from(["Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "microsoft/Phi-4-mini-instruct"]),
)
@few
def test_a_card_makes_no_runtime_slower_than_the_processor_alone(
    catalog: Catalog, device_id: str, vram_gib: float, model: str
) -> None:
    bare = replace(preset(device_id), gpus=(), os="linux")
    memory = vram_gib * GIB
    card = Gpu("A card", "nvidia", "cuda", memory, memory - GIB / 2, 300e9, 40e12, "8.6")
    need = Need(models=(model,), quantizations=("Q4_K_M",), runtimes=("llama.cpp",))
    alone = recommend(bare, need, catalog, top=1).picks
    with_card = recommend(replace(bare, gpus=(card,)), need, catalog, top=1).picks
    assert len(with_card) >= len(alone)
    if alone:
        before, after = alone[0].estimate.answer_time_s, with_card[0].estimate.answer_time_s
        assert before is not None
        assert after is not None
        assert after.value <= before.value * 1.001


@given(device_id=st.sampled_from(["macbook-air-m4", "copilot-pc-lunar-lake", "steam-deck-oled", "thinkpad-t480"]))
@few
def test_a_gpu_that_shares_memory_takes_no_model_away(catalog: Catalog, device_id: str) -> None:
    device = preset(device_id)
    need = Need(runtimes=("llama.cpp",), max_answer_time_s=86400.0)
    with_gpu = {pick.model_id for pick in recommend(device, need, catalog).picks}
    need = replace(need, accelerator="cpu")
    on_cpu = {pick.model_id for pick in recommend(device, need, catalog).picks}
    assert on_cpu <= with_gpu


def test_a_gpus_share_of_memory_that_is_too_small_leaves_the_model_to_the_processor(catalog: Catalog) -> None:
    device = replace(preset("copilot-pc-lunar-lake", 16), gpu_memory_fraction=0.125)
    need = Need(models=("Qwen/Qwen3-8B",), quantizations=("Q4_K_M",), runtimes=("llama.cpp",))
    pick = recommend(device, need, catalog, top=1).picks[0]
    assert pick.accelerator == "cpu"
    assert pick.settings is not None
    assert pick.settings.gpu_layers == 0


def test_fp8_of_the_original_weights_downloads_them_whole_and_holds_half(catalog: Catalog) -> None:
    need = Need(models=("Qwen/Qwen3-4B",), runtimes=("vllm",), users=8, all_quantizations=True)
    picks = {pick.quantization: pick for pick in recommend(preset("l4"), need, catalog).picks}
    eight, sixteen = picks["fp8"], picks["bf16"]
    assert eight.estimate.file_bytes == sixteen.estimate.file_bytes
    assert eight.estimate.memory is not None
    assert sixteen.estimate.memory is not None
    assert eight.estimate.memory.weights_bytes == pytest.approx(sixteen.estimate.memory.weights_bytes / 2, rel=0.01)
    assert "--quantization fp8" in eight.command
