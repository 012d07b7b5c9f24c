"""The Azure recipe against azure-ai-ml, with a credential that is none, up to the request it would send."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recommender.runtimes import Recipe
from recommender.runtimes.azure_ai_foundry import RUNTIME
from tests.tools import cases
from tests.tools.programs import environment, run

# The transport is replaced: each request is written down and answered like Azure's own resource manager.
_HARNESS = """
import json, sys, types
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
import azure.identity

class Credential:
    def get_token(self, *scopes, **_):
        return AccessToken("not-a-token", 4102444800)
    get_token_info = None

del Credential.get_token_info
azure.identity.DefaultAzureCredential = Credential
sent = []

def send(self, request, **_):
    body = request.body if isinstance(request.body, (str, bytes)) else ""
    sent.append([request.method, request.url, json.loads(body) if body else None])
    json.dump(sent, open("sent.json", "w"))
    raise ConnectionError("no network")

RequestsTransport.send = send
import requests
requests.Session.send = lambda self, request, **_: send(self, types.SimpleNamespace(
    method=request.method, url=request.url, body=request.body))
try:
    exec(compile(open("script.py").read(), "script.py", "exec"))
except BaseException as error:
    print(type(error).__name__, error, file=sys.stderr)
"""


def recipe() -> Recipe:
    model = cases.model("managed", azure_id="Phi-4-mini-instruct")
    return RUNTIME.recipe(cases.pick("azure-ai-foundry", ""), model, cases.device(), "managed")


@pytest.fixture
def sent(tool: Callable[[str], Path], tmp_path: Path) -> Callable[[str], list[list[object]]]:
    """The requests that a script would have sent: method, address, body."""

    def play(script: str) -> list[list[object]]:
        (tmp_path / "script.py").write_text(script)
        (tmp_path / "harness.py").write_text(_HARNESS)
        env = environment(tool("azure"), tmp_path / "cache") | {
            "AZURE_SUBSCRIPTION_ID": "11111111-2222-3333-4444-555555555555",
            "RESOURCE_GROUP": "my-group",
            "WORKSPACE": "my-workspace",
        }
        run("python harness.py", tmp_path, env)
        found: list[list[object]] = json.loads((tmp_path / "sent.json").read_text())
        return found

    return play


def test_the_model_is_looked_up_in_the_registry(sent: Callable[[str], list[list[object]]]) -> None:
    method, address, _ = sent(recipe().files["deploy.py"])[0]
    assert method == "GET"
    assert "azureml" in str(address)


def test_the_endpoint_that_would_be_made_names_the_model_without_its_version(
    sent: Callable[[str], list[list[object]]],
) -> None:
    script = recipe().files["deploy.py"]
    # The registry cannot be asked here, so its answer is put in its place.
    found = "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"
    lines = script.splitlines()
    kept = [line for line in lines if not line.startswith(("registry =", "model ="))]
    place = next(number for number, line in enumerate(kept) if line.startswith("client ="))
    kept.insert(place, f"import types; model = types.SimpleNamespace(id={found!r})")
    kept = [line.replace("model_id=", 'location="eastus", model_id=') for line in kept]
    requests = sent("\n".join(kept))
    method, address, body = requests[-1]
    assert method == "PUT"
    assert "/resourceGroups/my-group/" in str(address)
    assert "/workspaces/my-workspace/serverlessEndpoints/phi-4-mini-instruct" in str(address)
    assert json.dumps(body).count("azureml://registries/azureml/models/Phi-4-mini-instruct") == 1
    assert "versions" not in json.dumps(body)


def test_the_call_goes_to_the_deployment_through_openais_client(tool: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "call.py").write_text(recipe().files["call.py"])
    (tmp_path / "server.py").write_text(_SERVER)
    env = environment(tool("azure"), tmp_path / "cache") | {"AZURE_OPENAI_API_KEY": "a-key"}
    said = run("python server.py", tmp_path, env)
    assert json.loads(said.splitlines()[0]) == {
        "path": "/openai/v1/chat/completions",
        "key": "Bearer a-key",
        "model": "Phi-4-mini-instruct",
    }
    assert said.splitlines()[1] == "Hello."


_SERVER = """
import json, os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization")
        print(json.dumps({"path": self.path, "key": key, "model": body["model"]}), flush=True)
        answer = json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_): pass

server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["AZURE_OPENAI_BASE_URL"] = f"http://127.0.0.1:{server.server_address[1]}/openai/v1"
subprocess.run([sys.executable, "call.py"], check=True)
"""
