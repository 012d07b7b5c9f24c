from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from recommender import paths
from recommender.runner.ollama_server import OllamaServer
from recommender.runner.protocol import RunRequest
from recommender.settings import Settings, use
from recommender.ui import sources, start
from recommender.ui.browser_run import IN_BROWSER
from recommender.ui.resources import runs
from tests.runner.conftest import PATIENCE_S, until
from tests.tiny_gguf import write_tiny_gguf
from tests.ui.conftest import Open

CHOICE = {"model": "SmolLM2-360M-Instruct", "quant": "Q8_0", "threads": "1"}
FILE = {"source": sources.LOCAL, "threads": "1"}


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[RunRequest]:
    """Requests that the page would have run."""
    found: list[RunRequest] = []

    def submit(request: RunRequest) -> SimpleNamespace:
        found.append(request)
        return SimpleNamespace(id=f"{len(found):012d}")

    monkeypatch.setattr(start, "runs", lambda: SimpleNamespace(submit=submit, get=lambda _: None, jobs=lambda: ()))
    monkeypatch.setattr(start, "found_on_hub", lambda source: source)
    return found


@pytest.fixture(autouse=True)
def nothing_cached() -> None:
    sources.ollama.clear()
    sources._installed.clear()


def test_every_setting_can_be_edited_and_reaches_the_run(open_page: Open, queued: list[RunRequest]) -> None:
    edited = {"try_context": "8192", "kv_type": "q8_0", "batch": "1024", "ubatch": "256", "gpu_layers": "0"}
    app = open_page("try_it", **CHOICE, **edited)
    app.button(key="start").click().run()
    assert not app.exception
    [request] = queued
    settings = request.settings
    assert (settings.context_tokens, settings.kv_type, settings.threads, settings.gpu_layers) == (8192, "q8_0", 1, 0)
    assert (settings.batch_tokens, settings.ubatch_tokens) == (1024, 256)
    assert request.keep_loaded


def test_what_nobody_publishes_can_only_be_rehearsed(open_page: Open) -> None:
    app = open_page("try_it", model="SmolLM2-135M-Instruct", quant="Q4_0", threads="1")
    assert app.button(key="start").disabled
    assert "no published file" in app.button(key="start").label
    assert not app.button(key="rehearse").disabled


def test_two_models_get_the_same_prompt_one_after_the_other(open_page: Open, queued: list[RunRequest]) -> None:
    second = {"both": "true", "second_model": "SmolLM2-1.7B-Instruct", "second_quant": "Q4_K_M"}
    app = open_page("try_it", **CHOICE, **second)
    app.text_area(key="prompt").set_value("Which of you is better?").run()
    app.button(key="start").click().run()
    assert not app.exception
    assert [request.prompt for request in queued] == ["Which of you is better?"] * 2
    assert [request.quantization for request in queued] == ["Q8_0", "Q4_K_M"]
    assert not any(request.keep_loaded for request in queued), "the second would wait for the first one's chat"
    assert "000000000001" in app.query_params["run"]
    assert "000000000002" in app.query_params["beside"]


