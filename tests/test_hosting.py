from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import audit, paths
from recommender.catalog.queries import variant_columns
from recommender.catalog.store import Catalog
from recommender.errors import RunError
from recommender.hosting import Gate, VisitorRuns, bounded_request
from recommender.runner import RunManager, RunRequest, hub
from recommender.settings import Settings
from recommender.types import GIB, Device
from tests.runner.conftest import SETTINGS, finished
from tests.tiny_gguf import write_tiny_gguf

HOSTED = Settings(door="hosted")
MODEL, QUANTIZATION = "HuggingFaceTB/SmolLM2-360M-Instruct", "Q8_0"
Runs = Callable[..., VisitorRuns]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def manager() -> Iterator[RunManager]:
    made = RunManager()
    yield made
    made.close()


@pytest.fixture(scope="module")
def published(catalog: Catalog) -> dict[str, str]:
    rows = {row["quantization"]: row for row in variant_columns(catalog, MODEL, "llama.cpp")}
    return rows[QUANTIZATION]


@pytest.fixture
def on_disk(published: dict[str, str]) -> Path:
    """A tiny model where the catalog's file would lie after its download."""
    path = hub.local_path(published["repo"], published["file"])
    path.parent.mkdir(parents=True)
    write_tiny_gguf(path)
    hub.checksum_note(path).write_text(f"{'0' * 64}  {path.name}\n", encoding="utf-8")
    return path


@pytest.fixture
def request_of(published: dict[str, str]) -> RunRequest:
    return RunRequest(
        MODEL,
        QUANTIZATION,
        SETTINGS,
        repo=published["repo"],
        file=published["file"],
        prompt_tokens=16,
        gen_tokens=4,
        repeats=1,
    )


@pytest.fixture
def runs_of(manager: RunManager, catalog: Catalog, laptop: Device) -> Runs:
    gate = Gate(manager, HOSTED)

    def made(who: str = "203.0.113.1", settings: Settings | None = None) -> VisitorRuns:
        return VisitorRuns(Gate(manager, settings) if settings else gate, who, [], catalog, laptop)

    return made


def lines() -> list[dict[str, object]]:
    return [json.loads(line) for line in paths.audit_file().read_text(encoding="utf-8").splitlines()]


def test_a_model_of_the_catalog_runs_and_is_written_down_without_what_was_asked(
    runs_of: Runs, request_of: RunRequest, on_disk: Path
) -> None:
    job = finished(runs_of().submit(replace(request_of, prompt="my secret plan", answer_tokens=4)))
    assert (job.state, job.error) == ("done", "")
    [line] = lines()
    assert (line["who"], line["what"], line["model"]) == ("203.0.113.1", "run", MODEL)
    assert "secret" not in paths.audit_file().read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": "someone/else"},
        {"quantization": "Q99"},
        {"repo": "someone/Other-GGUF"},
        {"file": "../../etc/passwd"},
        {"model_id": "local/mine"},
        {"runtime": "ollama", "file": "anything:latest"},
        {"runtime": "onnx-genai", "model_path": "/etc"},
        {"runtime": "openai", "endpoint": "http://169.254.169.254/v1"},
        {"settings": replace(SETTINGS, context_tokens=HOSTED.max_context + 1)},
        {"predicted_memory_bytes": 1e15},
        {"rehearsal": True, "model_path": "/etc/passwd"},
        {"rehearsal": True, "model_path": "scratch/../../etc/passwd"},
    ],
)
def test_anything_else_is_refused_and_starts_nothing(
    runs_of: Runs, manager: RunManager, request_of: RunRequest, changes: dict[str, object]
) -> None:
    with pytest.raises(RunError):
        runs_of().submit(replace(request_of, **changes))
    assert manager.jobs() == ()
    [line] = lines()
    assert line["what"] == "run refused"


def test_a_path_is_never_taken_from_the_request(
    catalog: Catalog, laptop: Device, request_of: RunRequest, published: dict[str, str]
) -> None:
    sneaky = replace(request_of, model_path="/etc/passwd", repo="")
    bounded = bounded_request(sneaky, HOSTED, catalog, laptop)
    assert (bounded.model_path, bounded.repo, bounded.file) == ("", published["repo"], published["file"])


def test_the_largest_file_is_the_settings(catalog: Catalog, laptop: Device, request_of: RunRequest) -> None:
    for most_gib, words in ((0.1, "at most"), (0.0, "nothing is run")):
        with pytest.raises(RunError, match=words):
            bounded_request(request_of, replace(HOSTED, max_file_gib=most_gib), catalog, laptop)


