"""Azure's catalog against a loopback server of its protocol, and its registry through the real azure-ai-ml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog.entries import open_entries
from recommender.catalog.sources import azure_registry, foundry_catalog
from recommender.catalog.sources.azure_ai_foundry import AzureSource, entry_of
from recommender.catalog.sources.base import Batch, Entry, Progress
from recommender.catalog.sources.foundry_assets import Asset
from recommender.errors import Cancelled, DownloadError
from tests.catalog.sources.azure_server import CatalogServer, RegistryServer, model, registry_model


def silent(_: Progress) -> None:
    pass


def visitor() -> None:
    """Nobody is signed in."""


@pytest.fixture
def server() -> Iterator[CatalogServer]:
    with CatalogServer() as serving:
        yield serving


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foundry_catalog, "FIRST_WAIT_S", 0.001)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def batches(server: CatalogServer, cursor: str = "") -> list[Batch]:
    return list(AzureSource(server.address(), visitor).fetch(cursor, silent))


def entries(server: CatalogServer) -> list[Entry]:
    return [entry for batch in batches(server) for entry in batch.entries]


def only(row: dict[str, Any]) -> Entry:
    found = entry_of(Asset(row))
    assert found is not None
    return found


# ── what an entry tells ──────────────────────────────────────────────────────────────────────────────────────


def test_a_model_comes_with_its_licence_tasks_limits_regions_and_ways_to_deploy_it(server: CatalogServer) -> None:
    server.rows = [
        model(
            "Acme-4-mini-instruct",
            license="MIT",
            languages=["en", "de", "multilingual"],
            textContextWindow=131072,
            maxOutputTokens=4096,
            modelCapabilities=["streaming", "tool-calling", "reasoning"],
            tags={"huggingface_model_id": "acme/Acme-4-mini-instruct"},
            row={
                "deploymentSku": [
                    {"name": "GlobalStandard", "locations": ["SwedenCentral", "eastus2"]},
                    {"name": "ProvisionedManaged", "locations": ["eastus2"]},
                ]
            },
        )
    ]
    (entry,) = entries(server)
    assert (entry.source, entry.entry_id, entry.version) == ("azure-ai-foundry", "Acme-4-mini-instruct", "3")
    assert (entry.format, entry.relation) == ("managed", "service")
    assert entry.bases == ("acme/Acme-4-mini-instruct",)
    assert (entry.publisher, entry.license_id, entry.pipeline) == ("Acme", "mit", "text-generation")
    assert (entry.context_tokens, entry.tool_calling, entry.thinking) == (131072, "yes", "")
    assert entry.languages == ("en", "de")
    assert (entry.created, entry.modified, entry.lifecycle) == ("2026-03-04", "2026-04-05", "current")
    assert entry.url == "https://ai.azure.com/explore/models/Acme-4-mini-instruct/version/3/registry/azureml"
    assert entry.details == {
        "registry": "azureml",
        "version": "3",
        "deployment_types": "GlobalStandard, ProvisionedManaged",
        "regions": "eastus2, swedencentral",
        "output_tokens": "4096",
        "reasoning": "yes",
    }


def test_older_rows_have_in_their_tags_what_newer_ones_have_in_their_catalog_data() -> None:
    row = model("Old", tags={"license": "Apache-2.0", "task": "chat-completion", "textContextWindow": "16384",
                             "languages": "en,fr", "Preview": ""})  # fmt: skip
    row["annotations"]["systemCatalogData"] = None
    entry = only(row)
    assert (entry.license_id, entry.context_tokens, entry.publisher) == ("apache-2.0", 16384, "Acme")
    assert (entry.pipeline, entry.languages, entry.lifecycle) == ("text-generation", ("en", "fr"), "preview")


def test_a_flat_row_is_read_as_well() -> None:
    entry = only(
        {
            "name": "Flat",
            "version": "2026-08-01",
            "registryName": "azureml-acme",
            "publisher": "Acme",
            "createdTime": "2026-08-27T21:16:05.9760599+00:00",
            "inferenceTasks": ["messages"],
            "lifecycle": "Preview",
            "deprecation": {"inferenceRetirementDate": "2999-01-01T00:00:00Z"},
            "modelLimits": {"textLimits": {"inputContextWindow": 1000000}, "supportedLanguages": ["en", "ja"]},
        }
    )
    assert (entry.version, entry.created, entry.lifecycle) == ("2026-08-01", "2026-08-27", "preview")
    assert (entry.context_tokens, entry.languages) == (1000000, ("en", "ja"))
    assert entry.url.endswith("/Flat/version/2026-08-01/registry/azureml-acme")


@pytest.mark.parametrize(
    ("said", "stage"),
    [
        ({}, "current"),
        ({"lifecycle": "Generally Available"}, "current"),
        ({"lifecycle": "Stable"}, "current"),
        ({"lifecycle": "Preview"}, "preview"),
        ({"lifecycle": "Legacy"}, "deprecated"),
        ({"lifecycle": "Deprecated"}, "deprecated"),
        ({"lifecycle": "Retired"}, "retired"),
        ({"lifecycle": "Preview", "tags": {"InferenceRetirementDate": "2026-01-31"}}, "retired"),
        ({"tags": {"InferenceRetirementDate": "2999-01-31"}}, "current"),
        ({"tags": {"InferenceLegacyDate": "2026-01-31", "InferenceRetirementDate": "2999-01-31"}}, "deprecated"),
        ({"deprecation": {"inferenceDeprecationDate": "2026-01-31T00:00:00Z"}}, "deprecated"),
        ({"tags": {"InferenceRetirementDate": "soon"}}, "current"),
    ],
)
def test_a_models_stage_is_the_one_told_unless_a_day_has_come(said: dict[str, Any], stage: str) -> None:
    assert only(model("A", **said)).lifecycle == stage


def test_the_day_of_retirement_is_shown() -> None:
    entry = only(model("A", tags={"InferenceDeprecationDate": "2026-01-31", "InferenceRetirementDate": "2027-02-28"}))
    assert entry.details["deprecated_on"] == "2026-01-31"
    assert entry.details["retired_on"] == "2027-02-28"


def test_what_is_for_images_or_for_foundry_local_is_left_out(server: CatalogServer) -> None:
    variant = {"variantInfo": {"variantMetadata": {"device": "cpu"}}}
    server.rows = [
        model("Kept"),
        model("Embeds", inferenceTasks=["embeddings"]),
        model("Paints", inferenceTasks=["text-to-image"]),
        model("Compiled", properties=variant),
    ]
    assert [entry.entry_id for entry in entries(server)] == ["Kept", "Embeds"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b", "<b>x</b>", "x\x00y", "", None, 7, ["x"], "n" * 300])
def test_a_row_without_a_name_that_can_be_one_costs_only_itself(server: CatalogServer, name: Any) -> None:
    bad = model("x")
    bad["properties"]["name"] = bad["annotations"]["name"] = name
    server.rows = [bad, "no row", 5, None, model("Kept")]
    found = [entry.entry_id for entry in entries(server)]
    assert found == ["Kept"]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "a\x1b[31mb", "‮gnp", "x" * 10_000, 7, ["x"], {}])
def test_a_hostile_field_is_dropped_and_the_entry_stays(hostile: Any) -> None:
    entry = only(
        model("A", publisher=hostile, license=hostile, languages=hostile, textContextWindow="many",
              deploymentTypes=hostile, tags={"huggingface_model_id": hostile})
    )  # fmt: skip
    assert entry.bases == ()
    assert entry.context_tokens is None
    assert entry.license_id in ("", "7")
    for shown in (entry.publisher, *entry.details.values()):
        assert "<" not in shown
        assert shown.isprintable()
        assert len(shown) <= 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


PLACES = ("row", "annotations", "tags", "said", "properties")
FIELDS = [
    "name",
    "version",
    "publisher",
    "license",
    "inferenceTasks",
    "languages",
    "deploymentSku",
    "modelLimits",
    "lifecycle",
    "deprecation",
    "creationContext",
    "modifiedTime",
    "variantInfo",
    "labels",
    "tags",
    "systemCatalogData",
    "regions",
    "annotations",
    "properties",
    "assetId",
    "entityResourceName",
    "textContextWindow",
    "supportsToolCalling",
    "modelCapabilities",
    "huggingface_model_id",
    "InferenceRetirementDate",
    "archived",
]


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(FIELDS), json_values), max_size=6))
def test_whatever_a_row_holds_an_entry_is_well_formed_or_none(changes: list[tuple[str, str, Any]]) -> None:
    row = model("A")
    for where, key, value in changes:
        inner = row.get("annotations") if isinstance(row.get("annotations"), dict) else {}
        place = {"row": row, "annotations": inner, "tags": inner.get("tags"), "said": inner.get("systemCatalogData"),
                 "properties": row.get("properties")}[where]  # fmt: skip
        if isinstance(place, dict):
            place[key] = value
    entry = entry_of(Asset(row))
    if entry is None:
        return
    assert entry.url.startswith("https://ai.azure.com/explore/models/")
    assert entry.lifecycle in ("preview", "current", "deprecated", "retired")
    assert entry.tool_calling in ("", "yes", "no")
    assert all(isinstance(value, str) and value.isprintable() for value in entry.details.values())
    assert entry.context_tokens is None or entry.context_tokens > 0


# ── how the catalog is asked ─────────────────────────────────────────────────────────────────────────────────


def test_the_request_is_anonymous_and_asks_for_the_newest_of_each_model(server: CatalogServer) -> None:
    server.rows = [model("A")]
    batches(server)
    ((path, headers, body),) = server.requests
    assert path == "/api/eastus/ux/v1.0/entities/crossRegion"
    assert headers["user-agent"] == "AzureAiStudio"
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert {"resourceId": "azureml", "entityContainerType": "Registry"} in body["resourceIds"]
    filters = body["indexEntitiesRequest"]["filters"]
    assert {"field": "labels", "operator": "eq", "values": ["latest"]} in filters


def test_archived_models_are_not_asked_for(server: CatalogServer) -> None:
    gone = model("Gone")
    gone["annotations"]["archived"] = True
    server.rows = [gone, model("Kept")]
    assert [entry.entry_id for entry in entries(server)] == ["Kept"]


def test_every_page_is_read_and_the_last_one_ends_the_round(server: CatalogServer) -> None:
    server.rows, server.page_rows = [model(f"M{number}") for number in range(5)], 2
    found = batches(server)
    assert [[entry.entry_id for entry in batch.entries] for batch in found] == [["M0", "M1"], ["M2", "M3"], ["M4"]]
    assert [batch.complete for batch in found] == [False, False, True]
    assert [bool(batch.cursor) for batch in found] == [True, True, False]


def test_an_interrupted_round_goes_on_after_the_last_batch_that_was_kept(server: CatalogServer) -> None:
    server.rows, server.page_rows = [model(f"M{number}") for number in range(5)], 2
    first = next(iter(AzureSource(server.address(), visitor).fetch("", silent)))
    rest = batches(server, first.cursor)
    assert [entry.entry_id for batch in rest for entry in batch.entries] == ["M2", "M3", "M4"]
    assert rest[-1].complete


def test_a_place_that_the_catalog_has_forgotten_starts_the_round_anew(server: CatalogServer) -> None:
    server.rows, server.page_rows = [model(f"M{number}") for number in range(4)], 2
    first = next(iter(AzureSource(server.address(), visitor).fetch("", silent)))
    server.generation = "b"
    again = batches(server, first.cursor)
    assert [entry.entry_id for batch in again for entry in batch.entries] == ["M0", "M1", "M2", "M3"]
    assert again[-1].complete


@given(st.text(max_size=40) | json_values.map(json.dumps) | json_values.map(lambda value: json.dumps({"token": value})))
def test_a_cursor_that_is_none_of_ours_is_the_start_or_a_harmless_place(cursor: str) -> None:
    place = foundry_catalog.Place.of(cursor)
    assert isinstance(place.token, str)
    assert foundry_catalog.Place.of(place.text) == place or not place.text


def test_a_place_survives_being_written_down() -> None:
    place = foundry_catalog.Place("token", 50, 1, 50, 400, False)
    assert foundry_catalog.Place.of(place.text) == place


@pytest.mark.parametrize("name", ["shardErrors", "regionalErrors", "resourceSkipReasons"])
def test_a_round_in_which_something_was_left_out_is_not_complete(server: CatalogServer, name: str) -> None:
    server.rows, server.extra = [model("A")], {name: {"westus": "timed out"}}
    assert not batches(server)[-1].complete


def test_nothing_is_gone_because_the_catalog_came_back_empty(server: CatalogServer, tmp_path: Path) -> None:
    with open_entries(tmp_path / "entries.duckdb") as store:
        for rows in ([model("A")], []):
            server.rows = rows
            for batch in batches(server):
                store.add("azure-ai-foundry", batch)
        (kept,) = store.all()
        assert kept.gone_at == ""


def test_a_model_that_is_no_longer_listed_has_gone(
    server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr("recommender.catalog.entries.now", lambda: f"2026-11-01T00:00:{next(ticks):02}Z")
    monkeypatch.setattr(
        "recommender.catalog.sources.azure_ai_foundry.now", lambda: f"2026-11-01T00:00:{next(ticks):02}Z"
    )
    with open_entries(tmp_path / "entries.duckdb") as store:
        for rows in ([model("A"), model("B")], [model("B")]):
            server.rows = rows
            for batch in batches(server):
                store.add("azure-ai-foundry", batch)
        assert {kept.entry.entry_id: bool(kept.gone_at) for kept in store.all()} == {"A": True, "B": False}


def test_progress_tells_page_and_rows(server: CatalogServer) -> None:
    server.rows, server.page_rows = [model(f"M{number}") for number in range(3)], 2
    told: list[Progress] = []
    list(AzureSource(server.address(), visitor).fetch("", told.append))
    assert [(one.what, one.done, one.total) for one in told[-2:]] == [("page 1", 2, 3), ("page 2", 3, 3)]


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_asked_again(server: CatalogServer, status: int) -> None:
    server.rows, server.replies = [model("A")], [(status, {}, b""), (status, {"Retry-After": "0"}, b"")]
    assert [entry.entry_id for entry in entries(server)] == ["A"]
    assert len(server.requests) == 3


def test_a_connection_that_breaks_off_is_asked_again(server: CatalogServer) -> None:
    server.rows, server.replies = [model("A")], [None]
    assert [entry.entry_id for entry in entries(server)] == ["A"]


def test_it_gives_up_after_some_tries_with_a_sentence(server: CatalogServer) -> None:
    server.replies = [(503, {}, b"")] * 5
    with pytest.raises(DownloadError, match=r"^The catalog of Azure AI Foundry answered 503\. Try again .*\.$"):
        batches(server)
    assert len(server.requests) == foundry_catalog.TRIES


def test_a_wait_that_is_too_long_is_told_and_not_sat_out(server: CatalogServer) -> None:
    server.replies = [(429, {"Retry-After": "86400"}, b"")]
    with pytest.raises(DownloadError, match="in 86,400 s"):
        batches(server)
    assert len(server.requests) == 1


def test_a_wait_until_a_date_is_understood(server: CatalogServer) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=5), usegmt=True)
    server.replies = [(503, {"Retry-After": later}, b"")]
    with pytest.raises(DownloadError, match=r"in 1[78],\d{3} s"):
        batches(server)


def test_a_person_can_stop_during_a_wait(server: CatalogServer) -> None:
    server.replies = [(429, {"Retry-After": "60"}, b"")]

    def stop(told: Progress) -> None:
        if told.what.startswith("waiting"):
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        list(AzureSource(server.address(), visitor).fetch("", stop))


def test_a_redirect_to_another_place_is_not_followed(server: CatalogServer) -> None:
    with CatalogServer([model("Elsewhere")]) as other:
        server.replies = [(307, {"Location": other.address()}, b"")]
        with pytest.raises(DownloadError, match="another address, which is not followed"):
            batches(server)
        assert other.requests == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[]", "a form that is not known"),
        (b'{"indexEntitiesResponse": {"value": 5}}', "a form that is not known"),
        (b'{"indexEntitiesResponse": {"value": [], "continuationToken": 5}}', "how to go on"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_an_answer_that_is_none_is_refused_with_a_sentence(server: CatalogServer, content: bytes, says: str) -> None:
    server.replies = [(200, {}, content)]
    with pytest.raises(DownloadError, match=says):
        batches(server)


def test_an_answer_without_an_end_is_not_read_to_it(server: CatalogServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foundry_catalog, "ANSWER_BYTES", 1000)
    server.replies = [(200, {}, b" " * 100_000)]
    with pytest.raises(DownloadError, match="sent more than"):
        batches(server)


def test_pages_without_an_end_are_refused(server: CatalogServer) -> None:
    same = json.dumps({"indexEntitiesResponse": {"value": [], "continuationToken": "again"}}).encode()
    server.replies = [(200, {}, same)] * 9
    with pytest.raises(DownloadError, match="without an end"):
        batches(server)
    assert len(server.requests) == 2


def test_more_pages_than_a_catalog_has_are_refused(server: CatalogServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foundry_catalog, "PAGES", 3)
    server.rows, server.page_rows = [model(f"M{number}") for number in range(9)], 1
    with pytest.raises(DownloadError, match="gave 3 pages without an end"):
        batches(server)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_told_at_once(server: CatalogServer, status: int) -> None:
    server.replies = [(status, {}, b"{}")]
    with pytest.raises(DownloadError, match=f"answered {status}"):
        batches(server)
    assert len(server.requests) == 1


def test_where_nothing_listens_a_sentence_says_what_to_do(server: CatalogServer) -> None:
    address = server.address()
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r"cannot be reached\. Check the network"):
        list(AzureSource(address, visitor).fetch("", silent))


def test_without_azure_ai_ml_nobody_is_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(azure_registry, "import_module", absent)
    assert azure_registry.client() is None
    assert AzureSource().unavailable() == ""


# ── the registry, through azure-ai-ml ────────────────────────────────────────────────────────────────────────


class Credential:
    """Whoever holds it is signed in."""

    def get_token(self, *_: str, **__: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken("not-a-token", 4102444800)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    pytest.importorskip("azure.ai.ml", reason="azure-ai-ml is not installed: pip install 'recommender[azure]'")
    from azure.ai.ml import _azure_environments

    with RegistryServer(tmp_path) as serving:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(serving.certificate))
        known = _azure_environments._environments["AzureCloud"]
        monkeypatch.setitem(known, "registry_discovery_endpoint", serving.url)
        yield serving


def listed(cursor: str = "") -> list[Batch]:
    source = AzureSource("http://127.0.0.1:9/", lambda: azure_registry.client_with(Credential()))
    return list(source.fetch(cursor, silent))


def test_who_is_signed_in_gets_the_registrys_models(registry: RegistryServer) -> None:
    registry.models = {
        "Acme-1B": registry_model(license="MIT", task="chat-completion", author="Acme", textContextWindow="8192",
                                  huggingface_model_id="acme/Acme-1B", InferenceRetirementDate="2026-01-31"),
        "Paints": registry_model(task="text-to-image"),
    }  # fmt: skip
    (batch,) = listed()
    (entry,) = batch.entries
    assert (entry.entry_id, entry.version, entry.bases) == ("Acme-1B", "7", ("acme/Acme-1B",))
    assert (entry.license_id, entry.context_tokens, entry.lifecycle) == ("mit", 8192, "retired")
    assert (entry.created, entry.modified) == ("2026-01-02", "2026-02-03")
    assert entry.details["retired_on"] == "2026-01-31"
    assert batch.complete


def test_a_model_that_went_in_between_costs_only_itself_and_the_round_is_not_complete(registry: RegistryServer) -> None:
    registry.models = {"A": registry_model(), "B": registry_model(), "C": {"tags": None}}
    registry.missing = {"B"}
    (batch,) = listed()
    assert [entry.entry_id for entry in batch.entries] == ["A"]
    assert not batch.complete


def test_a_registry_is_read_in_batches_and_goes_on_where_it_was_left(
    registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.catalog.sources.azure_ai_foundry._BATCH", 2)
    registry.models = {name: registry_model() for name in "ABCDE"}
    first, *_ = found = listed()
    assert [[entry.entry_id for entry in batch.entries] for batch in found] == [["A", "B"], ["C", "D"], ["E"]]
    rest = listed(first.cursor)
    assert [entry.entry_id for batch in rest for entry in batch.entries] == ["C", "D", "E"]
    assert rest[-1].complete


@pytest.mark.parametrize(("status", "says"), [(401, "az login"), (403, "answered 403"), (400, "answered 400")])
def test_a_registry_that_refuses_is_told_without_naming_the_account(
    registry: RegistryServer, status: int, says: str
) -> None:
    registry.models, registry.status = {"A": registry_model()}, status
    with pytest.raises(DownloadError, match=says) as caught:
        listed()
    assert "somebody" not in str(caught.value)
    assert "not-a-token" not in str(caught.value)


def test_a_list_of_another_form_is_told(registry: RegistryServer) -> None:
    registry.listing = {"value": [5]}
    with pytest.raises(DownloadError, match="a list that azure-ai-ml cannot read"):
        listed()


@pytest.mark.parametrize("name", ["..", "a%2Fb", "<b>"])
def test_a_name_that_cannot_be_one_is_not_asked_for(registry: RegistryServer, name: str) -> None:
    registry.models = {name: registry_model(), "A": registry_model()}
    (batch,) = listed()
    assert [entry.entry_id for entry in batch.entries] == ["A"]
    assert not any(name in path for path in registry.paths)
