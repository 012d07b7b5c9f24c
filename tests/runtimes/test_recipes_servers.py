"""The recipes of vLLM (with containers and Kubernetes), MLX and transformers."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog.store import Catalog
from recommender.device.presets import preset
from recommender.errors import BadInputError
from recommender.runtimes import Recipe, RuntimeModel, Step, runtime, tables, vllm_gpus
from recommender.runtimes.base import Target
from recommender.types import GIB, Device, Gpu, Memory, Pick

MakePick = Callable[..., Pick]
MakeModel = Callable[..., RuntimeModel]
MakeDevice = Callable[..., Device]

SERVERS = {"vllm": ("safetensors", "bf16"), "mlx": ("mlx", "mlx-4bit"), "transformers": ("safetensors", "bf16")}
HOSTILE = (
    "evil/x\nreboot",
    'evil/x" y',
    "evil/x' y",
    "evil/$(reboot)",
    "evil/x`id`",
    "evil/{{ env }}",
    "evil/x: y",
    "evil/x #y",
    "evil/x\\y",
    "--evil/x",
    "evil/../../x",
    "evil/x;id",
)


def memory(total_gib: float, kv_gib: float = 0.5) -> Memory:
    parts = {"compute_bytes": 0.0, "overhead_bytes": 0.0, "total_bytes": total_gib * GIB}
    return Memory(weights_bytes=(total_gib - kv_gib) * GIB, kv_cache_bytes=kv_gib * GIB, **parts)


def sized(pick: Pick, total_gib: float, kv_gib: float = 0.5) -> Pick:
    estimate = replace(pick.estimate, memory=memory(total_gib, kv_gib), file_bytes=(total_gib - kv_gib) * GIB)
    return replace(pick, estimate=estimate)


def card(vendor: str, backend: str, gib: float, capability: str = "", free_gib: float | None = None) -> Gpu:
    free = None if free_gib is None else free_gib * GIB
    return Gpu(f"a {vendor} card", vendor, backend, gib * GIB, free, compute_capability=capability)


def step(recipe: Recipe, title: str) -> Step:
    return next(one for one in recipe.every_step if one.title == title)


def line(recipe: Recipe, title: str = "Run it") -> dict[str, str]:
    """The options of a command, each with the word after it."""
    words = shlex.split(step(recipe, title).text)
    return {word: following for word, following in zip(words, [*words[1:], ""], strict=True) if word.startswith("-")}


def texts_are_sound(recipe: Recipe) -> None:
    """Each text parses as what it says it is."""
    for one in recipe.every_step:
        if one.language == "yaml":
            assert yaml.load(one.text, yaml.CSafeLoader)
        elif one.language == "python":
            ast.parse(one.text)
        elif one.language == "bash":
            assert shlex.split(one.text)


@pytest.fixture
def build(make_pick: MakePick, make_model: MakeModel, make_device: MakeDevice) -> Callable[..., Recipe]:
    """The recipe of a small model on a machine with these GPUs."""

    def make(
        runtime_id: str = "vllm",
        *gpus: Gpu,
        accelerator: str = "cuda",
        total_gib: float = 8.0,
        kv_gib: float = 0.5,
        quantization: str = "",
        format: str = "",
        os: str = "linux",
        arch: str = "x86-64",
        ram_gib: float = 64.0,
        names: dict[str, Any] | None = None,
        **settings: object,
    ) -> Recipe:
        usual_format, usual = SERVERS[runtime_id]
        values = {"kv_type": "f16", "gpu_layers": 0 if accelerator == "cpu" else -1, **settings}
        pick = sized(make_pick(runtime_id, quantization or usual, **values), total_gib, kv_gib)
        model = make_model(format or usual_format, **{"n_head": 32, "n_head_kv": 8, **(names or {})})
        device = make_device(os, arch, gpus=gpus, ram_bytes=ram_gib * GIB)
        return runtime(runtime_id).recipe(pick, model, device, accelerator)

    return make


NVIDIA = card("nvidia", "cuda", 24.0, "8.9", free_gib=22.3)
AMD = card("amd", "rocm", 24.0)
T4 = card("nvidia", "cuda", 16.0, "7.5")


# ── vLLM ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_vllms_line_has_the_picks_numbers_and_what_is_free_of_the_gpu(build: Callable[..., Recipe]) -> None:
    flags = line(build("vllm", NVIDIA, parallel=16, context_tokens=8192))
    assert flags["--max-model-len"] == "8192"
    assert flags["--max-num-seqs"] == "16"
    assert flags["--gpu-memory-utilization"] == "0.92"  # 22.3 of 24 GiB, rounded down
    assert "--tensor-parallel-size" not in flags


def test_a_gpu_that_shares_the_machines_memory_gives_what_the_pick_needs(build: Callable[..., Recipe]) -> None:
    shared = replace(card("nvidia", "cuda", 128.0, "12.1"), unified=True)
    flags = line(build("vllm", shared, total_gib=30.0, ram_gib=128.0))
    assert flags["--gpu-memory-utilization"] == "0.24"  # 30 of 128 GiB, rounded up


@pytest.mark.parametrize(
    ("gpus", "total_gib", "heads", "kv_heads", "expected"),
    [
        (1, 10.0, 32, 8, (1, 1)),
        (4, 20.0, 32, 8, (2, 1)),
        (4, 50.0, 32, 8, (4, 1)),
        (3, 40.0, 32, 8, (1, 3)),  # three do not divide 32 heads: layers are divided
        (3, 40.0, 24, 3, (3, 1)),
        (8, 100.0, 64, 4, (8, 1)),  # more GPUs than heads of the cache: those are copied
        (2, 20.0, None, None, (1, 2)),  # heads unknown
    ],
)
def test_the_fewest_gpus_that_hold_the_pick_are_used(
    gpus: int,
    total_gib: float,
    heads: int | None,
    kv_heads: int | None,
    expected: tuple[int, int],
    build: Callable[..., Recipe],
) -> None:
    names = {"n_head": heads, "n_head_kv": kv_heads}
    found = build("vllm", *[T4] * gpus, total_gib=total_gib, names=names)
    flags = line(found)
    assert (flags.get("--tensor-parallel-size", "1"), flags.get("--pipeline-parallel-size", "1")) == tuple(
        str(number) for number in expected
    )
    manifest = yaml.safe_load(found.files["kubernetes/deployment.yaml"])
    limits = manifest["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == str(expected[0] * expected[1])


def test_gpus_of_another_kind_do_not_count(build: Callable[..., Recipe]) -> None:
    other = replace(T4, name="another card")
    flags = line(build("vllm", T4, other, total_gib=20.0))
    assert "--tensor-parallel-size" not in flags


@given(heads=st.integers(1, 128), kv_heads=st.integers(1, 128))
def test_every_tensor_parallel_size_gives_each_gpu_as_many_heads(heads: int, kv_heads: int) -> None:
    sizes = vllm_gpus.tensor_parallel_sizes(RuntimeModel("a/b", "safetensors", n_head=heads, n_head_kv=kv_heads))
    assert sizes[0] == 1
    for size in sizes:
        assert heads % size == 0
        assert kv_heads % size == 0 or size % kv_heads == 0


@pytest.mark.parametrize("total_gib", [8.0, 11.0, 16.0, 24.0, 80.0, 141.0])
@pytest.mark.parametrize("free", [0.5, 0.9, 0.949, 0.95, 0.99, 1.0])
def test_the_share_of_a_gpu_is_never_more_than_is_free(
    total_gib: float, free: float, make_pick: MakePick, make_model: MakeModel, make_device: MakeDevice
) -> None:
    gpu = card("nvidia", "cuda", total_gib, "8.0", total_gib * free)
    pick = sized(make_pick("vllm", "bf16"), 4.0)
    share = vllm_gpus.memory_share(Target(pick, make_model("safetensors"), make_device(gpus=(gpu,)), "cuda"))
    assert share <= min(free + 1e-9, 0.95)
    assert share > min(free, 0.95) - 0.0101


def test_a_gpu_without_bfloat16_leaves_the_number_type_to_vllm_and_says_so(build: Callable[..., Recipe]) -> None:
    old, new = build("vllm", T4), build("vllm", NVIDIA)
    assert "--dtype" not in line(old)  # float16 would be refused for architectures that are not stable in it
    assert any("has no bfloat16" in note for note in old.notes)
    assert not any("bfloat16" in note for note in new.notes)


@pytest.mark.parametrize(
    ("gpu", "quantization", "kv_type", "words"),
    [
        (T4, "fp8", "f16", "no 8-bit arithmetic"),
        (T4, "bf16", "q8_0", "may refuse the 8-bit cache"),
        (NVIDIA, "fp8", "q8_0", ""),
    ],
)
def test_what_a_gpu_lacks_for_8_bits_is_said(
    gpu: Gpu, quantization: str, kv_type: str, words: str, build: Callable[..., Recipe]
) -> None:
    found = build("vllm", gpu, quantization=quantization, kv_type=kv_type)
    said = [note for note in found.notes if "8-bit" in note]
    assert [words in note for note in said] == ([True] if words else [])


def test_the_notes_name_the_sizes_that_divide_the_heads(build: Callable[..., Recipe]) -> None:
    (note,) = [note for note in build("vllm", NVIDIA).notes if note.startswith("Tensor parallelism")]
    assert "32 attention heads" in note
    assert "1, 2, 4, 8 GPUs" in note


@pytest.mark.parametrize(
    ("gpu", "accelerator", "arch", "image", "reach"),
    [
        (NVIDIA, "cuda", "x86-64", "vllm/vllm-openai:v", "--gpus"),
        (AMD, "rocm", "x86-64", "vllm/vllm-openai-rocm:v", "--device"),
        (None, "cpu", "x86-64", "vllm/vllm-openai-cpu:v", "--shm-size"),
        (None, "cpu", "arm64", "vllm/vllm-openai-cpu:v", "--shm-size"),
    ],
)
def test_the_container_is_the_accelerators_own_and_of_the_catalog(
    gpu: Gpu | None, accelerator: str, arch: str, image: str, reach: str, build: Callable[..., Recipe]
) -> None:
    found = build("vllm", *([gpu] if gpu else []), accelerator=accelerator, arch=arch)
    (text,) = [one.text for one in found.every_step if "docker run" in one.text]
    words = shlex.split(text)
    (named,) = [word for word in words if word.startswith("vllm/")]
    assert named.startswith(image)
    assert reach in words
    assert words[words.index("-p") + 1] == "127.0.0.1:8000:8000"
    assert words[words.index("-e") + 1] == "HF_TOKEN"  # by name: its value is in no text
    assert "acme/Tiny-1B" in words
    assert named.partition(":")[0] in re.split("[ ,]", tables.runtime_rows()["vllm"]["container_kubernetes"])
    if accelerator == "cpu":
        assert named.endswith({"x86-64": "-x86_64", "arm64": "-arm64"}[arch])
    manifest = yaml.safe_load(found.files["kubernetes/deployment.yaml"])
    assert manifest["spec"]["template"]["spec"]["containers"][0]["image"] == named


def test_on_a_processor_the_cache_is_as_large_as_the_estimate_says(build: Callable[..., Recipe]) -> None:
    found = build("vllm", accelerator="cpu", total_gib=12.0, kv_gib=2.4, threads=6)
    assert "-e VLLM_CPU_KVCACHE_SPACE=3" in step(found, "Run it in a container").text
    container = yaml.safe_load(found.files["kubernetes/deployment.yaml"])["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "3"} in container["env"]
    assert container["resources"]["requests"]["cpu"] == "6"
    assert int(container["resources"]["requests"]["memory"].removesuffix("Gi")) > 12


@pytest.mark.parametrize("accelerator", ["rocm", "cpu"])
def test_where_the_package_is_built_for_another_accelerator_a_container_runs_it(
    accelerator: str, build: Callable[..., Recipe]
) -> None:
    found = build("vllm", *([AMD] if accelerator == "rocm" else []), accelerator=accelerator)
    assert [one.title for one in found.steps] == ["Run it in a container"]
    assert all("uv pip install vllm " not in one.text for one in found.every_step)


def test_on_windows_all_is_typed_in_wsl(build: Callable[..., Recipe]) -> None:
    found = build("vllm", NVIDIA, os="windows")
    assert [(one.title, one.language) for one in found.steps] == [
        ("Open a Linux shell", "powershell"),
        ("Install", "bash"),
        ("Run it", "bash"),
    ]
    assert step(found, "Open a Linux shell").text == "wsl --install"
    assert found.check.language == "powershell"  # the server is reached from Windows too


def test_on_a_mac_there_is_no_container_and_another_package(build: Callable[..., Recipe]) -> None:
    apple = Gpu("Apple M4", "apple", "metal", 16 * GIB, None, unified=True)
    found = build("vllm", apple, accelerator="metal", os="macos", arch="arm64")
    assert "vllm-metal" in step(found, "Install").text
    assert not found.files
    assert "--gpu-memory-utilization" not in line(found)


def test_a_gguf_is_served_under_the_models_name_with_the_plug_in(build: Callable[..., Recipe]) -> None:
    names = {"repo": "acme/Tiny-1B-GGUF", "file": "Tiny-1B-Q4_K_M.gguf"}
    found = build("vllm", NVIDIA, quantization="Q4_K_M", format="gguf", names=names)
    assert line(found)["--served-model-name"] == "acme/Tiny-1B"
    assert '"model": "acme/Tiny-1B"' in found.check.text
    inside = shlex.split(shlex.split(step(found, "In a container").text)[-1])
    assert "vllm-gguf-plugin" in inside
    assert "acme/Tiny-1B-GGUF:Q4_K_M" in inside
    assert not found.files  # the images lack the plug-in


def test_a_file_of_this_machine_is_not_looked_for_in_a_container(build: Callable[..., Recipe]) -> None:
    names = {"repo": "", "file": "my model.gguf"}
    found = build("vllm", AMD, accelerator="rocm", quantization="Q4_K_M", format="gguf", names=names)
    assert not [one for one in found.every_step if "docker" in one.text]
    assert "my model.gguf" in shlex.split(step(found, "Run it").text)


def test_fp8_made_here_needs_room_for_the_16_bit_download(build: Callable[..., Recipe]) -> None:
    def room(recipe: Recipe) -> int:
        pod = yaml.safe_load(recipe.files["kubernetes/deployment.yaml"])["spec"]["template"]["spec"]
        (volume,) = [one for one in pod["volumes"] if one["name"] == "weights"]
        return int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi"))

    made = build("vllm", NVIDIA, quantization="fp8", total_gib=8.0)
    published = build("vllm", NVIDIA, quantization="fp8", total_gib=8.0, names={"repo": "acme/Tiny-1B-FP8"})
    assert "--quantization" in line(made)
    assert "--quantization" not in line(published)
    assert room(made) > 2 * 7.5 * 2 > room(published) > 7.5


def test_awq_that_nobody_published_is_refused(build: Callable[..., Recipe]) -> None:
    with pytest.raises(BadInputError, match="awq-int4"):
        build("vllm", NVIDIA, quantization="awq-int4")


@pytest.mark.parametrize("model_id", ["acme/1.5B_Chat", "acme/Ünï", "acme/" + "a-very-long-name" * 8, "acme/-x-"])
def test_a_manifests_names_are_dns_labels(model_id: str) -> None:
    from recommender.runtimes.kubernetes import Deployed

    name = Deployed(model_id, "vllm/vllm-openai:v1", (), "cuda", 1, 1.0, 1.0).name
    assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)


# ── MLX ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mlx_serves_what_is_published_and_offers_the_conversion(build: Callable[..., Recipe]) -> None:
    names = {"mlx_repo": "mlx-community/Tiny-1B-{quantization}"}
    found = build("mlx", accelerator="metal", os="macos", arch="arm64", names=names)
    assert line(found)["--model"] == "mlx-community/Tiny-1B-4bit"
    assert '"model": "mlx-community/Tiny-1B-4bit"' in found.check.text
    flags = line(found, "Convert it yourself")
    assert (flags["--q-bits"], flags["--q-group-size"]) == ("4", "64")


def test_mlx_converts_first_where_nothing_is_published(build: Callable[..., Recipe]) -> None:
    found = build("mlx", accelerator="metal", os="macos", arch="arm64", quantization="mlx-8bit")
    titles = [one.title for one in found.steps]
    assert titles == ["Install", "Convert the original weights", "Run it"]
    assert line(found, "Convert the original weights")["--mlx-path"] == line(found)["--model"]


def test_mlxs_server_keeps_no_more_cache_than_was_estimated(build: Callable[..., Recipe]) -> None:
    found = build("mlx", accelerator="metal", os="macos", kv_gib=0.75, parallel=4)
    assert line(found)["--prompt-cache-bytes"] == str(int(0.75 * GIB))
    assert line(found)["--decode-concurrency"] == "4"


def test_a_quantized_cache_of_mlx_answers_one_at_a_time_and_says_so(build: Callable[..., Recipe]) -> None:
    found = build("mlx", accelerator="metal", os="macos", kv_type="q8_0", parallel=4)
    assert line(found)["--kv-bits"] == "8"
    assert "--decode-concurrency" not in line(found)
    assert any("one request at a time" in note for note in found.notes)
    assert "kv_bits=8" in found.files["benchmark.py"]


def test_mlx_on_a_linux_processor_installs_its_build_for_it(build: Callable[..., Recipe]) -> None:
    assert "mlx-lm[cpu]" in shlex.split(step(build("mlx", accelerator="cpu"), "Install").text)
    assert "mlx-lm[cuda12]" in shlex.split(step(build("mlx", NVIDIA), "Install").text)


# ── transformers ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("gpu", "accelerator", "os", "device", "dtype"),
    [
        (None, "cpu", "linux", "cpu", "auto"),
        (NVIDIA, "cuda", "linux", "auto", "auto"),
        (T4, "cuda", "linux", "auto", "float16"),
        (T4, "cpu", "linux", "cpu", "auto"),
        (NVIDIA, "cuda", "windows", "auto", "auto"),
        (AMD, "rocm", "linux", "auto", "auto"),
        (Gpu("Apple M4", "apple", "metal", 16 * GIB, None, unified=True), "metal", "macos", "mps", "auto"),
    ],
)
def test_device_and_number_type_fit_the_machine_in_server_and_script(
    gpu: Gpu | None, accelerator: str, os: str, device: str, dtype: str, build: Callable[..., Recipe]
) -> None:
    found = build("transformers", *([gpu] if gpu else []), accelerator=accelerator, os=os)
    flags = line(found)
    assert flags.get("--device", "auto") == device
    assert flags.get("--dtype", "auto") == dtype
    assert f'dtype="{dtype}", device_map="{device}"' in found.files["generate.py"]
    assert "transformers[serving]" in shlex.split(step(found, "Install").text)


def test_several_users_of_transformers_are_batched(build: Callable[..., Recipe]) -> None:
    assert "--continuous-batching" in line(build("transformers", NVIDIA, parallel=4))
    assert "--continuous-batching" not in line(build("transformers", NVIDIA))


def test_quantized_weights_bring_what_reads_them_and_need_a_publisher(build: Callable[..., Recipe]) -> None:
    names = {"repo": "acme/Tiny-1B-GPTQ"}
    found = build("transformers", NVIDIA, quantization="gptq-int4", names=names)
    assert any("gptqmodel" in one.text for one in found.steps)
    with pytest.raises(BadInputError, match="gptq-int4"):
        build("transformers", NVIDIA, quantization="gptq-int4")


# ── all three ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize(
    ("runtime_id", "format", "field"),
    [
        ("vllm", "safetensors", "base_repo"),
        ("vllm", "safetensors", "repo"),
        ("vllm", "safetensors", "model_id"),
        ("vllm", "gguf", "repo"),
        ("vllm", "gguf", "base_repo"),
        ("vllm", "gguf", "model_id"),
        ("mlx", "mlx", "repo"),
        ("mlx", "mlx", "base_repo"),
        ("mlx", "mlx", "model_id"),
        ("mlx", "mlx", "mlx_repo"),
        ("transformers", "safetensors", "base_repo"),
        ("transformers", "safetensors", "repo"),
        ("transformers", "safetensors", "model_id"),
    ],
)
def test_a_hostile_name_reaches_no_text_of_a_recipe(
    runtime_id: str, format: str, field: str, hostile: str, build: Callable[..., Recipe]
) -> None:
    value = f"{hostile}-4bit" if field == "mlx_repo" else hostile
    names = {"repo": "acme/Tiny-1B-GGUF", field: value} if format == "gguf" else {field: value}
    quantization = "Q4_K_M" if format == "gguf" else ""
    with pytest.raises(BadInputError):
        build(runtime_id, NVIDIA, format=format, quantization=quantization, names=names)


@pytest.mark.parametrize("hostile", ["Q4\nid", 'Q4"', "$(id)", "{{x}}", "Q4: x", "Q4 #", "-x", "`id`"])
@pytest.mark.parametrize("runtime_id", SERVERS)
def test_a_hostile_quantization_reaches_no_text_of_a_recipe(
    runtime_id: str, hostile: str, build: Callable[..., Recipe]
) -> None:
    with pytest.raises(BadInputError):
        build(runtime_id, NVIDIA, quantization=hostile)


@given(name=st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30))
def test_any_name_is_refused_or_stays_one_word_in_every_text(name: str) -> None:
    from recommender.runtimes.kubernetes import Deployed, deployment
    from recommender.runtimes.shell import repository

    try:
        checked = repository(f"acme/{name}")
    except BadInputError:
        return
    manifest = yaml.safe_load(deployment(Deployed(checked, "image", (checked,), "cuda", 1, 1.0, 1.0)))
    assert manifest["spec"]["template"]["spec"]["containers"][0]["args"] == [checked]


@pytest.mark.parametrize("os", ["linux", "windows", "macos"])
@pytest.mark.parametrize("runtime_id", SERVERS)
def test_bash_reads_every_bash_text(runtime_id: str, os: str, build: Callable[..., Recipe]) -> None:
    for accelerator, gpus in (("cuda", [NVIDIA]), ("rocm", [AMD]), ("cpu", [])):
        found = build(runtime_id, *gpus, accelerator=accelerator, os=os, parallel=4, kv_type="q8_0")
        texts_are_sound(found)
        bash = [one.text for one in found.every_step if one.language == "bash"]
        done = subprocess.run(["bash", "-n"], input="\n".join(bash), text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        markdown = found.markdown()
        assert found.measure.text in markdown
        assert all(text.rstrip() in markdown for text in found.files.values())


DEVICES = {
    "rtx-4090": ("cuda", "linux"),
    "h100-sxm-80gb": ("cuda", "linux"),
    "tesla-v100-pcie-16gb": ("cuda", "linux"),
    "azure-nc64as-t4-v3": ("cuda", "linux"),
    "macbook-pro-m4": ("metal", "macos"),
    "cpu-amd-epyc-9454p": ("cpu", "linux"),
}


@dataclass(frozen=True)
class Variant:
    format: str
    repo: str
    file: str


def candidates(catalog: Catalog, runtime_id: str) -> Iterator[tuple[RuntimeModel, str]]:
    """Every candidate of a runtime, with the file that the catalog has for it, if any."""
    models = {model.model_id: model for model in catalog.models()}
    rows = catalog.cursor().execute(
        "SELECT c.model_id, c.format, c.quantization, min(f.repo), min(f.file) FROM candidates c "
        "LEFT JOIN variants f USING (model_id, format, quantization) WHERE c.runtime = $1 GROUP BY ALL ORDER BY ALL",
        [runtime_id],
    )
    for model_id, format, quantization, repo, file in rows.fetchall():
        yield RuntimeModel.of(models[model_id], Variant(format, repo or "", file or "")), quantization


@pytest.mark.parametrize("runtime_id", SERVERS)
def test_every_candidate_has_a_recipe_whose_texts_parse(runtime_id: str, catalog: Catalog, make_pick: MakePick) -> None:
    """All of them on one machine after another, so that each machine has a share of each model's quantizations."""
    each = runtime(runtime_id)
    places = [
        (preset(name, os=os), accelerator)
        for name, (accelerator, os) in DEVICES.items()
        if accelerator in each.accelerators_for(preset(name, os=os), experimental=True)
    ]
    assert places
    built = 0
    for number, (model, quantization) in enumerate(candidates(catalog, runtime_id)):
        device, accelerator = places[(number + number // len(places)) % len(places)]
        if each.model_reason(model, quantization) or each.quantization_reason(model.format, quantization, device):
            continue
        pick = sized(make_pick(runtime_id, quantization, model.model_id, gpu_layers=-1, parallel=2), 6.0)
        texts_are_sound(each.recipe(pick, model, device, accelerator))
        built += 1
    assert built > 100


@pytest.mark.parametrize("runtime_id", ["vllm", "transformers"])
def test_original_weights_have_a_recipe_on_every_kind_of_machine(
    runtime_id: str, catalog: Catalog, make_pick: MakePick
) -> None:
    each = runtime(runtime_id)
    some = [model for model in catalog.models() if model.n_head][::20]
    for model, (name, (accelerator, os)) in product(some, DEVICES.items()):
        device = preset(name, os=os)
        if accelerator not in each.accelerators_for(device, experimental=True):
            continue
        pick = sized(make_pick(runtime_id, "bf16", model.model_id, gpu_layers=-1), 6.0)
        found = each.recipe(pick, RuntimeModel.of(model, Variant("safetensors", "", "")), device, accelerator)
        texts_are_sound(found)
        assert model.model_id in found.check.text


def test_a_v100_is_too_old_for_awq_in_vllm() -> None:
    assert runtime("vllm").quantization_reason("safetensors", "awq-int4", preset("tesla-v100-pcie-16gb", os="linux"))
    assert not runtime("vllm").quantization_reason("safetensors", "awq-int4", preset("rtx-4090", os="linux"))
