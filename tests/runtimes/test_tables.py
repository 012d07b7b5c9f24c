from __future__ import annotations

import csv
import re

import pytest

from recommender import paths
from recommender.runtimes import all_runtimes, tables

FIELD_GUIDE = {
    "llama.cpp",
    "ollama",
    "vllm",
    "mlx",
    "onnx-genai",
    "foundry-local",
    "azure-ai-foundry",
    "bitnet.cpp",
    "transformers",
    "wllama",
    "webllm",
    "lm-studio",
    "docker-model-runner",
    "litert-lm",
    "lemonade",
}
OUR_FILES = (
    "runtimes.csv",
    "runtime_formats.csv",
    "runtime_architectures.csv",
    "runtime_platforms.csv",
    "runtime_models.csv",
    "runtime_npu_models.csv",
    "runtime_batching.csv",
)
FORMATS = {"gguf", "mlx", "onnx", "safetensors", "mlc", "litert", "managed"}


def rows(name: str) -> list[dict[str, str]]:
    with (paths.catalog_dir() / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_every_system_of_the_field_guide_has_a_row_and_a_module() -> None:
    assert {row["id"] for row in rows("runtimes.csv")} == FIELD_GUIDE
    assert {runtime.id for runtime in all_runtimes()} == FIELD_GUIDE


@pytest.mark.parametrize("name", OUR_FILES[1:-1])
def test_rows_speak_only_of_known_runtimes(name: str) -> None:
    assert {row["runtime"] for row in rows(name)} <= FIELD_GUIDE


@pytest.mark.parametrize("name", OUR_FILES)
def test_every_row_has_a_source_that_anyone_can_look_up(name: str) -> None:
    for row in rows(name):
        assert row["source"].strip(), row
        assert not re.search(r"pypi\.org|npmjs\.com|(^|\s)/\w+/", row["source"]), row["source"]


@pytest.mark.parametrize("name", OUR_FILES)
def test_cells_are_trimmed_and_hold_one_line(name: str) -> None:
    for row in rows(name):
        for value in row.values():
            assert value == value.strip()
            assert "\n" not in value


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("runtimes.csv", ("id",)),
        ("runtime_formats.csv", ("runtime", "format", "quantization")),
        ("runtime_architectures.csv", ("runtime", "architecture")),
        ("runtime_platforms.csv", ("runtime", "os", "arch", "accelerator")),
        ("runtime_models.csv", ("runtime", "model_id", "format", "quantization")),
        ("runtime_models.csv", ("runtime", "name")),
        ("runtime_npu_models.csv", ("runtime", "model_id", "npu")),
        ("runtime_batching.csv", ("engine", "users", "hardware", "model")),
    ],
)
def test_no_fact_is_stated_twice(name: str, key: tuple[str, ...]) -> None:
    keys = [tuple(row[column] for column in key) for row in rows(name)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", ["runtime_formats.csv", "runtime_architectures.csv", "runtime_platforms.csv"])
def test_support_is_yes_experimental_or_no_and_a_no_says_why(name: str) -> None:
    for row in rows(name):
        assert row["support"] in {"yes", "experimental", "no"}
        if row["support"] == "no":
            assert row["note"], row


def test_yes_and_no_columns_hold_nothing_else() -> None:
    plain = ("managed", "offline", "many_users", "experimental", "own_conversion", "browser", "gui", "try_here")
    for row in rows("runtimes.csv"):
        assert {row[name] for name in plain} <= {"yes", "no"}
        assert {row[name] for name in ("sla", "audit", "rbac", "support")} <= {"yes", "no", "conditions"}


def test_formats_are_those_of_the_catalog_and_only_a_managed_one_has_no_quantization() -> None:
    for row in rows("runtime_formats.csv"):
        assert row["format"] in FORMATS
        assert bool(row["quantization"]) == (row["format"] != "managed")


def test_every_runtime_has_a_format_an_architecture_and_a_platform() -> None:
    for name in OUR_FILES[1:4]:
        assert {row["runtime"] for row in rows(name) if row["support"] != "no"} == FIELD_GUIDE, name


def test_llama_cpp_takes_a_stand_on_every_architecture_in_the_catalog() -> None:
    known = {row["architecture"] for row in rows("runtime_architectures.csv") if row["runtime"] == "llama.cpp"}
    assert {row["architecture"] for row in rows("models.csv")} - {""} <= known


def test_architectures_are_ids_that_the_models_use() -> None:
    used = {row["architecture"] for row in rows("models.csv")}
    assert {row["architecture"] for row in rows("runtime_architectures.csv")} <= used


def test_published_names_belong_to_models_of_the_catalog_in_formats_their_runtime_takes() -> None:
    models = {row["model_id"] for row in rows("models.csv")}
    for row in rows("runtime_models.csv"):
        assert row["model_id"] in models
        taken = tables.format_row(row["runtime"], row["format"], row["quantization"])
        assert taken is not None
        assert taken.support != "no"


def test_an_ollama_tag_says_the_quantization_it_stands_for() -> None:
    for row in rows("runtime_models.csv"):
        if row["runtime"] == "ollama":
            said = row["name"].rpartition("-")[2].upper().replace("FP16", "F16")
            assert said == row["quantization"]


def test_a_model_published_for_ollama_in_two_sizes_has_two_tags() -> None:
    small = tables.published("ollama", "Qwen/Qwen3-0.6B", "gguf", "Q4_K_M")
    large = tables.published("ollama", "Qwen/Qwen3-4B", "gguf", "Q4_K_M")
    assert small is not None
    assert large is not None
    assert (small.name, large.name) == ("qwen3:0.6b-q4_K_M", "qwen3:4b-q4_K_M")


def test_bitnet_weights_go_to_bitnet_cpp_and_never_to_ollama_or_stock_llama_cpp() -> None:
    takers = {
        row["runtime"]
        for row in rows("runtime_formats.csv")
        if row["quantization"] == "I2_S" and row["support"] != "no"
    }
    assert takers == {"bitnet.cpp"}
    assert tables.architecture_support("ollama", "bitnet")[0] == "no"
    assert tables.architecture_support("bitnet.cpp", "bitnet")[0] == "yes"


def test_iq_types_are_not_for_the_browser() -> None:
    browser = [row for row in rows("runtime_formats.csv") if row["runtime"] == "wllama"]
    iq = [row["support"] for row in browser if row["quantization"].startswith("IQ")]
    assert iq
    assert set(iq) == {"no"}


def test_only_the_managed_service_promises_an_sla() -> None:
    assert {row["id"] for row in rows("runtimes.csv") if row["sla"] == "yes"} == {"azure-ai-foundry"}
    assert {row["id"] for row in rows("runtimes.csv") if row["managed"] == "yes"} == {"azure-ai-foundry"}


def test_an_npu_variant_belongs_to_a_runtime_and_a_format_that_use_an_npu() -> None:
    models = {row["model_id"] for row in rows("models.csv")}
    uses_npu = {
        (row["runtime"], maker)
        for row in rows("runtime_platforms.csv")
        if row["accelerator"] == "npu"
        for maker in row["vendors"].split("|")
    }
    named = {row["runtime"] for row in rows("runtime_formats.csv") if "npu" in row["accelerators"].split("|")}
    for row in rows("runtime_npu_models.csv"):
        assert row["model_id"] in models
        assert (row["runtime"], row["npu"]) in uses_npu
        assert row["runtime"] in named
        assert not row["context_tokens"] or int(row["context_tokens"]) >= 1024
    assert {runtime for runtime, _ in uses_npu} == {row["runtime"] for row in rows("runtime_npu_models.csv")}


def test_accelerators_of_a_format_are_those_of_its_runtime() -> None:
    has: dict[str, set[str]] = {}
    for row in rows("runtime_platforms.csv"):
        has.setdefault(row["runtime"], set()).add(row["accelerator"])
    for row in rows("runtime_formats.csv"):
        assert set(filter(None, row["accelerators"].split("|"))) <= has[row["runtime"]], row


def test_a_browser_and_an_on_device_service_serve_one_user_and_a_number_of_users_has_its_source() -> None:
    for row in rows("runtimes.csv"):
        assert bool(row["users_max"]) == bool(row["users_max_source"])
        if row["browser"] == "yes":
            assert row["users_max"] == "1"
        if row["many_users"] == "yes":
            assert not row["users_max"]


def test_only_rocm_rows_list_amd_gpus_and_every_pattern_is_a_regular_expression() -> None:
    for row in rows("runtime_platforms.csv"):
        assert bool(row["amd_gpus"]) == (row["accelerator"] == "rocm")
        re.compile(row["amd_gpus"])


def test_fp8_needs_a_gpu_from_compute_capability_7_5() -> None:
    row = tables.format_row("vllm", "safetensors", "fp8")
    assert row is not None
    assert row.min_compute_capability == "7.5"
    assert row.accelerators == ("cuda", "rocm")


def test_a_missing_table_is_said_with_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from recommender.errors import CatalogError

    monkeypatch.setattr(paths, "catalog_dir", lambda: tmp_path)
    with pytest.raises(CatalogError, match=r"runtime_formats\.csv"):
        tables._read("runtime_formats.csv")