def test_only_the_server_of_the_settings_is_asked(catalog: Catalog, laptop: Device, request_of: RunRequest) -> None:
    named = replace(HOSTED, try_server="http://127.0.0.1:8080/v1")
    asked = replace(request_of, runtime="openai", endpoint=named.try_server, file="served", answer_tokens=10**6)
    assert bounded_request(asked, named, catalog, laptop).answer_tokens == HOSTED.run_tokens
    with pytest.raises(RunError):
        bounded_request(replace(asked, endpoint="http://127.0.0.1:8081/v1"), named, catalog, laptop)


@settings(deadline=None)
@given(data=st.data())
def test_whatever_is_asked_stays_within_the_limits_or_is_a_sentence(
    catalog: Catalog, published: dict[str, str], data: st.DataObject
) -> None:
    number = st.integers(1, 10**9)
    request = RunRequest(
        MODEL,
        QUANTIZATION,
        replace(
            SETTINGS,
            context_tokens=data.draw(st.one_of(st.integers(1, 8192), number)),
            threads=data.draw(number),
            batch_tokens=data.draw(number),
            ubatch_tokens=data.draw(number),
            parallel=data.draw(number),
        ),
        model_path=data.draw(st.text()),
        repo=data.draw(st.sampled_from(["", published["repo"], "x/y"])),
        file=data.draw(st.text()),
        answer_tokens=data.draw(number),
        gen_tokens=data.draw(number),
        repeats=data.draw(number),
        idle_s=data.draw(st.floats(0, 1e9)),
        rehearsal=data.draw(st.booleans()),
    )
    server = Device(id="s", name="s", kind="server", os="linux", arch="x86-64", ram_bytes=GIB * 8, usable_threads=4)
    try:
        bounded = bounded_request(request, HOSTED, catalog, server)
    except RunError:
        return
    assert bounded.settings.context_tokens <= HOSTED.max_context
    assert bounded.settings.threads <= 4
    assert bounded.answer_tokens <= HOSTED.run_tokens
    assert bounded.gen_tokens <= HOSTED.run_tokens
    assert bounded.repeats <= 3
    assert bounded.longest_s == HOSTED.run_seconds
    assert bounded.repo == published["repo"]
    assert bounded.most_download_bytes == HOSTED.max_file_gib * GIB


def test_one_address_has_so_many_runs_at_once_and_another_one_still_gets_in(
    runs_of: Runs, manager: RunManager, request_of: RunRequest, on_disk: Path
) -> None:
    free = threading.Event()
    first = manager.submit(request_of, before=lambda: free.wait(60) and None)
    mine = runs_of()
    jobs = [mine.submit(request_of) for _ in range(HOSTED.visitor_runs)]
    with pytest.raises(RunError, match="of yours wait"):
        runs_of().submit(request_of)  # the same address in another window
    other = runs_of("203.0.113.2")
    last = other.submit(request_of)
    assert last.position == HOSTED.visitor_runs + 1
    assert (mine.jobs(), mine.others_active()) == (tuple(jobs), 2)
    assert (other.jobs(), other.others_active()) == ((last,), HOSTED.visitor_runs + 1)
    for job in jobs:
        job.cancel()
    assert last.position == 1
    mine.submit(request_of).cancel()  # there is room again
    first.cancel()
    free.set()
    finished(last)


def test_another_address_of_the_same_ipv6_network_has_no_share_of_its_own(
    runs_of: Runs, request_of: RunRequest, on_disk: Path
) -> None:
    few = replace(HOSTED, visitor_runs_per_hour=1)
    first = runs_of("2001:db8::1", few)
    first.submit(request_of).cancel()
    with pytest.raises(RunError, match="from one address"):
        replace(first, who="2001:db8::2").submit(request_of)
    replace(first, who="2001:db8:0:1::2").submit(request_of).cancel()


def test_an_hour_has_so_many_runs_for_one_address(runs_of: Runs, request_of: RunRequest, on_disk: Path) -> None:
    few = replace(HOSTED, visitor_runs_per_hour=1)
    runs = runs_of(settings=few)
    runs.submit(request_of).cancel()
    with pytest.raises(RunError, match=r"1 runs an hour .* in \d+ min"):
        runs.submit(request_of)


def test_the_audit_log_turns_over_and_keeps_no_more_than_its_files(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    audit._logger.cache_clear()
    monkeypatch.setattr(audit, "_MOST_BYTES", 2000)
    for number in range(200):
        audit.log("someone\nelse", "run", model="x" * 1000, number=number)
    audit._logger.cache_clear()
    files = sorted(home.glob("audit.jsonl*"))
    assert len(files) == 1 + audit._KEPT_FILES
    assert all(file.stat().st_size <= 2000 for file in files)
    newest = lines()[-1]
    assert (newest["who"], newest["number"]) == ("someone\nelse", 199)
    assert len(str(newest["model"])) == 300


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    audit._logger.cache_clear()
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(paths.HOME_VARIABLE, str(blocked / "below"))
    audit.log("someone", "run")
