"""The JSON API: the answers of the command line, and a sentence for everything else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from starlette.testclient import TestClient

from recommender.api import MOST_BODY_BYTES, api
from recommender.api_worker import OpenCatalog, Workers
from recommender.catalog import Catalog
from recommender.cli import main
from recommender.device import preset, to_dict
from recommender.types import Need

FEW = 12
JSON = {"content-type": "application/json"}


HELD: list[Catalog] = []  # an application lives on in circles of references, the catalog must not


@pytest.fixture(scope="module", autouse=True)
def _held(catalog: Catalog) -> Iterator[None]:
    HELD[:] = [catalog]
    yield
    HELD.clear()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(api(lambda: HELD[0], 10_000), raise_server_exceptions=False) as made:
        yield made


def command_line(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main([*argv, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_answers_as_the_command_line_does(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    told = command_line(capsys, "recommend", "--device", "rtx-4060", "--task", "code", "--top", "3", "--commercial")
    need = {"task": "code", "commercial": True}
    asked = client.post("/recommend", json={"device": "rtx-4060", "need": need, "top": 3})
    assert asked.status_code == 200
    answer = asked.json()
    assert answer.pop("catalog_date")
    assert answer["picks"] == told["picks"]
    by_query = client.get("/recommend", params={"device": "rtx-4060", "top": 3, **need}).json()
    assert by_query["picks"] == told["picks"]


def test_a_device_may_be_given_with_all_its_numbers(client: TestClient) -> None:
    by_id, by_numbers = (
        client.post("/recommend", json={"device": device, "top": 2}).json()["picks"]
        for device in ("rtx-4060", to_dict(preset("rtx-4060")))
    )
    assert by_id == by_numbers


def test_an_estimate_is_the_command_line_s(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    model, quantization = "Qwen/Qwen3-4B", "Q4_K_M"
    told = command_line(capsys, "estimate", "--model", model, "--quant", quantization, "--device", "rtx-4060")
    asked = {"model": model, "quantization": quantization, "device": "rtx-4060"}
    answer = client.post("/estimate", json=asked).json()
    assert {name: answer[name] for name in told} == told


def test_the_catalog_is_listed_page_by_page(client: TestClient, catalog: Catalog) -> None:
    seen: list[str] = []
    while rows := client.get("/catalog", params={"offset": len(seen), "limit": 100}).json()["models"]:
        seen += [row["model_id"] for row in rows]
    assert seen == [model.model_id for model in catalog.models()]


def test_every_field_of_a_need_can_be_asked_for(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Need"]["properties"]
    assert set(schema) == {field.name for field in dataclasses.fields(Need)}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"device": "rtx"}', 404, "There is no device called 'rtx'"),
        ('{"device": "rtx-4060", "need": {"task": "sing"}}', 404, "sing"),
        ('{"device": "rtx-4060", "need": {"users": 0}}', 422, "Users at once must be"),
        ('{"device": "rtx-4060", "need": {"context_tokens": 1e400}}', 422, "context_tokens"),
        ('{"device": "rtx-4060", "need": {"max_ttft_s": NaN}}', 422, "finite"),
        ('{"device": "rtx-4060", "nead": {}}', 422, "nead"),
        ('{"device": "rtx-4060", "top": 1000}', 422, "top"),
        ('{"device": {"colour": "red"}}', 422, "no field called 'colour'"),
        ('{"device": {"os": "linux", "name": "\\ud800"}}', 422, "name must be text"),
        ('{"device": {"os": "linux", "ram_bytes": 1%s}}' % ("0" * 400), 422, "more than any machine has"),
        ("{", 422, "JSON"),
        ("[" * 50_000, 400, "parsing"),
        ('{"device": "%s"}' % ("x" * MOST_BODY_BYTES), 413, "at most 65,536 bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(client: TestClient, body: str, status: int, words: str) -> None:
    answer = client.post("/recommend", content=body, headers=JSON)
    assert answer.status_code == status
    said = answer.json()["error"]
    assert words in said
    assert said[-1] in ".?"
    assert len(said) <= 500


def test_more_questions_than_allowed_are_told_when_to_come_back() -> None:
    with TestClient(api(lambda: HELD[0], FEW)) as client:
        codes = [client.get("/catalog", params={"limit": 1}).status_code for _ in range(FEW)]
        late = client.get("/catalog")
        assert client.get("/health").text == "ok"
    assert set(codes) == {200}
    assert late.status_code == 429
    assert 1 <= int(late.headers["Retry-After"]) <= 60
    assert "Wait" in late.json()["error"]


def test_a_catalog_that_a_refresh_replaced_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened:
        replaced = False

    made: list[Opened] = []
    monkeypatch.setattr("recommender.api_worker.open_catalog", lambda: made.append(Opened()) or made[-1])
    current = OpenCatalog()
    assert current() is current()
    made[0].replaced = True
    assert current() is made[1]  # type: ignore[comparison-overlap]


DESCRIBED = schemathesis.openapi.from_asgi("/openapi.json", api(lambda: HELD[0], 1_000_000))


@DESCRIBED.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_may_be_asked_ends_in_a_fault(case: Any) -> None:
    answer = case.call()
    assert answer.status_code in (200, 400, 404, 405, 413, 422), answer.text
    if answer.status_code != 200:
        assert "Traceback" not in answer.text
        assert json.loads(answer.text)["error"]


def test_processes_of_its_own_answer_as_this_one_does_and_one_that_is_killed_is_replaced(client: TestClient) -> None:
    asked = {"device": "rtx-4060", "need": {"task": "code"}, "top": 1}
    workers = Workers()
    try:
        with TestClient(api(lambda: HELD[0], 10_000, workers)) as apart:
            first = apart.post("/recommend", json=asked)
            assert (first.status_code, first.content) == (200, client.post("/recommend", json=asked).content)
            assert apart.get("/recommend", params={"device": "nonsense"}).status_code == 404
            [worker] = [child for child in psutil.Process().children() if "recommender.api_worker" in child.cmdline()]
            worker.kill()
            worker.wait()
            assert apart.post("/recommend", json=asked).content == first.content
    finally:
        workers.close()
    assert not [child for child in psutil.Process().children() if "recommender.api_worker" in child.cmdline()]
