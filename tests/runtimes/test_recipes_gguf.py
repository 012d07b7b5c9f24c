"""The recipes of the runtimes that take GGUF files, of small devices and of browsers; and what all recipes keep to."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import BadInputError
from recommender.runtimes import Recipe, RuntimeModel, Step, all_runtimes, runtime, shell
from recommender.types import Device, Gpu, Pick

MakePick = Callable[..., Pick]
MakeModel = Callable[..., RuntimeModel]
MakeDevice = Callable[..., Device]

REPO, FILE = "acme/Tiny-1B-GGUF", "Tiny-1B-Q4_K_M.gguf"
# One thing that each runtime can run, with the names the catalog would have for it.
RUNNABLE: dict[str, tuple[str, str | None, dict[str, str]]] = {
    "llama.cpp": ("gguf", "Q4_K_M", {"repo": REPO, "file": FILE}),
    "ollama": ("gguf", "Q4_K_M", {"repo": REPO, "file": FILE}),
    "vllm": ("safetensors", "bf16", {}),
    "mlx": ("mlx", "mlx-4bit", {"mlx_repo": "mlx-community/Tiny-1B-{quantization}"}),
    "onnx-genai": ("onnx", "onnx-int4", {}),
    "foundry-local": ("onnx", "onnx-int4", {"foundry_alias": "tiny-1b"}),
    "azure-ai-foundry": ("managed", None, {"azure_id": "Tiny-1B"}),
    "bitnet.cpp": ("gguf", "I2_S", {"repo": "acme/Tiny-1B-gguf", "file": "ggml-model-i2_s.gguf"}),
    "transformers": ("safetensors", "bf16", {}),
    "wllama": ("gguf", "Q4_K_M", {"repo": REPO, "file": FILE}),
    "webllm": ("mlc", "q4f16_1", {"model_id": "Qwen/Qwen3-0.6B", "base_repo": "Qwen/Qwen3-0.6B"}),
    "lm-studio": ("gguf", "Q4_K_M", {"repo": REPO, "file": FILE}),
    "docker-model-runner": ("gguf", "Q4_K_M", {"repo": REPO, "file": FILE}),
    "litert-lm": ("litert", "litert-int4", {"model_id": "google/gemma-3-1b-it"}),
    "lemonade": ("gguf", "Q4_K_M", {"repo": REPO, "file": FILE}),
}
GGUF = ("llama.cpp", "ollama", "wllama", "lm-studio", "docker-model-runner", "lemonade")
HOSTILE = (
    "evil/x\nreboot",
    'evil/x" y',
    "evil/x' y",
    "evil/$(reboot)",
    "evil/x`id`",
    "evil/</script><script>alert(1)</script>",
    "evil/x; rm -rf ~",
    "evil/x|sh",
    "--evil/x",
    "evil/../../x",
    "evil/x\\y",
)


@pytest.fixture
def build(make_pick: MakePick, make_model: MakeModel, make_device: MakeDevice) -> Callable[..., Recipe]:
    def make(
        runtime_id: str, os: str = "linux", gpus: tuple[Gpu, ...] = (), names: dict[str, str] | None = None
    ) -> Recipe:
        form, quantization, usual = RUNNABLE[runtime_id]
        model = make_model(form, **(usual if names is None else names))
        pick = make_pick(runtime_id, quantization, model.model_id)
        return runtime(runtime_id).recipe(pick, model, make_device(os, gpus=gpus), "")

    return make


def steps(recipe: Recipe, language: str) -> Iterator[Step]:
    return (step for step in recipe.every_step if step.language == language)


def run_text(recipe: Recipe) -> str:
    return "\n".join(step.text for step in recipe.steps)


# ── what all recipes keep to ─────────────────────────────────────────────────────────────────────────────────


def test_the_table_above_covers_every_runtime() -> None:
    assert set(RUNNABLE) == {each.id for each in all_runtimes()}


@pytest.mark.parametrize("os", ["linux", "macos", "windows"])
@pytest.mark.parametrize("runtime_id", RUNNABLE)
def test_every_recipe_has_texts_that_their_languages_read(
    runtime_id: str, os: str, build: Callable[..., Recipe]
) -> None:
    recipe = build(runtime_id, os)
    assert recipe.steps
    assert all(step.title and step.text.strip() for step in recipe.every_step)
    bash = [step.text for step in steps(recipe, "bash")]
    done = subprocess.run(["bash", "-n"], input="\n".join(bash), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for step in steps(recipe, "python"):
        ast.parse(step.text)
    for step in steps(recipe, "json"):
        json.loads(step.text)


@pytest.mark.parametrize("runtime_id", RUNNABLE)
def test_every_recipe_ends_with_a_check_and_a_measurement(runtime_id: str, build: Callable[..., Recipe]) -> None:
    recipe = build(runtime_id)
    assert recipe.check.text
    if runtime_id in ("wllama", "webllm"):
        assert "History does not keep it" in recipe.measure.note
    else:
        assert "recommender measure " in recipe.measure.text


@pytest.mark.parametrize("runtime_id", RUNNABLE)
def test_windows_gets_no_text_that_only_a_posix_shell_reads(runtime_id: str, build: Callable[..., Recipe]) -> None:
    if runtime_id == "vllm":
        pytest.skip("all of it is typed in WSL")
    recipe = build(runtime_id, "windows")
    for step in steps(recipe, "powershell"):
        assert "&&" not in step.text
        assert not step.text.rstrip().endswith("&")
        assert not re.search(r"^[A-Z_]+=\S+ ", step.text, re.MULTILINE)
        assert "'\"'\"'" not in step.text


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("runtime_id", RUNNABLE)
def test_a_hostile_name_reaches_no_text(
    runtime_id: str, hostile: str, make_pick: MakePick, make_model: MakeModel, make_device: MakeDevice
) -> None:
    form, quantization, names = RUNNABLE[runtime_id]
    good = make_model(form, **names)
    for field in ("model_id", "repo", "file", "base_repo", "mlx_repo", "foundry_alias", "azure_id"):
        try:
            model = replace(good, **{field: hostile})
            pick = make_pick(runtime_id, quantization, model.model_id)
            recipe = runtime(runtime_id).recipe(pick, model, make_device(), "")
        except BadInputError:
            continue
        # Not refused: then the name is not used at all.
        assert hostile not in "\n".join([*(step.text for step in recipe.every_step), *recipe.files])


@pytest.mark.parametrize("hostile", ["Q4_K_M; reboot", "$(id)", "Q4 K", "`id`", "-x", "Q4\nid", "</script>"])
@pytest.mark.parametrize("runtime_id", GGUF)
def test_a_hostile_quantization_or_cache_type_reaches_no_text(
    runtime_id: str, hostile: str, make_pick: MakePick, make_model: MakeModel, make_device: MakeDevice
) -> None:
    model = make_model("gguf", repo=REPO, file=FILE)
    with pytest.raises(BadInputError):
        runtime(runtime_id).recipe(make_pick(runtime_id, hostile), model, make_device(), "")
    if runtime_id in ("llama.cpp", "ollama"):
        pick = make_pick(runtime_id, "Q4_K_M", kv_type=hostile)
        with pytest.raises(BadInputError):
            runtime(runtime_id).recipe(pick, model, make_device(), "")


def test_a_names_line_end_adds_nothing_to_the_document(build: Callable[..., Recipe], make_pick: MakePick) -> None:
    pick = replace(make_pick("llama.cpp", "Q4_K_M"), name="Tiny\n```bash\nreboot")
    model = RuntimeModel("acme/Tiny-1B", "gguf", REPO, FILE, "acme/Tiny-1B")
    device = Device(id="here", name="Here", kind="desktop", os="linux", arch="x86-64")
    recipe = runtime("llama.cpp").recipe(pick, model, device, "")
    assert "\n" not in recipe.title
    assert recipe.markdown().splitlines()[0] == f"# {recipe.title}"


# ── llama.cpp and its kin ────────────────────────────────────────────────────────────────────────────────────


def test_llama_cpp_gives_server_terminal_bench_and_the_way_to_make_the_file(build: Callable[..., Recipe]) -> None:
    recipe = build("llama.cpp")
    by_title = {step.title: step.text for step in recipe.optional}
    assert run_text(recipe).endswith("--port 8080")
    assert by_title["In a terminal"].startswith(f"llama-cli -hf {REPO}:Q4_K_M -c 6144 ")
    assert "-ctk q8_0 -ctv q8_0" in by_title["llama-bench"]
    made = next(text for title, text in by_title.items() if title.startswith("Make "))
    assert [line.split()[0] for line in made.splitlines()] == ["hf", "python", "llama-quantize"]


@pytest.mark.parametrize(
    ("vendor", "backend", "image", "reach"),
    [
        ("nvidia", "cuda", "llama.cpp:server-cuda", "--gpus all"),
        ("amd", "rocm", "llama.cpp:server-rocm", "--device /dev/kfd"),
        ("intel", "vulkan", "llama.cpp:server-vulkan", "--device /dev/dri"),
    ],
)
def test_the_container_is_the_one_for_the_accelerator(
    vendor: str, backend: str, image: str, reach: str, build: Callable[..., Recipe]
) -> None:
    recipe = build("llama.cpp", gpus=(Gpu("a card", vendor, backend, None, None),))
    container = next(step.text for step in recipe.optional if step.title == "In a container")
    assert image in container
    assert reach in container
    assert "127.0.0.1:8080" in container


def test_on_android_the_programs_that_were_built_are_found(build: Callable[..., Recipe]) -> None:
    assert "llama.cpp/build/bin" in run_text(build("llama.cpp", "android"))


def test_ollamas_files_have_the_context_and_pull_the_catalogs_name(build: Callable[..., Recipe]) -> None:
    files = build("ollama").files
    assert set(files) == {"Modelfile", "Dockerfile", "compose.yaml"}
    assert files["Modelfile"].splitlines()[:2] == [f"FROM hf.co/{REPO}:Q4_K_M", "PARAMETER num_ctx 6144"]
    assert "TEMPLATE" not in files["Modelfile"]
    assert f"ollama pull hf.co/{REPO}:Q4_K_M" in files["Dockerfile"]
    assert 'OLLAMA_CONTEXT_LENGTH: "6144"' in files["compose.yaml"]
    assert "driver: nvidia" not in files["compose.yaml"]


def test_ollamas_containers_reach_the_gpu_there_is(build: Callable[..., Recipe]) -> None:
    nvidia = build("ollama", gpus=(Gpu("a card", "nvidia", "cuda", None, None),)).files["compose.yaml"]
    amd = build("ollama", gpus=(Gpu("a card", "amd", "rocm", None, None),)).files["compose.yaml"]
    assert "driver: nvidia" in nvidia
    assert "ollama/ollama:rocm" in amd
    assert "/dev/kfd" in amd


@pytest.mark.parametrize(
    ("runtime_id", "endpoint"),
    [
        ("ollama", "http://127.0.0.1:11434/v1"),
        ("lm-studio", "http://127.0.0.1:1234/v1"),
        ("docker-model-runner", "http://127.0.0.1:12434/engines/v1"),
        ("lemonade", "http://127.0.0.1:13305/api/v1"),
        ("litert-lm", "http://127.0.0.1:9379/v1"),
        ("bitnet.cpp", "http://127.0.0.1:8080/v1"),
    ],
)
def test_each_server_is_asked_at_its_own_address(runtime_id: str, endpoint: str, build: Callable[..., Recipe]) -> None:
    recipe = build(runtime_id)
    assert f"{endpoint}/chat/completions" in recipe.check.text
    assert f"--endpoint {endpoint} " in recipe.measure.text


def test_lm_studio_serves_under_the_name_that_is_asked_for(build: Callable[..., Recipe]) -> None:
    recipe = build("lm-studio")
    assert "--identifier Tiny-1B" in run_text(recipe)
    assert "--served Tiny-1B " in recipe.measure.text


def test_docker_model_runners_port_is_opened_where_docker_desktop_runs_it(build: Callable[..., Recipe]) -> None:
    opened = "docker desktop enable model-runner --tcp 12434"
    assert opened in run_text(build("docker-model-runner", "macos"))
    assert opened not in run_text(build("docker-model-runner", "linux"))


# ── browsers ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("runtime_id", ["wllama", "webllm"])
def test_the_pages_script_is_javascript(runtime_id: str, build: Callable[..., Recipe], tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    page = build(runtime_id).files["index.html"]
    script = page.split('<script type="module">')[1].split("</script>")[0]
    (tmp_path / "page.mjs").write_text(script, encoding="utf-8")
    done = subprocess.run([node, "--check", "page.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "{load}" not in page
    assert "{chat}" not in page


def test_the_pages_server_sends_what_threads_need(build: Callable[..., Recipe]) -> None:
    server = build("wllama").files["serve.py"]
    assert "Cross-Origin-Opener-Policy" in server
    assert "127.0.0.1" in server


def test_a_model_that_nobody_published_is_split_for_the_browser(build: Callable[..., Recipe]) -> None:
    recipe = build("wllama", names={})
    assert "llama-gguf-split --split --split-max-size 512M" in run_text(recipe)
    assert "FIRST_PIECE_URL" in recipe.files["index.html"]


# ── PowerShell ───────────────────────────────────────────────────────────────────────────────────────────────


def test_variables_and_background_programs_are_written_as_powershell_has_them() -> None:
    assert (
        shell.powershell("A_B=1 C=two ollama serve &\nollama run x")
        == '$env:A_B="1"; $env:C="two"; Start-Process ollama "serve"\nollama run x'
    )
    assert shell.powershell("one &&\ntwo") == "one\ntwo"


@given(name=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
def test_a_path_with_any_letters_stays_one_quoted_word_in_powershell(name: str) -> None:
    written = shell.powershell(f"llama-server -m {shell.path(name)}").removeprefix("llama-server -m ")
    wanted = f"./{name}" if name.startswith("-") else name
    if written.startswith("'"):
        assert written.endswith("'")
        assert written[1:-1].replace("''", "'") == wanted
    else:
        assert written == wanted
        assert re.fullmatch(r"[\w@%+=:,./-]+", written)
