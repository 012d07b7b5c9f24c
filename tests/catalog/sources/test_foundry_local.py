"""Foundry Local's catalog against a loopback server of its protocol, and beside the real engine asking the same one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog.sources.base import Entry, EntryFile, Progress
from recommender.catalog.sources.foundry_assets import Asset
from recommender.catalog.sources.foundry_local import FoundryLocalSource, entry_of
from recommender.errors import DownloadError
from tests.catalog.sources.azure_server import GALLERY, CatalogServer
from tests.catalog.sources.foundry_server import summary, variant


def silent(_: Progress) -> None:
    pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CatalogServer]:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with CatalogServer() as serving:
        yield serving


def entries(server: CatalogServer) -> list[Entry]:
    source = FoundryLocalSource(server.address(GALLERY))
    return [entry for batch in source.fetch("", silent) for entry in batch.entries]


def only(row: dict[str, Any]) -> Entry:
    found = entry_of(Asset(row))
    assert found is not None
    return found


def test_a_variant_tells_its_processor_alias_bytes_and_the_model_it_is(server: CatalogServer) -> None:
    server.rows = [variant()]
    (entry,) = entries(server)
    assert (entry.entry_id, entry.version, entry.name) == ("acme-1b-instruct-qnn-npu:2", "2", "Acme-1B-Instruct")
    assert (entry.source, entry.runtime, entry.format) == ("foundry-local", "foundry-local", "onnx")
    assert entry.accelerator == "npu/QNNExecutionProvider"
    assert entry.files == (EntryFile("acme-1b-instruct-qnn-npu", 1_234_567_890),)
    assert entry.memory_bytes == 1_500_000_000
    assert (entry.context_tokens, entry.tool_calling, entry.license_id) == (32768, "yes", "apache-2.0")
    assert (entry.created, entry.pipeline, entry.lifecycle) == ("2026-06-02", "text-generation", "current")
    assert entry.details["alias"] == "acme-1b"
    assert entry.details["quantized_by"] == "RTN"


@pytest.mark.parametrize(
    ("device", "provider"),
    [
        ("cpu", "CPUExecutionProvider"),
        ("gpu", "CUDAExecutionProvider"),
        ("gpu", "WebGpuExecutionProvider"),
        ("gpu", "NvTensorRTRTXExecutionProvider"),
        ("gpu", "OpenVINOExecutionProvider"),
        ("npu", "OpenVINOExecutionProvider"),
        ("npu", "QNNExecutionProvider"),
        ("npu", "VitisAIExecutionProvider"),
    ],
)
def test_every_processor_and_execution_provider_is_kept_apart(device: str, provider: str) -> None:
    assert only(variant(device=device.upper(), provider=provider)).accelerator == f"{device}/{provider}"


def test_a_row_of_the_short_form_is_read_as_well() -> None:
    entry = only(summary())
    assert (entry.entry_id, entry.name) == ("acme-1b-instruct-generic-cpu:4", "acme-1b-instruct")
    assert (entry.license_id, entry.context_tokens, entry.files[0].bytes) == ("mit", 4096, 99)
    assert entry.details["alias"] == "acme-1b"


@pytest.mark.parametrize(
    ("made_for", "name", "expected"),
    [
        ({"quantization": ["int4"]}, "a", "onnx-int4"),
        ({"quantization": ["RTN", "uint4"]}, "a", "onnx-int4"),
        ({"quantization": "INT8"}, "a", "onnx-int8"),
        ({"quantization": ["fp16"]}, "a", "onnx-fp16"),
        ({"quantization": ["AWQ"]}, "a", ""),
        ({}, "acme-1b-int4-rtn-cpu", "onnx-int4"),
        ({}, "acme-1b-q4f16-gpu", "onnx-int4"),
        ({}, "print4d-1b-cpu", ""),
        ({"quantization": ["point4you", "int48"]}, "a", ""),
    ],
)
def test_the_quantization_is_told_only_where_bits_are_named(made_for: dict[str, Any], name: str, expected: str) -> None:
    assert only(variant(name, made_for=made_for)).files[0].quantization == expected


def test_the_licences_address_names_the_base_only_where_it_is_the_models_own() -> None:
    own = "See <https://huggingface.co/acme/Acme-1B-instruct/blob/main/LICENSE>."
    other = "See https://huggingface.co/acme/Acme-Base/blob/main/LICENSE"
    assert only(variant(licenseDescription=own)).bases == ("acme/Acme-1B-instruct",)
    assert only(variant(licenseDescription=other)).bases == ()
    assert only(variant(tags={"huggingface_model_id": "acme/X"}, licenseDescription=own)).bases == ("acme/X",)


def test_without_a_parent_the_model_is_the_name_without_its_processor() -> None:
    assert only(variant("acme-1b-openvino-npu-2", parent="")).name == "acme-1b"
    assert only(variant("acme-npu", device="cpu", parent="")).name == "acme-npu"


@pytest.mark.parametrize(
    "row",
    [
        variant(device="tpu"),
        variant(name="../evil"),
        variant(name="<img src=x>"),
        variant(made_for={"modelType": "MLFLOW"}),
        variant(inferenceTasks=["automatic-speech-recognition"]),
        variant(made_for={"device": ["npu"]}),
        {"annotations": 5, "properties": [], "name": {}},
    ],
)
def test_what_is_no_variant_of_a_language_model_costs_only_itself(server: CatalogServer, row: dict[str, Any]) -> None:
    assert entry_of(Asset(row)) is None
    server.rows = [row, variant()]
    assert [entry.entry_id for entry in entries(server)] == ["acme-1b-instruct-qnn-npu:2"]


@pytest.mark.parametrize("hostile", ["<script>", "a\nb", 5, ["x"], {"a": 1}, "y" * 9999, -1, True, 10**30])
def test_a_hostile_field_is_dropped_and_the_variant_stays(hostile: Any) -> None:
    made_for = {"fileSizeBytes": hostile, "vRamFootprintBytes": hostile, "executionProvider": hostile}
    entry = only(
        variant(made_for=made_for, alias=hostile, textContextWindow=hostile, licenseDescription=hostile,
                publisher=hostile)
    )  # fmt: skip
    size = hostile if type(hostile) is int and 0 < hostile < 10**15 else None
    assert (entry.files[0].bytes, entry.memory_bytes, entry.context_tokens) == (size, size, size)
    assert entry.accelerator == "npu"
    assert "alias" not in entry.details


@given(st.dictionaries(st.sampled_from(["parents", "variantMetadata"]), st.none() | st.text() | st.lists(
    st.none() | st.text() | st.dictionaries(st.just("assetId"), st.none() | st.text() | st.integers()))))  # fmt: skip
def test_whatever_stands_for_the_variant_nothing_is_raised(info: dict[str, Any]) -> None:
    row = variant()
    row["properties"]["variantInfo"] |= info
    entry = entry_of(Asset(row))
    assert entry is None or entry.name


def test_it_asks_for_every_processor_as_the_engine_asks_for_one(server: CatalogServer) -> None:
    server.rows = [variant()]
    entries(server)
    ((path, headers, body),) = server.requests
    assert path == GALLERY
    assert headers["user-agent"] == "AzureAiStudio"
    assert headers["x-ms-use-full-service-contracts"] == "true"
    assert "authorization" not in headers
    assert body == {
        "filters": [
            {"field": "type", "operator": "eq", "values": ["models"]},
            {"field": "kind", "operator": "eq", "values": ["Versioned"]},
            {
                "field": "annotations/systemCatalogData/deploymentOptions",
                "operator": "eq",
                "values": ["Foundry Local on Devices"],
            },
            {"field": "annotations/archived", "operator": "NotEquals", "values": ["true"]},
            {"field": "labels", "operator": "eq", "values": ["latest"]},
        ],
        "pageSize": 50,
    }


def test_pages_follow_one_another_and_the_round_can_be_taken_up(server: CatalogServer) -> None:
    server.rows, server.page_rows = [variant(f"m{number}-qnn-npu") for number in range(5)], 2
    source = FoundryLocalSource(server.address(GALLERY))
    first, *_ = every = list(source.fetch("", silent))
    assert [len(batch.entries) for batch in every] == [2, 2, 1]
    assert [batch.complete for batch in every] == [False, False, True]
    rest = list(source.fetch(first.cursor, silent))
    assert [entry.entry_id for batch in rest for entry in batch.entries] == [
        "m2-qnn-npu:2",
        "m3-qnn-npu:2",
        "m4-qnn-npu:2",
    ]
    assert rest[-1].complete


def test_a_catalog_that_refuses_ends_in_a_sentence(server: CatalogServer) -> None:
    server.replies = [(403, {}, b"")]
    with pytest.raises(DownloadError, match=r"^The catalog of Foundry Local answered 403\."):
        entries(server)


# The engine is native code with threads of its own, so it gets its own process, as in life.
_ENGINE = """
import json, sys
from foundry_local_sdk import Configuration, FoundryLocalManager