def test_without_an_ollama_server_the_page_says_how_to_get_one(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    app = open_page("try_it", where=sources.OLLAMA, **CHOICE)
    assert any("ollama serve" in info.value for info in app.info)
    assert not [button for button in app.button if button.key == "start"]


def test_a_model_of_the_catalog_is_pulled_into_ollama_by_its_name_there(
    open_page: Open, queued: list[RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.runner.ollama_server.find_server", lambda: OllamaServer("http://there", "0.24.0"))
    monkeypatch.setattr(sources, "find_server", lambda: OllamaServer("http://there", "0.24.0"))
    monkeypatch.setattr(sources, "installed_models", lambda _: ())
    app = open_page("try_it", where=sources.OLLAMA, **CHOICE)
    app.button(key="start").click().run()
    assert not app.exception
    [request] = queued
    assert (request.runtime, request.model_path, request.repo) == ("ollama", "", "")
    assert "smollm2" in request.file.lower()


def test_a_server_is_asked_for_by_its_address_and_its_key_stays_out_of_the_url(
    open_page: Open, queued: list[RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.runner.openai_runner.models_at", lambda endpoint, key: ("big-model",))
    app = open_page("try_it", where=sources.SERVER)
    app.text_input(key="endpoint").set_value("http://127.0.0.1:1/v1").run()
    app.text_input(key="api_key").set_value("secret").run()
    app.button(key="start").click().run()
    assert not app.exception
    [request] = queued
    assert (request.runtime, request.file, request.api_key) == ("openai", "big-model", "secret")
    assert "secret" not in repr(request)
    assert not any("secret" in str(value) for value in app.query_params.values())


def test_a_run_ends_in_a_chat_that_answers_and_can_be_ended(open_page: Open, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    app = open_page("try_it", **FILE)
    app.text_input(key="gguf_path").set_value(str(path)).run()
    app.number_input(key="try_context").set_value(1024).run()
    app.button(key="start").click().run()
    job = runs().get("".join(app.query_params["run"]))
    assert job is not None
    until(lambda: job.state == "chatting" or job.ended)
    app.run()
    assert not app.exception
    app.chat_input[0].set_value("Hello").run()
    until(lambda: job.turns[-1].ended)
    app.run()
    assert [turn.question.messages[-1].content for turn in job.turns][1:] == ["Hello"]
    assert any("given back" in caption.value for caption in app.caption)
    app.button(key="end_chat_run").click().run()
    assert job.wait(PATIENCE_S)
    assert not app.exception
    assert not app.chat_input


def test_after_memory_ran_out_something_smaller_is_offered(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from recommender.errors import OutOfMemoryError
    from recommender.runner.job import Job
    from tests.runner.conftest import SETTINGS

    request = RunRequest(
        "Qwen/Qwen3-4B", "Q8_0", SETTINGS, model_path="x.gguf", predicted_memory_bytes=1e12, prompt_tokens=64
    )
    job = Job(request)
    job._end(OutOfMemoryError("Memory ran out while x.gguf was loading."))
    monkeypatch.setattr(runs(), "get", lambda _: job)
    app = open_page("try_it", run="0" * 12)
    assert any("short by" in caption.value for caption in app.caption)
    offered = app.button(key="smaller_run")
    assert offered.label.startswith("Try Qwen3")
    assert offered.label.count("instead") == 1


def test_a_full_disk_is_told_before_the_click(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.runner.hub.free_disk_bytes", lambda: 1000)
    app = open_page("try_it", **CHOICE)
    assert any("short by" in warning.value for warning in app.warning)
    assert app.button(key="start").disabled


def test_onnx_runtime_is_offered_only_where_it_is_installed(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("recommender.runner.onnx_folder.installed", lambda: "")
    assert sources.ONNX not in open_page("try_it").segmented_control(key="where").options
    monkeypatch.setattr("recommender.runner.onnx_folder.installed", lambda: "onnxruntime-genai 0.14.1")
    app = open_page("try_it", where=sources.ONNX)
    app.text_input(key="onnx_path").set_value(str(tmp_path)).run()
    assert not app.exception
    assert any("genai_config.json" in warning.value.replace("\\", "") for warning in app.warning)
    assert app.button(key="start").disabled


@pytest.fixture
def hosted() -> Settings:
    settings = Settings(door="hosted", try_server="http://127.0.0.1:9/v1")
    use(settings)
    return settings


def test_a_visitor_of_a_hosted_instance_is_offered_no_path_and_no_address(open_page: Open, hosted: Settings) -> None:
    app = open_page("try_it", where=sources.ON_SERVER, **CHOICE)
    assert app.segmented_control(key="where").options == [IN_BROWSER, sources.ON_SERVER, sources.SHARED]
    assert {one.key for one in app.text_input} == set()
    assert app.header[0].value == "Try it"
    for elsewhere in (sources.HERE, sources.OLLAMA, sources.SERVER, sources.ONNX):
        crafted = open_page("try_it", where=elsewhere, source=sources.LOCAL, gguf_path="/etc/passwd", **CHOICE)
        assert {one.key for one in crafted.text_input} == {"my_gpu"}  # the name of the visitor's own
        assert crafted.segmented_control(key="where").value == IN_BROWSER


def test_a_visitors_context_is_at_most_what_the_settings_say(
    open_page: Open, hosted: Settings, queued: list[RunRequest]
) -> None:
    app = open_page("try_it", where=sources.ON_SERVER, try_context="1000000", **CHOICE)
    app.button(key="start").click().run()
    assert [one.settings.context_tokens <= hosted.max_context for one in queued] == [True]


def test_where_nothing_is_run_on_the_server_only_the_browser_is_offered(open_page: Open) -> None:
    use(Settings(door="hosted", max_file_gib=0))
    assert open_page("try_it", **CHOICE).segmented_control(key="where").options == [IN_BROWSER]


def test_the_limits_are_said_before_anybody_runs_into_them(open_page: Open, hosted: Settings) -> None:
    app = open_page("try_it", where=sources.ON_SERVER, **CHOICE)
    assert "for all visitors: models of the catalog up to 4.0 GiB" in " ".join(one.value for one in app.caption)


def test_a_visitor_learns_no_path_of_the_server_from_what_goes_wrong(open_page: Open, hosted: Settings) -> None:
    paths.scratch_dir().parent.mkdir(parents=True, exist_ok=True)
    paths.scratch_dir().write_bytes(b"")  # no folder can be made there
    app = open_page("try_it", where=sources.ON_SERVER, **CHOICE)
    app.button(key="rehearse").click().run()
    said = " ".join(one.value for one in app.error).replace("\\", "")
    assert "a place there cannot be written" in said
    assert str(paths.data_dir()) not in said
