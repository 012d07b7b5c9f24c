"""The loopback Hub speaks as the Hub's own client expects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RevisionNotFoundError

from tests.hub.server import HubServer, Repo, Trouble


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        made.add(
            Repo(
                "a/x-GGUF", {"x-Q4_0.gguf": b"GGUF" + bytes(60)}, ("gguf", "en"), {"license": "mit"}, {"total": 10**9}
            ),
            Repo("a/y-GGUF", tags=("gguf",), modified="2026-11-20T00:00:00.000Z", gguf={"total": 8 * 10**9}),
            Repo("b/original", safetensors_total=10**9),
        )
        yield made
        made.shutdown()


@pytest.fixture
def api(server: HubServer) -> HfApi:
    return HfApi(endpoint=server.url, token=False)


def test_lists_are_filtered_sorted_and_paged(server: HubServer, api: HfApi) -> None:
    assert [one.id for one in api.list_models(filter="gguf", sort="last_modified")] == ["a/y-GGUF", "a/x-GGUF"]
    assert [one.id for one in api.list_models(author="b")] == ["b/original"]
    assert [one.id for one in api.list_models(search="X-gg")] == ["a/x-GGUF"]
    assert [one.id for one in api.list_models(num_parameters="min:2B,max:14B")] == ["a/y-GGUF"]
    server.add(*(Repo(f"c/{number}") for number in range(1100)))
    assert sum(1 for _ in api.list_models(author="c")) == 1100
    assert len(server.asked("cursor=1000")) == 1


def test_a_models_info_holds_what_was_asked_for(server: HubServer, api: HfApi) -> None:
    info = api.model_info("a/x-GGUF", files_metadata=True, securityStatus=True)
    assert info.siblings is not None
    assert info.siblings[0].lfs is not None
    assert (info.siblings[0].size, info.siblings[0].lfs.size) == (64, 64)
    assert info.security_repo_status == {"scansDone": True, "filesWithIssues": []}
    info = api.model_info("a/x-GGUF", expand=["gguf", "sha"])
    assert (info.gguf, info.sha, info.downloads) == ({"total": 10**9}, server.repos["a/x-GGUF"].sha, None)
    with pytest.raises(RevisionNotFoundError):
        api.model_info("a/x-GGUF", revision="0" * 40)
    with pytest.raises(HfHubHTTPError):
        api.model_info("a/z")


def test_a_file_is_downloaded_through_its_redirect(server: HubServer, api: HfApi, tmp_path: Path) -> None:
    path = api.hf_hub_download("a/x-GGUF", "x-Q4_0.gguf", cache_dir=tmp_path)
    assert Path(path).read_bytes() == server.repos["a/x-GGUF"].files["x-Q4_0.gguf"]
    server.repos["a/x-GGUF"].gated = "auto"
    with pytest.raises(GatedRepoError):
        api.hf_hub_download("a/x-GGUF", "x-Q4_0.gguf", cache_dir=tmp_path / "other")


def test_parts_of_files_and_unchanged_answers_are_told_as_such(server: HubServer) -> None:
    session = get_session()
    part = session.get(f"{server.url}/a/x-GGUF/resolve/main/x-Q4_0.gguf", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"GGUF", "bytes 0-3/64")
    first = session.get(f"{server.url}/api/models/a/x-GGUF")
    again = session.get(f"{server.url}/api/models/a/x-GGUF", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, server.unchanged) == (304, 1)


def test_troubles_come_one_after_another_and_then_end(server: HubServer) -> None:
    server.troubles["/api/models/a/x-GGUF"] = [Trouble(status=429, headers={"Retry-After": "7"}), Trouble(body=b"no")]
    answers = [get_session().get(f"{server.url}/api/models/a/x-GGUF") for _ in range(3)]
    assert [one.status_code for one in answers] == [429, 200, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[1].content == b"no"
    assert answers[2].json()["id"] == "a/x-GGUF"
