"""The Azure recipe against azure-ai-ml, with a credential that is none, up to the request it would send."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recommender.runtimes import Recipe
from recommender.runtimes.azure_ai_foundry import RUNTIME
from tests.tools import cases
from tests.tools.programs import environment, run

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
MODEL = "azureml://registries/azureml/models/Phi-4-mini-instruct"

# Python loads it before a script: requests are written down and answered as Azure does, and nothing leaves.
_HARNESS = """
import io, json, os
import azure.identity, requests, urllib3
from azure.core.credentials import AccessToken

class Credential:
    def get_token(self, *scopes, **_):
        return AccessToken("not-a-token", 4102444800)

azure.identity.DefaultAzureCredential = Credential
WORKSPACE = {"id": "/subscriptions/x", "name": "my-workspace", "location": "swedencentral", "properties": {}}

def answer(method, path, body):
    if "/serverlessEndpoints/" in path:
        uri = {"uri": "https://made.invalid", "headers": {}}
        made = {"authMode": "Key", "provisioningState": "Succeeded", "inferenceEndpoint": uri, **body["properties"]}
        return {**body, "id": path, "name": path.rpartition("/")[2], "properties": made}
    return WORKSPACE

class Recorder(requests.adapters.BaseAdapter):
    def send(self, request, **_):
        path = request.url.partition("?")[0]
        body = json.loads(request.body) if request.body else None
        with open("sent.jsonl", "a") as file:
            print(json.dumps([request.method, path, body, request.headers.get("Authorization")]), file=file)
        content = json.dumps(answer(request.method, path, body)).encode()
        found = requests.Response()
        found.status_code, found.url, found.request = 200, request.url, request
        found.headers["Content-Type"] = "application/json"
        found.raw = urllib3.HTTPResponse(
            body=io.BytesIO(content), status=200, headers={"Content-Type": "application/json"}, preload_content=False
        )
        return found

    def close(self):
        pass

requests.Session.get_adapter = lambda self, url: Recorder()
"""


def recipe(azure_id: str = "Phi-4-mini-instruct", os: str = "linux") -> Recipe:
    model = cases.model("managed", azure_id=azure_id)
    return RUNTIME.recipe(cases.pick("azure-ai-foundry", ""), model, cases.device(os=os), "managed")


@pytest.fixture
def env(tool: Callable[[str], Path], tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sitecustomize.py").write_text(_HARNESS)
    return environment(tool("azure"), tmp_path / "cache") | {
        "PYTHONPATH": str(tmp_path),
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "RESOURCE_GROUP": "my-group",
        "WORKSPACE": "my-workspace",
    }


def sent(folder: Path) -> list[list[Any]]:
    """Method, address, body and authorization of each request."""
    return [json.loads(line) for line in (folder / "sent.jsonl").read_text().splitlines()]


def test_the_script_asks_for_an_endpoint_of_the_model(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "deploy.py").write_text(recipe().files["deploy.py"])
    assert run("python deploy.py", tmp_path, env).strip().endswith("https://made.invalid")
    ((path, body, key),) = [(path, body, key) for method, path, body, key in sent(tmp_path) if method == "PUT"]
    assert path.startswith("https://management.azure.com/")
    assert path.endswith(
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/my-group/providers/Microsoft.MachineLearningServices"
        "/workspaces/my-workspace/serverlessEndpoints/phi-4-mini-instruct"
    )
    assert body["properties"]["modelSettings"]["modelId"] == MODEL  # without its version
    assert body["location"] == "swedencentral"  # the workspace's
    assert key == "Bearer not-a-token"


def test_a_model_of_another_registry_is_named_by_a_variable(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "deploy.py").write_text(recipe().files["deploy.py"])
    run("python deploy.py", tmp_path, env | {"REGISTRY": "another"})
    body = next(body for method, _, body, _ in sent(tmp_path) if method == "PUT")
    assert body["properties"]["modelSettings"]["modelId"] == MODEL.replace("/azureml/", "/another/")


def test_an_endpoint_is_named_as_azure_allows(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "deploy.py").write_text(recipe("Meta-Llama-3.1-8B-Instruct").files["deploy.py"])
    run("python deploy.py", tmp_path, env)
    path = next(path for method, path, _, _ in sent(tmp_path) if method == "PUT")
    assert path.rpartition("/")[2] == "meta-llama-3-1-8b-instruct"


@pytest.mark.parametrize(
    ("file_name", "authorization"), [("call.py", "Bearer a-key"), ("call_as_me.py", "Bearer not-a-token")]
)
def test_the_call_goes_to_the_deployment_through_openais_client(
    file_name: str, authorization: str, tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / file_name).write_text(recipe().files[file_name])
    (tmp_path / "server.py").write_text(_SERVER)
    said = run(f"python server.py {file_name}", tmp_path, env | {"AZURE_OPENAI_API_KEY": "a-key"})
    assert json.loads(said.splitlines()[0]) == {
        "path": "/openai/v1/chat/completions",
        "key": authorization,
        "model": "Phi-4-mini-instruct",
    }
    assert said.splitlines()[1] == "Hello."


def test_the_check_asks_the_deployment_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(_SERVER)
    (tmp_path / "check.sh").write_text(recipe().check.text)
    done = subprocess.run(
        [sys.executable, "server.py", "check.sh"],
        cwd=tmp_path,
        env={**environment(tmp_path, tmp_path / "cache"), "AZURE_OPENAI_API_KEY": "a-key"},
        capture_output=True,
        text=True,
        check=True,
    )
    asked, answered = done.stdout.splitlines()
    assert json.loads(asked)["key"] == "Bearer a-key"
    assert json.loads(answered)["choices"][0]["message"]["content"] == "Hello."


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
program = sys.executable if sys.argv[1].endswith(".py") else "bash"
subprocess.run([program, sys.argv[1]], check=True)
"""
