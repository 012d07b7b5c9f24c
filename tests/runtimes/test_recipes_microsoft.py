"""The recipes of Olive with ONNX Runtime GenAI, of Foundry Local and of Azure AI Foundry."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from recommender.catalog.store import Catalog
from recommender.device.presets import preset
from recommender.errors import BadInputError
from recommender.runtimes import Recipe, RuntimeModel, Step, olive, runtime, tables
from recommender.types import Device, Pick

MakePick = Callable[..., Pick]
MakeModel = Callable[..., RuntimeModel]

SNAPDRAGON, INTEL, RYZEN = "surface-pro-11", "copilot-pc-lunar-lake", "zenbook-s16"
RTX, MAC, SERVER = "zephyrus-g14-4060", "macbook-air-m3", "azure-f16s-v2"
QUANTIZATIONS = {"onnx-genai": "onnx-int4", "foundry-local": "onnx-int4", "azure-ai-foundry": None}
NAMES = {
    "onnx-genai": {},
    "foundry-local": {"foundry_alias": "tiny-1b"},
    "azure-ai-foundry": {"azure_id": "Tiny-1B-instruct"},
}
HOSTILE = ("x\nreboot", 'x" y', "x' y", "x$(reboot)", "x`id`", "x\\y", "x;id", "--x", "../x", "x{{y}}")


def step(recipe: Recipe, title: str) -> Step:
    return next(one for one in recipe.every_step if one.title == title)


def sound(recipe: Recipe) -> None:
    """Each text parses as what it says it is, and each file has a name of its own."""
    names = [one.file_name for one in recipe.every_step if one.file_name]
    assert len(names) == len(set(names))
    for one in recipe.every_step:
        if one.language == "json":
            json.loads(one.text)
        elif one.language == "python":
            ast.parse(one.text)
        elif one.language == "bash":
            assert shlex.split(one.text)
        assert not re.search(r"\{[a-z_]+\}", one.text) or one.language == "python", one.text


@pytest.fixture
def build(make_pick: MakePick, make_model: MakeModel) -> Callable[..., Recipe]:
    def make(runtime_id: str, device: str | Device, accelerator: str = "", **names: str) -> Recipe:
        machine = preset(device) if isinstance(device, str) else device
        format = "managed" if runtime_id == "azure-ai-foundry" else "onnx"
        model = make_model(format, **(NAMES[runtime_id] | names))
        pick = make_pick(runtime_id, QUANTIZATIONS[runtime_id])
        how = runtime(runtime_id)
        return how.recipe(pick, model, machine, accelerator or how.accelerator_for(machine))

    return make


def provider(recipe: Recipe, file_name: str = "olive.json") -> str:
    config = json.loads(recipe.files[file_name])
    (accelerator,) = config["systems"]["local"]["accelerators"]
    (found,) = accelerator["execution_providers"]
    return f"{accelerator['device']} {found}"


# ── Olive and ONNX Runtime GenAI ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("device", "accelerator", "expected", "package"),
    [
        (RTX, "cuda", "gpu CUDAExecutionProvider", "onnxruntime-genai-cuda"),
        (RTX, "webgpu", "gpu DmlExecutionProvider", "onnxruntime-genai-directml"),
        (RTX, "cpu", "cpu CPUExecutionProvider", "onnxruntime-genai>="),
        (RYZEN, "webgpu", "gpu DmlExecutionProvider", "onnxruntime-genai-directml"),
        (SNAPDRAGON, "webgpu", "cpu CPUExecutionProvider", "onnxruntime-genai>="),
        (MAC, "cpu", "cpu CPUExecutionProvider", "onnxruntime-genai>="),
    ],
)
def test_olive_targets_the_picks_processor_with_packages_that_exist_there(
    device: str, accelerator: str, expected: str, package: str, build: Callable[..., Recipe]
) -> None:
    recipe = build("onnx-genai", device, accelerator)
    assert provider(recipe) == expected
    assert package in step(recipe, "Install").text
    sound(recipe)


@pytest.mark.parametrize(
    ("device", "falls_back_to", "npu", "package"),
    [
        (SNAPDRAGON, "cpu CPUExecutionProvider", "npu QNNExecutionProvider", "onnxruntime-qnn"),
        (INTEL, "gpu DmlExecutionProvider", "npu OpenVINOExecutionProvider", "onnxruntime-openvino"),
        (RYZEN, "gpu DmlExecutionProvider", "npu VitisAIExecutionProvider", "onnxruntime-genai"),
    ],
)
def test_without_a_variant_for_the_npu_the_recipe_falls_back_and_says_to_what(
    device: str, falls_back_to: str, npu: str, package: str, build: Callable[..., Recipe]
) -> None:
    recipe = build("onnx-genai", device, "npu")
    assert provider(recipe) == falls_back_to
    assert provider(recipe, "olive-npu.json") == npu
    assert package in step(recipe, "For the NPU: install").text
    processor = "the CPU" if "CPU" in falls_back_to else "the GPU"
    assert any("No variant" in note and f"falls back to {processor}" in note for note in recipe.notes)
    sound(recipe)


@pytest.mark.parametrize("device", [SNAPDRAGON, INTEL, RYZEN])
def test_with_a_variant_for_the_npu_in_the_catalog_the_recipe_is_for_the_npu(
    device: str, build: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(
        tables.NpuModel(maker, "recipe", "acme-Tiny/aitk", None) for maker in ("qualcomm", "intel", "amd-xdna2")
    )
    monkeypatch.setattr(tables, "npu_models", lambda runtime_id: {"acme/Tiny-1B": rows})
    recipe = build("onnx-genai", device, "npu")
    assert any(note.endswith("microsoft/olive-recipes/tree/main/acme-Tiny/aitk") for note in recipe.notes)
    assert provider(recipe).startswith("npu ")
    assert "olive-npu.json" not in recipe.files
    assert not any("No variant" in note for note in recipe.notes)
    sound(recipe)


def test_an_npu_whose_maker_nobody_knows_is_left_alone(build: Callable[..., Recipe]) -> None:
    unknown = replace(preset(SNAPDRAGON), npu_name="Strange NPU", cpu_model="Strange", gpus=())
    recipe = build("onnx-genai", unknown, "npu")
    assert provider(recipe) == "cpu CPUExecutionProvider"
    assert "olive-npu.json" not in recipe.files


def test_the_run_script_has_the_picks_context_and_threads(build: Callable[..., Recipe]) -> None:
    script = build("onnx-genai", SERVER).files["run.py"]
    assert "min(6144, len(prompt) + 200)" in script
    assert '"intra_op_num_threads": 7' in script


def test_configuration_script_check_and_measurement_name_one_folder(build: Callable[..., Recipe]) -> None:
    recipe = build("onnx-genai", SERVER)
    folder = json.loads(recipe.files["olive.json"])["output_dir"]
    assert folder == "Tiny-1B-onnx-int4"
    assert f'og.Config("{folder}")' in recipe.files["run.py"]
    assert f'"{folder}"' in recipe.files["before_after.py"]
    assert f"--onnx {folder} --model acme/Tiny-1B --quant onnx-int4" in recipe.measure.text
    assert "--context 6144 --threads 7" in recipe.measure.text
    assert f"-o {folder}" in step(recipe, "In one line, with GPTQ").text


def test_olive_is_offered_for_int8_on_a_cpu_only(build: Callable[..., Recipe]) -> None:
    passes = json.loads(build("onnx-genai", SERVER).files["olive-int8.json"])["passes"]
    assert [one["type"] for one in passes.values()] == ["ModelBuilder", "OnnxDynamicQuantization"]
    assert "olive-int8.json" not in build("onnx-genai", RTX, "cuda").files


@pytest.mark.parametrize("target", olive.TARGETS)
def test_before_and_after_are_measured_on_one_kind_of_processor(target: str) -> None:
    script = olive.before_after_script("acme/Tiny-1B", "made", target)
    ast.parse(script)
    assert ('"made", "cuda"' in script) == (target == "cuda")
    run = olive.run_script("made", target, 1024, 4)
    ast.parse(run)
    assert ("register_execution_provider_library" in script) == ("register_execution_provider_library" in run)
    assert ("onnxruntime_qnn" in run) == (target == "qualcomm")


def test_a_package_that_replaces_onnxruntime_is_installed_after_it() -> None:
    first, then = olive.TARGETS["intel"].install.split(" &&\n")
    assert "onnxruntime-openvino" not in first
    assert then == "pip install --force-reinstall --no-deps onnxruntime-openvino"


# ── Foundry Local ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("device", "accelerator", "kind"),
    [(SNAPDRAGON, "npu", "NPU"), (RTX, "cuda", "GPU"), (MAC, "webgpu", "GPU"), (SERVER, "cpu", "CPU")],
)
def test_foundry_local_is_asked_for_the_variant_of_the_picks_processor(
    device: str, accelerator: str, kind: str, build: Callable[..., Recipe]
) -> None:
    recipe = build("foundry-local", device, accelerator)
    for file_name in ("serve.py", "chat.py"):
        assert f'device_type == "{kind}"' in recipe.files[file_name]
    sound(recipe)


def test_foundry_local_says_which_variant_the_npu_gets_and_how_far_it_goes(
    build: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any("No variant of acme/Tiny-1B" in note for note in build("foundry-local", SNAPDRAGON, "npu").notes)
    rows = (
        tables.NpuModel("intel", "published", "tiny-intel", None),
        tables.NpuModel("qualcomm", "published", "t", 4224),
    )
    monkeypatch.setattr(tables, "npu_models", lambda runtime_id: {"acme/Tiny-1B": rows})
    notes = build("foundry-local", SNAPDRAGON, "npu").notes
    assert notes[0] == "On this NPU it is t, which was compiled for a context of 4224 tokens, not for 6144"
    assert build("foundry-local", INTEL, "npu").notes[0] == "On this NPU it is tiny-intel"


def test_foundry_locals_commands_name_the_alias(build: Callable[..., Recipe]) -> None:
    recipe = build("foundry-local", SNAPDRAGON)
    assert step(recipe, "In a terminal").text == "foundry model run tiny-1b"
    assert step(recipe, "Install").text == "winget install Microsoft.FoundryLocal"
    assert step(recipe, "In a terminal").language == "powershell"
    assert "foundry service status" in step(recipe, "The CLI's own server").text


def test_check_and_measurement_name_the_variant_that_runs(build: Callable[..., Recipe]) -> None:
    there = build("foundry-local", SERVER)
    assert '--served "$(cat model-id.txt)"' in there.measure.text
    assert there.measure.language == there.check.language == "bash"
    windows = build("foundry-local", SNAPDRAGON)
    assert "--served (Get-Content model-id.txt)" in windows.measure.text
    assert "' + (Get-Content model-id.txt) + '" in windows.check.text
    assert windows.measure.language == windows.check.language == "powershell"


# ── Azure AI Foundry ─────────────────────────────────────────────────────────────────────────────────────────


def test_azure_is_deployed_called_checked_and_measured_under_one_name(build: Callable[..., Recipe]) -> None:
    recipe = build("azure-ai-foundry", SERVER)
    assert "--deployment-name Tiny-1B-instruct" in step(recipe, "Deploy").text
    assert 'model="Tiny-1B-instruct"' in recipe.files["call.py"]
    assert '"model": "Tiny-1B-instruct"' in recipe.check.text
    assert "--served Tiny-1B-instruct" in recipe.measure.text
    assert "--key-variable AZURE_OPENAI_API_KEY" in recipe.measure.text
    assert "registries/{registry}/models/Tiny-1B-instruct" in recipe.files["deploy.py"]


def test_what_comes_with_azure_is_named(build: Callable[..., Recipe]) -> None:
    recipe = build("azure-ai-foundry", SERVER)
    assert '--role "Cognitive Services User"' in step(recipe, "Who may use it").text
    logs = shlex.split(step(recipe, "Keep a log of calls").text)[-1]
    assert {one["category"] for one in json.loads(logs)} == {"Audit", "RequestResponse"}
    assert "az monitor activity-log list" in step(recipe, "What was changed").text
    assert any("service-level agreement" in note for note in recipe.notes)


def test_azures_texts_are_powershell_on_windows(build: Callable[..., Recipe]) -> None:
    recipe = build("azure-ai-foundry", RTX)
    for one in recipe.every_step:
        assert one.language in ("powershell", "python")
        if one.language == "powershell":
            assert "export " not in one.text
            assert " \\\n" not in one.text
            assert not re.search(r"^[A-Z_]+=", one.text, re.MULTILINE)
    assert '$env:AZURE_OPENAI_BASE_URL = "https://' in step(recipe, "Address and key").text
    assert '"$env:AZURE_OPENAI_BASE_URL/chat/completions"' in recipe.check.text
    assert "$VERSION = " in step(recipe, "Deploy").text


@pytest.mark.parametrize(
    ("azure_id", "expected"),
    [("Meta-Llama-3.1-8B-Instruct", "meta-llama-3-1-8b-instruct"), ("a" * 31 + ".b", "a" * 31)],
)
def test_an_endpoints_name_has_only_what_azure_allows(
    azure_id: str, expected: str, build: Callable[..., Recipe]
) -> None:
    script = build("azure-ai-foundry", SERVER, azure_id=azure_id).files["deploy.py"]
    assert f'name="{expected}"' in script


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("device", [SNAPDRAGON, RTX, SERVER])
def test_a_hostile_name_reaches_no_recipe(name: str, device: str, build: Callable[..., Recipe]) -> None:
    hostile = {
        "onnx-genai": ({"base_repo": f"acme/{name}"}, {"model_id": f"acme/{name}"}),
        "foundry-local": ({"foundry_alias": name}, {"model_id": f"acme/{name}"}),
        "azure-ai-foundry": ({"azure_id": name}, {"model_id": f"acme/{name}"}),
    }
    for runtime_id, cases in hostile.items():
        for names in cases:
            with pytest.raises(BadInputError):
                build(runtime_id, device, **names)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_quantization_reaches_no_recipe(name: str, make_pick: MakePick, make_model: MakeModel) -> None:
    for runtime_id in ("onnx-genai", "foundry-local"):
        pick, model = make_pick(runtime_id, name), make_model("onnx", **NAMES[runtime_id])
        with pytest.raises(BadInputError):
            runtime(runtime_id).recipe(pick, model, preset(SERVER), "cpu")


@pytest.mark.parametrize("device", [SNAPDRAGON, INTEL, RYZEN, RTX, MAC, SERVER])
def test_every_model_of_the_catalog_has_a_sound_recipe_with_names_of_the_catalog(
    device: str, catalog: Catalog, make_pick: MakePick
) -> None:
    machine = preset(device)
    models = {model.model_id: model for model in catalog.models()}
    rows = (
        catalog.cursor()
        .execute("SELECT model_id, format, quantization, runtime FROM candidates WHERE support <> 'no'")
        .fetchall()
    )
    built = 0
    for model_id, format, quantization, runtime_id in rows:
        if runtime_id not in QUANTIZATIONS:
            continue
        row, how = models[model_id], runtime(runtime_id)
        variant = _Variant(format)
        for accelerator in how.accelerators_for(machine):
            pick = make_pick(runtime_id, quantization or None, model_id)
            recipe = how.recipe(pick, RuntimeModel.of(row, variant), machine, accelerator)
            sound(recipe)
            known = {
                "onnx-genai": model_id,
                "foundry-local": row.onnx_foundry_local_alias,
                "azure-ai-foundry": row.azure_catalog_id,
            }[runtime_id]
            assert known
            assert known in recipe.markdown()
            built += 1
    assert built > 150


class _Variant:
    repo = file = ""

    def __init__(self, format: str) -> None:
        self.format = format


@pytest.mark.parametrize("runtime_id", QUANTIZATIONS)
def test_bash_takes_the_texts(runtime_id: str, build: Callable[..., Recipe]) -> None:
    for one in build(runtime_id, SERVER).every_step:
        if one.language == "bash":
            subprocess.run(["bash", "-n"], input=one.text, text=True, check=True)