FoundryLocalManager.initialize(
    Configuration(
        app_name="rightsize-test",
        app_data_dir=sys.argv[2],
        catalog_urls=[(sys.argv[1], None)],
        disable_nonessential_telemetry=True,
    )
)
found = [
    [v.info.id, v.info.alias, v.info.runtime.execution_provider, v.context_length, v.info.file_size_mb,
     v.supports_tool_calling, v.info.publisher]
    for model in FoundryLocalManager.instance.get_catalog().list_models()
    for v in model.variants
]
print("FOUND" + json.dumps(found))
"""


@pytest.mark.skipif(find_spec("foundry_local_sdk") is None, reason="foundry-local-sdk is not installed")
def test_the_real_engine_reads_the_same_variants_from_the_same_catalog(server: CatalogServer, tmp_path: Path) -> None:
    server.rows = [
        variant("acme-1b-instruct-generic-cpu", "cpu", "CPUExecutionProvider", version=7),
        variant("other-2b-generic-cpu", "cpu", "CPUExecutionProvider", alias="other-2b", supportsToolCalling=False),
        variant(),  # for an NPU, which this machine may not have
    ]
    ours = {entry.entry_id: entry for entry in entries(server)}
    done = subprocess.run(
        [sys.executable, "-c", _ENGINE, server.address(GALLERY), str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.partition("FOUND")[2])
    assert {variant_id for variant_id, *_ in found} >= {"acme-1b-instruct-generic-cpu:7", "other-2b-generic-cpu:2"}
    for variant_id, alias, provider, context_tokens, size_mib, tools, publisher in found:
        entry = ours[variant_id]
        assert entry.details["alias"] == alias
        assert entry.accelerator.endswith(f"/{provider}")
        assert (entry.context_tokens, entry.publisher) == (context_tokens, publisher)
        assert entry.tool_calling == ("yes" if tools else "no")
        assert (entry.files[0].bytes or 0) // 2**20 == size_mib
    # Its filters, but for the two that name this machine's own processor, are ours.
    asked = [body["filters"] for _, _, body in server.requests[1:]]
    assert asked
    for filters in asked:
        assert [one for one in filters if "variantMetadata" not in one["field"]] == server.requests[0][2]["filters"]
