"""The Foundry Local recipe against its SDK: its calls exist and take what they get. Its catalog needs a network."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from recommender.runtimes import Recipe
from recommender.runtimes.foundry_local import RUNTIME
from tests.tools import cases
from tests.tools.programs import environment, run

# What the script calls, as names and the number of positional and the names of keyword arguments.
_INSPECT = """
import inspect, json, sys
import foundry_local_sdk as sdk

calls = json.load(open("calls.json"))
owners = [sdk, sdk.FoundryLocalManager, sdk.Catalog, sdk.IModel, sdk.Configuration]
for name, positional, keywords in calls:
    found = [getattr(owner, name) for owner in owners if hasattr(owner, name)]
    assert found, f"{name} does not exist"
    signature = inspect.signature(found[0])
    own = [None] if "self" in signature.parameters else []
    signature.bind(*own, *range(positional), **{one: None for one in keywords})
for name in json.load(open("attributes.json")):
    annotated = [owner.__doc__ or "" for owner in owners]
    assert any(hasattr(owner, name) for owner in owners) or any(name in text for text in annotated), name
print("all exist")
"""


def recipe(os: str = "linux") -> Recipe:
    model = cases.model("onnx", foundry_alias="qwen3-0.6b")
    return RUNTIME.recipe(cases.pick("foundry-local", "onnx-int4"), model, cases.device(os=os), "cpu")


def test_every_call_of_the_script_is_one_the_sdk_has(tool: Callable[[str], Path], tmp_path: Path) -> None:
    import json

    tree = ast.parse(recipe().files["serve.py"])
    calls = [
        (node.func.attr, len(node.args), [one.arg for one in node.keywords])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr != "write"
    ]
    assert {name for name, _, _ in calls} >= {"initialize", "get_catalog", "get_model", "download", "load"}
    attributes = sorted({node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} - {"write"})
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    (tmp_path / "attributes.json").write_text(json.dumps(attributes))
    (tmp_path / "inspect_sdk.py").write_text(_INSPECT)
    env = environment(tool("foundry-local"), tmp_path / "cache")
    assert run("python inspect_sdk.py", tmp_path, env).strip().endswith("all exist")
