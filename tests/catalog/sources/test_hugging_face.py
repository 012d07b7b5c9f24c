"""The Hub as a source, asked through its real client on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalog.entries import EntryStore, encode, open_entries
from recommender.catalog.sources import hub_client
from recommender.catalog.sources.base import Batch, Entry, Progress
from recommender.catalog.sources.hub_entries import (
    gguf_entry,
    listed,
    original_entry,
    plainest_file,
)
from recommender.catalog.sources.hub_round import Round, queries
from recommender.catalog.sources.hugging_face import HuggingFaceSource
from recommender.errors import Cancelled, DownloadError
from tests.hub.server import HubServer, Repo, Trouble
from tests.tiny_gguf import write_tiny_gguf

MAKERS = frozenset({"Lab"})
QUANTIZERS = frozenset({"quants"})
ORIGINAL, FILES = "Lab/Nova-2B", "quants/Nova-2B-GGUF"
TEMPLATE = "{% if tools %}{{ tools }}{% endif %}{% if enable_thinking %}<think>{% endif %}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    made = HubServer()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    monkeypatch.setattr(hub_client, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(hub_client, "TIMEOUT_S", 5.0)
    made.add(*a_model())
    yield made
    made.resume.set()
    made.shutdown()
    made.server_close()


def a_model(**changes: Any) -> tuple[Repo, Repo]:
    """An original, and its files by a known quantizer."""
    original = Repo(
        ORIGINAL,
        tags=("safetensors", "text-generation", "license:apache-2.0", "en"),
        card={"license": "apache-2.0", "language": ["en", "de", "zh-Hant"]},
        safetensors_total=2_030_000_000,
        says={
            "evalResults": [
                {"data": {"dataset": {"id": "who/MMLU-Pro", "task_id": "default"}, "value": 41.5}, "verified": True},
                {"filename": "x.yaml", "error": "it is no YAML"},
            ],
            "config": {"tokenizer_config": {"chat_template": TEMPLATE}},
        },
    )
    files = Repo(
        FILES,
        files={
            "Nova-2B-Q4_K_M.gguf": b"GGUF" + bytes(96),
            "Nova-2B-Q8_0.gguf": b"GGUF" + bytes(196),
            "README.md": b"#",
        },
        tags=("gguf", f"base_model:{ORIGINAL}", f"base_model:quantized:{ORIGINAL}", "license:apache-2.0", "en"),
        card={"license": "apache-2.0", "base_model": ORIGINAL},
        gguf={"total": 2_030_000_000, "architecture": "llama", "context_length": 32768, "chat_template": TEMPLATE},
        **changes,
    )
    return original, files


def source(known: dict[str, str] | None = None, limit: int | None = None) -> HuggingFaceSource:
    return HuggingFaceSource(MAKERS, QUANTIZERS, known or {}, limit)


def quiet(_: Progress) -> None:
    pass


def read(cursor: str = "", **asked: Any) -> tuple[dict[str, Entry], str, tuple[str, ...]]:
    """A whole call: entries by id, the last cursor, and what has gone."""
    batches = list(source(**asked).fetch(cursor, quiet))
    entries = {entry.entry_id: entry for batch in batches for entry in batch.entries}
    return entries, batches[-1].cursor, tuple(one for batch in batches for one in batch.gone)


def until_error(made: HuggingFaceSource, cursor: str = "") -> tuple[list[Batch], DownloadError]:
    batches = []
    with pytest.raises(DownloadError) as raised:
        batches.extend(made.fetch(cursor, quiet))
    return batches, raised.value


def kept(entries: dict[str, Entry]) -> dict[str, str]:
    return {one: entry.version for one, entry in entries.items()}


def many(count: int, owner: str = "quants") -> list[Repo]:
    return [
        Repo(f"{owner}/m{number:03d}-GGUF", files={"m-Q4_0.gguf": b"GGUF"}, tags=("gguf",), downloads=number)
        for number in range(count)
    ]


# ── what an entry holds ──────────────────────────────────────────────────────────────────────────────────────


def test_a_quantized_repository_is_an_entry_with_its_files_to_the_byte(server: HubServer) -> None:
    entry = read()[0][FILES]
    repo = server.repos[FILES]
    assert (entry.format, entry.relation, entry.bases) == ("gguf", "quantized", (ORIGINAL,))
    assert (entry.publisher, entry.name, entry.url) == ("quants", "Nova-2B-GGUF", f"{server.url}/{FILES}")
    assert [(file.path, file.bytes, file.quantization) for file in entry.files] == [
        ("Nova-2B-Q4_K_M.gguf", 100, "Q4_K_M"),
        ("Nova-2B-Q8_0.gguf", 200, "Q8_0"),
    ]
    assert entry.files[0].sha256 == hashlib.sha256(repo.files["Nova-2B-Q4_K_M.gguf"]).hexdigest()
    assert (entry.params_total, entry.context_tokens) == (2_030_000_000, 32768)
    assert (entry.thinking, entry.tool_calling) == ("hybrid", "yes")
    assert (entry.version, entry.created, entry.modified) == (repo.sha, "2026-10-01", "2026-11-01")
    assert (entry.license_id, entry.languages, entry.gated, entry.downloads) == ("apache-2.0", ("en",), False, 100)


def test_the_original_that_it_names_is_read_with_its_own_figures(server: HubServer) -> None:
    entry = read()[0][ORIGINAL]
    assert (entry.format, entry.relation, entry.bases) == ("safetensors", "original", ())
    assert (entry.params_total, entry.license_id) == (2_030_000_000, "apache-2.0")
    assert entry.languages == ("en", "de")
    assert [(one.benchmark, one.value, one.verified) for one in entry.scores] == [("MMLU-Pro", 41.5, True)]
    assert (entry.thinking, entry.tool_calling) == ("hybrid", "yes")


@pytest.mark.parametrize("relation", ["finetune", "merge", "adapter"])
def test_how_a_repository_relates_to_its_base_is_what_its_tags_say(server: HubServer, relation: str) -> None:
    tags = ("gguf", f"base_model:{ORIGINAL}", f"base_model:{relation}:{ORIGINAL}")
    server.add(Repo("quants/Tune-GGUF", tags=tags))
    entry = read()[0]["quants/Tune-GGUF"]
    assert (entry.relation, entry.bases) == (relation, (ORIGINAL,))


def test_a_tune_of_nobody_known_is_followed_to_what_it_was_made_from(server: HubServer) -> None:
    server.add(
        Repo("someone/Tune", tags=(f"base_model:finetune:{ORIGINAL}",), safetensors_total=2_000_000_000),
        Repo("quants/Tune-GGUF", tags=("gguf", "base_model:quantized:someone/Tune")),
    )
    entries = read()[0]
    assert (entries["someone/Tune"].relation, entries["someone/Tune"].bases) == ("finetune", (ORIGINAL,))
    assert ORIGINAL in entries


def test_a_base_that_several_name_is_read_once(server: HubServer) -> None:
    server.add(*(Repo(f"quants/Nova-{one}-GGUF", tags=("gguf", f"base_model:quantized:{ORIGINAL}")) for one in "abc"))
    read()
    assert server.detailed().count(ORIGINAL) == 1


def test_bases_that_name_each_other_end(server: HubServer) -> None:
    server.add(
        Repo("a/A", tags=("base_model:finetune:b/B",)),
        Repo("b/B", tags=("base_model:finetune:a/A",)),
        Repo("quants/A-GGUF", tags=("gguf", "base_model:quantized:a/A")),
    )
    assert {"a/A", "b/B", "quants/A-GGUF"} <= read()[0].keys()


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (None, ("", "")),
        (7, ("", "")),
        ("", ("", "")),
        ("tools" * 300_000, ("", "")),
        ("{{ x }}", ("no", "no")),
        ("<think>{{ tools }}", ("yes", "yes")),
        ("{% if enable_thinking %}<think>{% endif %}", ("hybrid", "no")),
    ],
    ids=["none", "a number", "empty", "endless", "plain", "always", "hybrid"],
)
def test_the_template_tells_thinking_and_tools(template: object, told: tuple[str, str]) -> None:
    made = (
        gguf_entry({"id": "a/b", "gguf": {"chat_template": template}}, "https://hub"),
        original_entry({"id": "a/b", "config": {"chat_template_jinja": template}}, "https://hub"),
    )
    assert [(entry.thinking, entry.tool_calling) for entry in made if entry] == [told, told]


def test_the_plainest_whole_file_is_the_one_whose_header_is_read() -> None:
    def chosen(*paths: str) -> str:
        siblings = [{"rfilename": path, "size": 10} for path in paths]
        entry = gguf_entry({"id": "a/b", "siblings": siblings}, "https://hub")
        assert entry is not None
        file = plainest_file(entry)
        return file.path if file else ""

    assert chosen("x-Q4_K_M.gguf", "x-Q8_0.gguf", "mmproj-x-F16.gguf") == "x-Q8_0.gguf"
    assert chosen("x-F16-00001-of-00002.gguf", "x-F16-00002-of-00002.gguf", "x-IQ2_M.gguf") == "x-IQ2_M.gguf"
    assert chosen("x-F16-00002-of-99999.gguf", "x-F16-00001-of-99999.gguf") == "x-F16-00001-of-99999.gguf"
    assert chosen("imatrix-Q8_0.gguf", "x.gguf") == ""


# ── which repositories are read ──────────────────────────────────────────────────────────────────────────────


def test_the_most_fetched_of_each_tier_are_read_whoever_publishes_them(server: HubServer) -> None:
    for owner, total in (("one", 500_000_000), ("two", 8_000_000_000), ("three", 30_000_000_000)):
        server.add(Repo(f"{owner}/x-GGUF", tags=("gguf",), gguf={"total": total}))
    server.add(Repo("four/x-GGUF", tags=("gguf",), gguf={"total": 70_000_000_000}))
    server.add(Repo("quants/large-GGUF", tags=("gguf",), gguf={"total": 70_000_000_000}))
    entries = read()[0]
    assert {"one/x-GGUF", "two/x-GGUF", "three/x-GGUF"} <= entries.keys()
    assert not {"four/x-GGUF", "quants/large-GGUF"} & entries.keys()
    assert "quants/large-GGUF" not in server.detailed()
    assert [one.split("num_parameters=")[1].split("&")[0] for one in server.asked("num_parameters=")] == [
        "max%3A2B", "min%3A1B%2Cmax%3A14B", "min%3A14B%2Cmax%3A31B",
    ]  # fmt: skip


def test_lists_are_read_page_by_page_up_to_their_bound(server: HubServer) -> None:
    server.repos.clear()
    for number, repo in enumerate(many(130)):
        repo.modified = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z"
        repo.downloads = 1000 - number
        server.add(repo)
    entries = read()[0]  # the 100 changed last, and the 100 fetched most, which are the others
    assert entries.keys() == {one.id for one in many(130)}
    server.repos.clear()
    server.add(*many(130))
    assert entries.keys() - read()[0].keys() == {one.id for one in many(30)}
    server.repos.clear()
    server.add(*(Repo(f"other/p{n}-GGUF", tags=("gguf",), gguf={"total": 10**9}) for n in range(120)))
    server.requests.clear()
    assert len(read()[0]) == 120
    assert len(server.asked("num_parameters=max:2B.*cursor=100")) == 1


def test_no_more_repositories_are_read_than_asked_for_and_the_next_call_goes_on(server: HubServer) -> None:
    server.add(*many(30))
    entries, cursor, _ = read(limit=12)
    assert len(server.detailed()) == 12
    more, cursor, _ = read(cursor, known=kept(entries), limit=12)
    assert not entries.keys() & more.keys()
    entries |= more
    more, cursor, _ = read(cursor, known=kept(entries), limit=12)
    assert len(entries | more) == 32
    assert json.loads(cursor)["query"] == "done"


def test_an_original_beyond_the_limit_is_read_by_the_next_call(server: HubServer) -> None:
    entries, cursor, _ = read(limit=1)
    assert entries.keys() == {FILES}
    assert read(cursor, known=kept(entries), limit=1)[0].keys() == {ORIGINAL}


# ── rounds ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_round_reads_what_is_new_and_what_changed_and_nothing_else(server: HubServer) -> None:
    server.add(*many(5))
    entries, cursor, _ = read()
    known = kept(entries)
    server.requests.clear()
    again, cursor, gone = read(cursor, known=known)
    assert (again, gone) == ({}, ())
    server.repos[FILES].change("2036-11-28T09:00:00.000Z")
    server.add(Repo("quants/new-GGUF", tags=("gguf",), modified="2036-11-28T08:00:00.000Z"))
    server.requests.clear()
    # A publisher's list ends at the last round, whatever is kept of what is older; the most fetched are always read.
    assert read(cursor)[0].keys() == {FILES, ORIGINAL, "quants/new-GGUF"}
    again, cursor, _ = read(cursor, known=known)
    assert again.keys() == {FILES, "quants/new-GGUF"}
    assert again[FILES].version == server.repos[FILES].sha
    assert not server.asked("author=quants.*sort=downloads")


def test_a_list_that_did_not_change_is_not_sent_again(server: HubServer) -> None:
    entries, cursor, _ = read()
    server.unchanged = 0
    _, cursor, _ = read(cursor, known=kept(entries))
    assert read(cursor, known=kept(entries))[0] == {}
    assert server.unchanged > 0


def test_a_publisher_that_is_new_to_the_catalog_is_asked_for_all(server: HubServer) -> None:
    later = many(101, "later")
    for repo in later[1:]:
        repo.modified = "2020-01-01T00:00:00.000Z"
    server.add(*later)  # the first was changed last and is fetched least
    entries, cursor, _ = read()
    made = HuggingFaceSource(MAKERS, QUANTIZERS | {"later"}, kept(entries))
    found = {one.entry_id for batch in made.fetch(cursor, quiet) for one in batch.entries}
    assert found == {one.id for one in later}


def test_what_is_not_on_the_hub_any_more_is_said_to_be_gone(server: HubServer) -> None:
    entries, cursor, _ = read()
    del server.repos[FILES]
    _, _, gone = read(cursor, known=kept(entries))
    assert gone == (FILES,)


def test_a_repository_that_was_renamed_has_gone_under_its_old_name(server: HubServer) -> None:
    entries, cursor, _ = read()
    repo = server.repos.pop(FILES)
    server.moved[FILES] = repo.id = "quants/Nova-v1-2B-GGUF"
    repo.change("2036-01-01T00:00:00.000Z")
    server.add(repo)
    more, _, gone = read(cursor, known=kept(entries))
    assert gone == (FILES,)
    assert more.keys() == {repo.id}


def test_an_original_that_changed_is_read_again(server: HubServer) -> None:
    entries, cursor, _ = read()
    server.repos[ORIGINAL].card["license"] = "mit"
    server.repos[ORIGINAL].change("2026-11-20T00:00:00.000Z")
    assert read(cursor, known=kept(entries))[0][ORIGINAL].license_id == "mit"


@pytest.mark.parametrize("stop_at", [3, 25, 41])
def test_an_interrupted_round_goes_on_and_loses_at_most_a_batch(
    server: HubServer, tmp_path: Path, stop_at: int
) -> None:
    server.add(*many(60))
    with open_entries(tmp_path / "entries.duckdb") as store:
        with pytest.raises(Cancelled):
            refresh(store, stop_at)
        before = store.versions("hugging-face")
        assert stop_at - 20 <= len(before) <= stop_at
        server.requests.clear()
        refresh(store)
        # The round's last step looks at what was kept whether it is still there; nothing kept is read anew.
        assert not before.keys() & {one.split("/models/")[1].split("?")[0] for one in server.asked("blobs=true")}
        assert len(store.versions("hugging-face")) == 62


def refresh(store: EntryStore, stop_at: int | None = None) -> None:
    def progress(one: Progress) -> None:
        if one.done == stop_at:
            raise Cancelled("Stopped.")

    for batch in source(store.versions("hugging-face")).fetch(store.cursor("hugging-face"), progress):
        store.add("hugging-face", batch)


def test_a_place_in_a_list_that_no_longer_holds_starts_that_list_again(server: HubServer) -> None:
    place = Round(query="changed:quants", page="/api/models?cursor=lost", rows=100)
    server.troubles["/api/models"] = [Trouble(status=400)]
    assert FILES in read(place.text())[0]


@pytest.mark.parametrize("cursor", ["{}", "no JSON", "[1]", '{"of": "another version"}'])
def test_a_cursor_of_another_version_starts_anew(server: HubServer, cursor: str) -> None:
    assert read(cursor)[0].keys() == {ORIGINAL, FILES}


def test_every_list_of_a_round_has_a_name_of_its_own() -> None:
    names = [query.id for query in queries({"a", "b"}, Round())]
    assert names == ["changed:a", "fetched:a", "changed:b", "fetched:b",
                     "fetched:max:2B", "fetched:min:1B,max:14B", "fetched:min:14B,max:31B"]  # fmt: skip


# ── troubles ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [401, 403])
def test_a_repository_that_is_gated_is_kept_as_such(server: HubServer, status: int) -> None:
    server.always[f"/api/models/{FILES}"] = Trouble(status=status, headers={"X-Error-Code": "GatedRepo"})
    server.always[f"/api/models/{ORIGINAL}"] = Trouble(status=status, headers={"X-Error-Code": "GatedRepo"})
    entries = read()[0]
    assert entries[FILES].gated
    assert entries[FILES].files == ()
    assert entries[ORIGINAL].gated


def test_what_vanished_between_the_list_and_the_look_is_passed_over(server: HubServer) -> None:
    server.always[f"/api/models/{FILES}"] = Trouble(status=404, headers={"X-Error-Code": "RepoNotFound"})
    server.add(*many(2))
    entries, _, gone = read(known={FILES: "before"})
    assert entries.keys() == {"quants/m000-GGUF", "quants/m001-GGUF"}
    assert set(gone) == {FILES}


def test_the_hub_is_waited_for_when_it_asks_for_it(server: HubServer) -> None:
    server.troubles["/api/models"] = [Trouble(status=429, headers={"Retry-After": "1"}), Trouble(status=503)]
    said: list[str] = []
    entries = [one for batch in source().fetch("", lambda one: said.append(one.what)) for one in batch.entries]
    assert len(entries) == 2
    assert any(one.startswith("waiting") for one in said)


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "99999999"}, {"RateLimit": '"api";r=0;t=4000'}, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}],
)
def test_a_wait_that_is_too_long_ends_the_round_and_keeps_what_was_read(
    server: HubServer, headers: dict[str, str]
) -> None:
    server.always[f"/api/models/{ORIGINAL}"] = Trouble(status=429, headers=headers)
    batches, error = until_error(source())
    assert [one.entry_id for one in batches[-1].entries] == [FILES]
    assert "takes no more questions now" in str(error)
    del server.always[f"/api/models/{ORIGINAL}"]


def test_a_wait_can_be_stopped(server: HubServer) -> None:
    server.always["/api/models"] = Trouble(status=429, headers={"Retry-After": "300"})

    def progress(one: Progress) -> None:
        if one.what.startswith("waiting"):
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        list(source().fetch("", progress))


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(status=500),
        Trouble(cut_at=10),
        Trouble(body=b"<html>"),
        Trouble(body=b"[" * 100_000),
        Trouble(body=b'{"id": "somebody/else"}'),
        Trouble(body=b"[]"),
        Trouble(body=b"\xff\xfe"),
        Trouble(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"}),
        Trouble(status=302, headers={"Location": f"/api/models/{FILES}"}),
    ],
    ids=[
        "500",
        "cut off",
        "html",
        "deep",
        "another id",
        "a list",
        "no text",
        "redirected away",
        "redirected in a circle",
    ],
)
def test_one_bad_answer_costs_its_repository_and_the_round_goes_on(server: HubServer, trouble: Trouble) -> None:
    server.add(*many(3))
    server.always[f"/api/models/{FILES}"] = trouble
    entries = read()[0]
    assert entries.keys() == {one.id for one in many(3)}
    assert not server.asked("elsewhere")


def test_what_could_not_be_read_is_read_by_the_next_round(server: HubServer) -> None:
    server.repos.clear()
    server.add(*many(2))
    server.always["/api/models/quants/m000-GGUF"] = Trouble(status=500)
    entries, cursor, _ = read()
    assert entries.keys() == {"quants/m001-GGUF"}
    server.always.clear()
    assert read(cursor)[0].keys() == {"quants/m000-GGUF"}


def test_a_silent_hub_is_not_waited_for_for_ever(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_client, "TIMEOUT_S", 0.2)
    server.always[f"/api/models/{FILES}"] = Trouble(silent=True)
    assert read()[0] == {}
    assert len(server.asked(f"models/{FILES}")) == hub_client.TRIES


def test_an_answer_that_is_too_long_is_not_read(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_client, "ANSWER_BYTES", 20_000)
    repo = server.repos[FILES]
    server.always[f"/api/models/{FILES}"] = Trouble(body=json.dumps(repo.info(blobs=True)).encode() + b" " * 10_000)
    assert FILES in read()[0]
    server.always[f"/api/models/{FILES}"] = Trouble(body=json.dumps(repo.info(blobs=True)).encode() + b" " * 40_000)
    assert read()[0] == {}


def test_a_hub_that_fails_again_and_again_ends_the_round(server: HubServer) -> None:
    server.add(*many(10))
    server.always |= {f"/api/models/{one.id}": Trouble(status=502) for one in many(10)}
    _, error = until_error(source())
    assert "502" in str(error)
    assert len(set(server.detailed())) < 6


def test_a_list_that_fails_costs_that_list_and_is_read_in_full_by_the_next_round(server: HubServer) -> None:
    server.add(Repo("Lab/own-GGUF", tags=("gguf",)))
    # The first two lists are Lab's.
    server.troubles["/api/models"] = [Trouble(body=b"{}"), Trouble(body=b'"no"')]
    batches, error = until_error(source())
    entries = {one.entry_id: one for batch in batches for one in batch.entries}
    assert entries.keys() == {FILES, ORIGINAL}
    assert "no list of models" in str(error)
    more, _, _ = read(batches[-1].cursor, known=kept(entries))
    assert more.keys() == {"Lab/own-GGUF"}


def test_a_list_that_goes_on_at_another_host_is_not_followed(server: HubServer) -> None:
    with HubServer() as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server.add(*(Repo(f"any/p{n}-GGUF", tags=("gguf",), gguf={"total": 10**9}) for n in range(150)))
        server.next_host = other.url
        batches, error = until_error(source())
        assert "another host" in str(error)
        assert len([one for batch in batches for one in batch.entries]) == 102
        assert other.requests == []
        other.shutdown()


def test_the_token_is_sent_to_the_hub_and_to_nobody_else(server: HubServer) -> None:
    with HubServer() as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server.always[f"/api/models/{FILES}"] = Trouble(status=307, headers={"Location": f"{other.url}/api/models/x/y"})
        read()
        assert other.requests == []
        assert set(server.tokens) == {"Bearer hf_of_the_test"}
        other.shutdown()


def test_a_token_that_is_not_accepted_says_so_without_showing_it(server: HubServer) -> None:
    headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
    server.always["/api/models"] = Trouble(status=401, headers=headers)
    _, error = until_error(source())
    assert "hf auth login" in str(error)
    assert "hf_of_the_test" not in str(error)


def test_no_network_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub_client, "FIRST_WAIT_S", 0.01)
    batches, error = until_error(source())
    assert batches == []
    assert "No connection to the Hub" in str(error)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_it_says_why_it_cannot_be_asked(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    assert source().unavailable() == ""
    monkeypatch.setenv(variable, "1")
    assert variable in source().unavailable()


# ── hostile metadata ─────────────────────────────────────────────────────────────────────────────────────────


def test_fields_of_a_wrong_form_are_left_out_and_the_rest_is_kept(server: HubServer) -> None:
    server.repos[FILES].says = {
        "gguf": {"total": -5, "context_length": "many", "chat_template": {"a": 1}},
        "downloads": True,
        "createdAt": "the day before",
        "cardData": {"license": ["apache-2.0\x1b[31m\u202e"], "language": {"en": 1}, "base_model": 7},
        "tags": ["gguf", 7, None, f"base_model:quantized:{ORIGINAL}", "base_model:quantized:../../etc/passwd"],
        "pipeline_tag": "<script>alert(1)</script>" + "x" * 10_000,
    }
    entry = read()[0][FILES]
    assert (entry.params_total, entry.context_tokens, entry.downloads, entry.created) == (None, None, None, "")
    assert (entry.license_id, entry.languages, entry.bases) == ("apache-2.0[31m", (), (ORIGINAL,))
    assert len(entry.pipeline) == 200
    assert len(entry.files) == 2


def test_files_that_would_leave_the_repository_or_have_no_size_are_left_out(server: HubServer) -> None:
    bad = ["../x.gguf", "/x.gguf", "a/../../x.gguf", "a\\x.gguf", "C:x.gguf", "x\n.gguf", "a//x.gguf", "<b>.gguf",
           "x" * 400 + ".gguf", None, 7]  # fmt: skip
    siblings: list[Any] = [{"rfilename": path, "size": 10} for path in bad]
    siblings += [None, "x.gguf", {"rfilename": "good-Q8_0.gguf", "size": -1, "lfs": {"sha256": "Z" * 64, "size": 1e99}}]
    siblings += [{"rfilename": f"many/{number}-Q4_0.gguf", "size": 10} for number in range(3000)]
    server.repos[FILES].says = {"siblings": siblings}
    files = read()[0][FILES].files
    assert len(files) == 2000
    assert (files[0].path, files[0].bytes, files[0].sha256) == ("good-Q8_0.gguf", None, "")


def test_private_repositories_are_not_kept(server: HubServer) -> None:
    server.repos[FILES].says = {"private": True}
    assert read()[0] == {}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
_FIELDS = ("sha", "lastModified", "createdAt", "gated", "downloads", "tags", "pipeline_tag", "cardData", "gguf",
           "siblings", "safetensors", "evalResults", "config", "private", "disabled")  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON) | _JSON)
def test_whatever_a_row_holds_it_is_an_entry_that_can_be_kept_or_none(row: Any) -> None:
    assert listed(row) is None
    if not isinstance(row, dict):
        return
    for made in (gguf_entry, original_entry):
        entry = made({**row, "id": "a/b"}, "https://hub")
        if entry is not None:
            encode(entry).encode()
            assert entry.entry_id == "a/b"
            assert entry.params_total is None or entry.params_total > 0


@given(st.sampled_from(("total", "rfilename", "size", "language", "license", "id", "value", "chat_template")), _JSON)
def test_whatever_stands_within_a_field_it_is_an_entry(name: str, value: Any) -> None:
    inner = {name: value}
    row = {"id": "a/b", "gguf": inner, "cardData": inner, "siblings": [inner], "safetensors": inner, "config": inner,
           "tags": [value, inner], "evalResults": [inner, {"dataset": inner, **inner}, {"data": inner}]}  # fmt: skip
    for made in (gguf_entry, original_entry):
        entry = made(row, "https://hub")
        assert entry is not None
        encode(entry).encode()


# ── architecture ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_header_of_one_file_per_model_tells_its_architecture(server: HubServer, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "x-Q8_0.gguf", context_tokens=2048)
    server.repos[FILES].files = {"x-Q8_0.gguf": path.read_bytes()}
    server.add(
        Repo("quants/Nova-other-GGUF", files={"y-Q8_0.gguf": path.read_bytes()}, tags=server.repos[FILES].tags,
             modified="2026-01-01T00:00:00.000Z")
    )  # fmt: skip
    entries, cursor, _ = read()
    entry = entries[FILES]
    assert (entry.architecture["architecture"], entry.architecture["n_layer"]) == ("llama", "2")
    assert "x-Q8_0.gguf" in entry.architecture_source
    assert entries["quants/Nova-other-GGUF"].architecture == {}
    assert not server.asked("y-Q8_0.gguf")
    # What told it tells it again when it has changed, since its entry is replaced as a whole.
    server.repos[FILES].change("2036-01-01T00:00:00.000Z")
    assert read(cursor, known=kept(entries))[0][FILES].architecture == entry.architecture


def test_a_file_that_is_no_gguf_costs_only_its_architecture(server: HubServer) -> None:
    server.repos[FILES].files = {"x-Q8_0.gguf": b"<html>" * 100}
    entry = read()[0][FILES]
    assert (entry.architecture, len(entry.files)) == ({}, 1)
    assert server.asked("resolve/[0-9a-f]{40}/x-Q8_0.gguf")


def test_a_gated_file_is_not_asked_for_its_header(server: HubServer) -> None:
    server.repos[FILES].gated = "auto"
    assert read()[0][FILES].gated
    assert not server.asked("/resolve/")
