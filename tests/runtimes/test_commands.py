from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from recommender import paths
from recommender.errors import BadInputError
from recommender.runtimes import RuntimeModel, all_runtimes, runtime, tables
from recommender.runtimes.gguf import tag_names_file
from recommender.types import Pick

MakePick = Callable[..., Pick]
MakeModel = Callable[..., RuntimeModel]

REPO = "acme/Tiny-1B-GGUF"
FILE = "Tiny-1B-Q4_K_M.gguf"
# One thing that each runtime can run, with the names the catalog would have for it.
RUNNABLE = {
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
GGUF_RUNTIMES = ("llama.cpp", "ollama", "wllama", "lm-studio", "docker-model-runner", "lemonade")
# The field of a model that a command of this runtime carries, so the one an attacker would fill.
NAMING_FIELDS = {
    "llama.cpp": ("repo", "file"),
    "ollama": ("repo", "file"),
    "vllm": ("base_repo",),
    "mlx": ("repo",),
    "onnx-genai": ("base_repo",),
    "foundry-local": ("foundry_alias",),
    "azure-ai-foundry": ("azure_id",),
    "bitnet.cpp": ("repo", "file"),
    "transformers": ("base_repo",),
    "wllama": ("repo", "file"),
    "lm-studio": ("repo",),
    "docker-model-runner": ("repo", "file"),
    "lemonade": ("repo", "file", "base_repo"),
}
HOSTILE = ["evil/x; rm -rf ~", "evil/$(reboot)", "evil/x`id`", "evil/x\nreboot", "evil/x' y", "--help", "evil/x|sh"]


@pytest.fixture
def case(make_pick: MakePick, make_model: MakeModel) -> Callable[[str], tuple[Pick, RuntimeModel]]:
    def make(runtime_id: str) -> tuple[Pick, RuntimeModel]:
        format, quantization, names = RUNNABLE[runtime_id]
        model = make_model(format, **names)
        return make_pick(runtime_id, quantization, model.model_id), model

    return make


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


@pytest.mark.parametrize("runtime_id", RUNNABLE)
def test_every_runtime_has_a_command_that_a_shell_can_read(runtime_id: str, case: Callable[..., object]) -> None:
    pick, model = case(runtime_id)  # type: ignore[misc]
    command = runtime(runtime_id).command(pick, model)
    assert words(command)
    assert shlex.split(command)
    assert all(ord(letter) >= 32 or letter == "\n" for letter in command)


def test_the_table_above_covers_every_runtime() -> None:
    assert set(RUNNABLE) == {each.id for each in all_runtimes()}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("runtime_id", NAMING_FIELDS)
def test_a_hostile_name_never_reaches_a_command(runtime_id: str, hostile: str, case: Callable[..., object]) -> None:
    pick, model = case(runtime_id)  # type: ignore[misc]
    for field in NAMING_FIELDS[runtime_id]:
        with pytest.raises(BadInputError):
            runtime(runtime_id).command(pick, replace(model, **{field: hostile}))


@pytest.mark.parametrize("hostile", ["Q4_K_M; reboot", "$(id)", "Q4 K", "`id`", "-x", "Q4\nid"])
@pytest.mark.parametrize("runtime_id", GGUF_RUNTIMES)
def test_a_hostile_quantization_never_reaches_a_command(
    runtime_id: str, hostile: str, case: Callable[..., object]
) -> None:
    pick, model = case(runtime_id)  # type: ignore[misc]
    with pytest.raises(BadInputError):
        runtime(runtime_id).command(replace(pick, quantization=hostile), model)


@pytest.mark.parametrize("runtime_id", GGUF_RUNTIMES)
def test_a_hostile_model_id_is_refused_where_the_weights_must_be_converted_first(
    runtime_id: str, make_pick: MakePick, make_model: MakeModel
) -> None:
    model = make_model("gguf", model_id="evil/x;id", base_repo="evil/x;id")
    with pytest.raises(BadInputError):
        runtime(runtime_id).command(make_pick(runtime_id, "Q4_K_M", "evil/x;id"), model)


def test_a_hostile_cache_type_never_reaches_a_command(make_pick: MakePick, make_model: MakeModel) -> None:
    pick = make_pick("llama.cpp", "Q4_K_M", kv_type="q8_0; id")
    for runtime_id in ("llama.cpp", "ollama"):
        with pytest.raises(BadInputError):
            runtime(runtime_id).command(pick, make_model("gguf", repo=REPO, file=FILE))


# ── llama.cpp ────────────────────────────────────────────────────────────────────────────────────────────────


def flags(command: str) -> dict[str, str]:
    found = words(command)
    return {word: found[place + 1] for place, word in enumerate(found) if word.startswith("-")}


def test_llama_server_gets_the_picks_own_numbers(make_pick: MakePick, make_model: MakeModel) -> None:
    command = runtime("llama.cpp").command(make_pick("llama.cpp", "Q4_K_M"), make_model("gguf", repo=REPO, file=FILE))
    assert words(command)[0] == "llama-server"
    given = flags(command)
    assert given["-hf"] == f"{REPO}:Q4_K_M"
    assert given["-c"] == "6144"
    assert given["-ngl"] == "13"
    assert given["-t"] == "7"
    assert given["-fa"] == "on"
    assert (given["-ctk"], given["-ctv"]) == ("q8_0", "q8_0")
    assert (given["-b"], given["-ub"]) == ("1024", "256")


def test_parallel_sequences_share_the_servers_context_so_it_is_their_sum(
    make_pick: MakePick, make_model: MakeModel
) -> None:
    pick = make_pick("llama.cpp", "Q4_K_M", parallel=4)
    given = flags(runtime("llama.cpp").command(pick, make_model("gguf", repo=REPO, file=FILE)))
    assert (given["-np"], given["-c"]) == ("4", str(4 * 6144))


def test_flags_that_repeat_a_default_are_left_out(make_pick: MakePick, make_model: MakeModel) -> None:
    pick = make_pick("llama.cpp", "Q4_K_M", kv_type="f16", batch_tokens=2048, ubatch_tokens=512, flash_attn=False)
    given = flags(runtime("llama.cpp").command(pick, make_model("gguf", repo=REPO, file=FILE)))
    assert not {"-ctk", "-ctv", "-b", "-ub"} & set(given)
    assert given["-fa"] == "off"


def test_a_file_on_this_machine_is_loaded_from_its_path(make_pick: MakePick, make_model: MakeModel) -> None:
    model = make_model("gguf", file="/home/me/My models/tiny.gguf")
    assert flags(runtime("llama.cpp").command(make_pick("llama.cpp", "Q4_K_M"), model))["-m"] == model.file


@pytest.mark.parametrize(
    ("runtime_id", "part"),
    [
        ("ollama", "FROM /home/me/My models/tiny.gguf"),
        ("lm-studio", "lms import --copy --yes '/home/me/My models/tiny.gguf'"),
        ("lemonade", "cp '/home/me/My models/tiny.gguf' extra-models/"),
        ("vllm", "vllm serve '/home/me/My models/tiny.gguf'"),
        ("docker-model-runner", "--gguf '/home/me/My models/tiny.gguf'"),
        ("wllama", "--split-max-size 512M '/home/me/My models/tiny.gguf'"),
    ],
)
def test_every_runtime_takes_a_file_of_one_s_own_as_it_is(
    make_pick: MakePick, make_model: MakeModel, runtime_id: str, part: str
) -> None:
    model = replace(make_model("gguf", file="/home/me/My models/tiny.gguf"), base_repo="")
    command = runtime(runtime_id).command(make_pick(runtime_id, "Q4_K_M"), model)
    assert part in command
    assert "convert_hf_to_gguf" not in command
    assert "hf download" not in command


@pytest.mark.parametrize(
    ("file", "quantization", "sure"),
    [
        ("Tiny-Q4_K_M.gguf", "Q4_K_M", True),
        ("tiny.q4_k_m.gguf", "Q4_K_M", True),
        ("Q8_0/Tiny-Q8_0-00001-of-00002.gguf", "Q8_0", True),
        ("Tiny-UD-Q4_K_M.gguf", "Q4_K_M", False),
        ("Tiny-F16.gguf", "F16", False),
        ("Tiny-BF16.gguf", "BF16", True),
        ("ggml-model-i2_s.gguf", "I2_S", True),
        ("gemma-4-E2B-it-qat.gguf", "Q4_0", False),
    ],
)
def test_a_quantization_tag_is_used_only_where_it_can_fetch_no_other_file(
    file: str, quantization: str, sure: bool
) -> None:
    assert tag_names_file(file, quantization) is sure


def test_a_file_that_its_tag_would_not_fetch_is_named_in_full(make_pick: MakePick, make_model: MakeModel) -> None:
    model = make_model("gguf", repo=REPO, file="Tiny-1B-F16.gguf")
    given = flags(runtime("llama.cpp").command(make_pick("llama.cpp", "F16"), model))
    assert (given["-hf"], given["-hff"]) == (REPO, "Tiny-1B-F16.gguf")
    assert f"hf.co/{REPO}:Tiny-1B-F16.gguf" in runtime("ollama").command(make_pick("ollama", "F16"), model)


def test_without_a_published_file_the_original_weights_are_converted(
    make_pick: MakePick, make_model: MakeModel
) -> None:
    command = runtime("llama.cpp").command(make_pick("llama.cpp", "Q5_1"), make_model("gguf"))
    steps = [words(step) for step in command.split("&&")]
    assert [step[0] for step in steps] == ["hf", "python", "llama-quantize", "llama-server"]
    assert steps[0][2] == "acme/Tiny-1B"
    assert steps[2][-1] == "Q5_1"
    assert steps[2][2] == steps[3][2] == "Tiny-1B-Q5_1.gguf"


def test_a_type_the_converter_writes_itself_takes_one_step_less(make_pick: MakePick, make_model: MakeModel) -> None:
    command = runtime("llama.cpp").command(make_pick("llama.cpp", "TQ1_0"), make_model("gguf"))
    assert "llama-quantize" not in command
    assert "--outtype tq1_0" in command


def test_pieces_of_a_split_file_are_fetched_by_their_quantization() -> None:
    model = RuntimeModel.of(MODELS["Qwen/Qwen2.5-14B-Instruct"], Variant("gguf", REPO, "tiny-q8_0-*.gguf (split)"))
    assert (model.repo, model.file) == (REPO, "")


def test_a_file_on_a_download_site_is_not_passed_off_as_one_on_the_hub() -> None:
    model = RuntimeModel.of(MODELS["meta-llama/Meta-Llama-3-8B-Instruct"], Variant("gguf", "example.org", "x.gguf"))
    assert (model.repo, model.file) == ("", "")


@pytest.mark.parametrize(("quantization", "needed"), [("IQ2_XXS", True), ("Q2_K_S", True), ("IQ4_XS", False)])
def test_the_smallest_types_are_made_with_an_importance_matrix(
    quantization: str, needed: bool, make_pick: MakePick, make_model: MakeModel
) -> None:
    command = runtime("llama.cpp").command(make_pick("llama.cpp", quantization), make_model("gguf"))
    assert ("llama-imatrix" in command) is needed
    assert ("--imatrix" in command) is needed


# ── the others ───────────────────────────────────────────────────────────────────────────────────────────────


def test_ollama_is_given_its_own_tag_only_where_it_is_the_same_quantization(
    make_pick: MakePick, make_model: MakeModel
) -> None:
    names = {"model_id": "Qwen/Qwen3-0.6B", "base_repo": "Qwen/Qwen3-0.6B", "repo": "unsloth/Qwen3-0.6B-GGUF"}
    own = runtime("ollama").command(make_pick("ollama", "Q8_0", "Qwen/Qwen3-0.6B"), make_model("gguf", **names))
    other = runtime("ollama").command(make_pick("ollama", "Q5_1", "Qwen/Qwen3-0.6B"), make_model("gguf", **names))
    assert own.endswith("ollama run qwen3:0.6b-q8_0")
    assert other.endswith("ollama run hf.co/unsloth/Qwen3-0.6B-GGUF:Q5_1")


def test_ollamas_server_is_told_the_context_because_its_default_is_short(
    make_pick: MakePick, make_model: MakeModel
) -> None:
    model = make_model("gguf", repo=REPO, file=FILE)
    command = runtime("ollama").command(make_pick("ollama", "Q4_K_M", parallel=3), model)
    serve = words(command.splitlines()[0])
    assert {"OLLAMA_CONTEXT_LENGTH=6144", "OLLAMA_NUM_PARALLEL=3", "OLLAMA_KV_CACHE_TYPE=q8_0"} <= set(serve)


def test_vllm_serves_the_original_weights_with_the_picks_context(make_pick: MakePick, make_model: MakeModel) -> None:
    command = runtime("vllm").command(make_pick("vllm", "bf16", parallel=32), make_model("safetensors"))
    assert words(command)[:3] == ["vllm", "serve", "acme/Tiny-1B"]
    given = flags(command)
    assert (given["--max-model-len"], given["--max-num-seqs"]) == ("6144", "32")
    assert given["--kv-cache-dtype"] == "fp8"


def test_bitnet_cpp_unpacks_into_the_folder_its_set_up_script_knows(make_pick: MakePick) -> None:
    model = RuntimeModel.of(MODELS["microsoft/bitnet-b1.58-2B-4T"], Variant("gguf"))
    command = runtime("bitnet.cpp").command(make_pick("bitnet.cpp", "I2_S", model.model_id), model)
    assert "setup_env.py -md models/BitNet-b1.58-2B-4T -q i2_s" in command
    assert "-m models/BitNet-b1.58-2B-4T/ggml-model-i2_s.gguf" in command


def test_vllm_makes_fp8_itself_but_refuses_awq_that_nobody_published(
    make_pick: MakePick, make_model: MakeModel
) -> None:
    assert "--quantization fp8" in runtime("vllm").command(make_pick("vllm", "fp8"), make_model("safetensors"))
    with pytest.raises(BadInputError, match="awq-int4"):
        runtime("vllm").command(make_pick("vllm", "awq-int4"), make_model("safetensors"))
    published = make_model("safetensors", repo="acme/Tiny-1B-AWQ")
    assert "acme/Tiny-1B-AWQ" in runtime("vllm").command(make_pick("vllm", "awq-int4"), published)


@pytest.mark.parametrize(
    ("quantization", "name"),
    [("mlx-4bit", "Tiny-1B-4bit"), ("mlx-8bit", "Tiny-1B-8bit"), ("mlx-bf16", "Tiny-1B-bf16")],
)
def test_mlx_repositories_carry_their_precision_in_their_name(
    quantization: str, name: str, make_pick: MakePick, make_model: MakeModel
) -> None:
    model = make_model("mlx", mlx_repo="mlx-community/Tiny-1B-{quantization}")
    command = runtime("mlx").command(make_pick("mlx", quantization), model)
    assert flags(command)["--model"] == f"mlx-community/{name}"


def test_mlx_converts_where_no_listed_repository_has_the_precision(make_pick: MakePick, make_model: MakeModel) -> None:
    model = make_model("mlx", mlx_repo="acme/Tiny-1B-MLX;mlx-community/Tiny-1B-8bit")
    command = runtime("mlx").command(make_pick("mlx", "mlx-4bit"), model)
    assert "mlx_lm.convert --hf-path acme/Tiny-1B" in command
    assert "--q-bits 4" in command
    assert "acme/Tiny-1B-MLX" not in command


@pytest.mark.parametrize(
    ("accelerator", "provider"),
    [("cpu", "CPUExecutionProvider"), ("cuda", "CUDAExecutionProvider"), ("npu", "QNNExecutionProvider")],
)
def test_olive_optimizes_for_the_accelerator_it_will_run_on(
    accelerator: str, provider: str, make_pick: MakePick, make_model: MakeModel
) -> None:
    command = runtime("onnx-genai").command(make_pick("onnx-genai", "onnx-int4"), make_model("onnx"), accelerator)
    assert flags(command)["--provider"] == provider
    assert flags(command)["--precision"] == "int4"


def test_olives_output_folder_has_no_dot_that_it_would_take_for_a_files_suffix(
    make_pick: MakePick, make_model: MakeModel
) -> None:
    model = make_model("onnx", base_repo="Qwen/Qwen3-0.6B")
    command = runtime("onnx-genai").command(make_pick("onnx-genai", "onnx-int4"), model)
    folder = flags(command)["-o"]
    assert "." not in folder
    assert f"og.Model('{folder}')" in words(command)[-1]


def test_the_python_line_after_olive_is_valid_python(make_pick: MakePick, make_model: MakeModel) -> None:
    command = runtime("onnx-genai").command(make_pick("onnx-genai", "onnx-int4"), make_model("onnx"))
    code = words(command)[-1]
    compile(code, "<command>", "exec")
    assert "max_length=6144" in code


def test_foundry_local_refuses_a_model_outside_its_catalog(make_pick: MakePick, make_model: MakeModel) -> None:
    with pytest.raises(BadInputError, match="own catalog"):
        runtime("foundry-local").command(make_pick("foundry-local", "onnx-int4"), make_model("onnx"))


def test_azure_is_asked_for_the_version_instead_of_guessing_one(make_pick: MakePick, make_model: MakeModel) -> None:
    command = runtime("azure-ai-foundry").command(
        make_pick("azure-ai-foundry", None), make_model("managed", azure_id="Phi-4-mini-instruct")
    )
    assert "--model-name Phi-4-mini-instruct" in command
    assert 'account list-models -g "$RESOURCE_GROUP" -n "$ACCOUNT"' in command
    assert '--model-version "$VERSION"' in command


@pytest.mark.parametrize("runtime_id", ["webllm", "litert-lm"])
def test_runtimes_with_builds_of_their_own_refuse_models_they_have_none_of(
    runtime_id: str, make_pick: MakePick, make_model: MakeModel
) -> None:
    format, quantization, _ = RUNNABLE[runtime_id]
    model = make_model(format)
    assert "no published build" in runtime(runtime_id).model_reason(model, str(quantization))
    with pytest.raises(BadInputError):
        runtime(runtime_id).command(make_pick(runtime_id, quantization), model)


def test_lemonade_runs_amds_build_on_the_npu(make_pick: MakePick, make_model: MakeModel) -> None:
    model = make_model("onnx", model_id="Qwen/Qwen3-8B", base_repo="Qwen/Qwen3-8B")
    command = runtime("lemonade").command(make_pick("lemonade", "onnx-int4", "Qwen/Qwen3-8B"), model)
    assert command == "lemonade run Qwen3-8B-Hybrid --ctx-size 6144"


def test_a_managed_pick_has_no_settings_and_a_device_runtime_says_so(
    make_pick: MakePick, make_model: MakeModel
) -> None:
    pick = replace(make_pick("llama.cpp", "Q4_K_M"), settings=None)
    with pytest.raises(BadInputError, match="settings"):
        runtime("llama.cpp").command(pick, make_model("gguf", repo=REPO, file=FILE))


# ── over the whole catalog ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Row:
    model_id: str
    mlx_repo: str
    onnx_foundry_local_alias: str
    azure_catalog_id: str
    n_head: int | None = None
    n_head_kv: int | None = None


@dataclass(frozen=True)
class Variant:
    format: str
    repo: str = ""
    file: str = ""


def catalog_rows(name: str) -> list[dict[str, str]]:
    with (paths.catalog_dir() / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


MODELS = {
    row["model_id"]: Row(**{name: row[name] for name in Row.__dataclass_fields__}) for row in catalog_rows("models.csv")
}


def test_every_known_file_has_a_safe_command_in_every_gguf_runtime(make_pick: MakePick) -> None:
    known = [
        row
        for row in catalog_rows("gguf_files.csv")
        if row["model_id"] in MODELS and row["gguf_repo"] and row["kind"] == "model" and row["split_count"] in ("", "1")
    ]
    assert len(known) > 1000
    for row in known:
        model = RuntimeModel.of(MODELS[row["model_id"]], Variant("gguf", row["gguf_repo"], row["file"]))
        for runtime_id in GGUF_RUNTIMES:
            command = runtime(runtime_id).command(make_pick(runtime_id, row["quant"], row["model_id"]), model)
            assert words(command)


def test_every_published_name_is_in_its_command(make_pick: MakePick) -> None:
    for row in catalog_rows("runtime_models.csv"):
        model = RuntimeModel.of(MODELS[row["model_id"]], Variant(row["format"]))
        pick = make_pick(row["runtime"], row["quantization"], row["model_id"])
        command = runtime(row["runtime"]).command(pick, model)
        assert (row["file"] or row["name"]) in command


def test_every_model_with_an_alias_or_a_catalog_id_has_its_command(make_pick: MakePick) -> None:
    for row in MODELS.values():
        if row.onnx_foundry_local_alias:
            model = RuntimeModel.of(row, Variant("onnx"))
            command = runtime("foundry-local").command(make_pick("foundry-local", "onnx-int4"), model)
            assert command == f"foundry model run {row.onnx_foundry_local_alias}"
        if row.azure_catalog_id:
            model = RuntimeModel.of(row, Variant("managed"))
            assert row.azure_catalog_id in runtime("azure-ai-foundry").command(
                make_pick("azure-ai-foundry", None), model
            )


def test_every_format_a_runtime_takes_has_a_command_for_a_model_it_can_have(make_pick: MakePick) -> None:
    for row in catalog_rows("runtime_formats.csv"):
        if row["support"] == "no" or row["format"] == "managed":
            continue
        each = runtime(row["runtime"])
        for model_row in list(MODELS.values())[:8]:
            model = RuntimeModel.of(model_row, Variant(row["format"]))
            if each.model_reason(model, row["quantization"]):
                continue
            command = each.command(make_pick(row["runtime"], row["quantization"], model.model_id), model)
            assert words(command)


def test_no_model_is_offered_to_ollama_that_only_bitnet_cpp_can_load() -> None:
    for row in catalog_rows("models.csv"):
        if row["architecture"] == "bitnet":
            assert runtime("ollama").architecture_reason("bitnet")
            assert runtime("bitnet.cpp").architecture_reason("bitnet") == ""
    assert tables.format_row("bitnet.cpp", "gguf", "Q4_0") is None
