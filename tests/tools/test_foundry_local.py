"""The Foundry Local recipe with its real engine, on a tiny random model that a catalog of our own offers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from recommender.runtimes import Recipe, olive
from recommender.runtimes.foundry_local import RUNTIME
from tests.tiny_hf import write_tiny_hf
from tests.tools import cases
from tests.tools.programs import PATIENCE_S, environment, free_port, run

ALIAS, NAME = "tiny-1b", "tiny-1b-generic-cpu"

# Python loads it before a script: the engine asks our catalog and keeps its files in our folder.
_SITE = """
import os
from foundry_local_sdk import Configuration

made = Configuration.__init__

def here(self, *arguments, **named):
    made(
        self,
        *arguments,
        **named,
        app_data_dir=os.environ["APP_DATA"],
        catalog_urls=[(os.environ["CATALOG"], None)],
        disable_nonessential_telemetry=True,
    )

Configuration.__init__ = here
"""


def recipe(accelerator: str = "cpu") -> Recipe:
    model = cases.model("onnx", foundry_alias=ALIAS)
    return RUNTIME.recipe(cases.pick("foundry-local", "onnx-int4"), model, cases.device(), accelerator)


def catalog_entry() -> dict[str, Any]:
    """What the catalog's interface answers for one variant."""
    asset = f"azureml://registries/azureml/models/{NAME}/versions/1"
    variant = {"modelType": "ONNX", "device": "cpu", "executionProvider": "CPUExecutionProvider", "fileSizeBytes": 1}
    info = {"parents": [{"assetId": asset}], "variantMetadata": variant}
    return {
        "assetId": asset,
        "entityId": asset,
        "name": NAME,
        "version": 1,
        "displayName": NAME,
        "publisher": "acme",
        "annotations": {"tags": {"alias": ALIAS}, "systemCatalogData": {"inferenceTasks": ["chat-completion"]}},
        "properties": {"name": NAME, "version": 1, "variantInfo": info},
        "variantInformation": info,
    }


@pytest.fixture(scope="module")
def catalog() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"summaries": [catalog_entry()], "totalCount": 1}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/asset-gallery/v1.0/models"
    server.shutdown()


@pytest.fixture(scope="module")
def home(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny model lies as if Foundry Local had fetched it; Olive made it."""
    tool("foundry-local")
    home = tmp_path_factory.mktemp("foundry")
    made = environment(tool("onnx"), home / "cache") | {"OLIVE_DISABLE_TELEMETRY": "1"}
    write_tiny_hf(home / cases.MODEL_ID)
    folder = home / "data" / "cache" / "models" / "acme" / NAME / "v1"
    folder.parent.mkdir(parents=True)
    (home / "olive.json").write_text(olive.config(cases.MODEL_ID, str(folder), "cpu"))
    run("olive run --config olive.json", home, made)
    (folder / "inference_model.json").write_text(json.dumps({"Name": f"{NAME}:1"}))
    (home / "sitecustomize.py").write_text(_SITE)
    return home


@pytest.fixture(scope="module")
def env(tool: Callable[[str], Path], home: Path, catalog: str) -> dict[str, str]:
    here = {"PYTHONPATH": str(home), "APP_DATA": str(home / "data"), "CATALOG": catalog}
    return environment(tool("foundry-local"), home / "cache") | here


def test_the_program_without_a_server_answers(home: Path, env: dict[str, str]) -> None:
    (home / "chat.py").write_text(recipe().files["chat.py"])
    said = run("python chat.py", home, env)
    assert "100 %" in said
    assert len(said.partition("100 %")[2].strip()) > 100


def test_without_a_variant_for_the_device_it_says_so_and_takes_another(home: Path, env: dict[str, str]) -> None:
    (home / "npu.py").write_text(recipe("npu").files["chat.py"])
    said = run("python npu.py", home, env)
    assert said.startswith("No variant for the NPU")
    assert len(said) > 100


def test_an_alias_that_the_catalog_lacks_ends_with_a_sentence(home: Path, env: dict[str, str]) -> None:
    (home / "other.py").write_text(recipe().files["chat.py"].replace(ALIAS, "another"))
    done = subprocess.run(
        ["python", "other.py"], cwd=home, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1
    assert "Foundry Local has no another for this machine" in done.stderr


@pytest.fixture(scope="module")
def port(home: Path, env: dict[str, str]) -> Iterator[int]:
    """Where the recipe's server listens."""
    found = free_port()
    (home / "serve.py").write_text(recipe().files["serve.py"].replace(":5273", f":{found}"))
    (home / "model-id.txt").unlink(missing_ok=True)
    log = home / "serve.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            ["python", "serve.py"],
            cwd=home,
            env=env,
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not (home / "model-id.txt").exists():
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.2)
            yield found
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_check_gets_an_answer_from_the_recipes_server(port: int, home: Path, env: dict[str, str]) -> None:
    answer = json.loads(run(recipe().check.text.replace(":5273", f":{port}"), home, env))
    assert answer["model"] == f"{NAME}:1"
    assert answer["choices"][0]["message"]["content"]
    assert (home / "model-id.txt").read_text() == f"{NAME}:1"


def test_the_recipes_line_measures_its_server(port: int, home: Path, env: dict[str, str]) -> None:
    line = recipe().measure.text.replace(":5273", f":{port}") + " --prompt-tokens 100 --gen-tokens 24 --json"
    ours = {name: value for name, value in env.items() if name != "PYTHONPATH"} | {"RIGHTSIZE_HOME": str(home / "app")}
    found = json.loads(run(line, home, ours))
    assert (found["model_id"], found["quantization"]) == (cases.MODEL_ID, "onnx-int4")
    assert found["gen_tokens"] == 24
    assert found["decode_tokens_per_s"] > 0
