"""vLLM's manifests against the schemas of the Kubernetes API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from recommender.runtimes import Recipe
from tests.tools import cases

DEVICES = {
    "cuda": cases.device(cases.NVIDIA),
    "cuda-2": cases.device(cases.T4, cases.T4),
    "rocm": cases.device(cases.AMD),
    "cpu": cases.device(),
}
# API kinds that Kubernetes has itself; the others come with operators.
OWN = ("Deployment", "Service", "HorizontalPodAutoscaler")


def recipe_on(place: str) -> Recipe:
    chosen = cases.pick("vllm", "bf16", total_gib=20.0, parallel=8)
    return cases.recipe(chosen, cases.model("safetensors"), DEVICES[place], place.partition("-")[0])


def manifests(place: str) -> dict[str, Any]:
    """File name → what its YAML says."""
    files = recipe_on(place).files.items()
    return {name: yaml.safe_load(text) for name, text in files if name.endswith(".yaml")}


@pytest.fixture(scope="module")
def validator(tool: Callable[[str], Path]) -> Callable[[Path], subprocess.CompletedProcess[str]]:
    program = tool("kubernetes") / "kubernetes-validate"

    def validate(file: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, "--strict", file], capture_output=True, text=True, check=False, timeout=120)

    return validate


@pytest.mark.parametrize("place", DEVICES)
def test_every_manifest_is_valid_by_the_schema(
    place: str, validator: Callable[[Path], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    checked = []
    for name, text in recipe_on(place).files.items():
        kind = yaml.safe_load(text).get("kind", "")
        if kind in OWN:
            (tmp_path / Path(name).name).write_text(text)
            done = validator(tmp_path / Path(name).name)
            assert done.returncode == 0, done.stdout + done.stderr
            checked.append(kind)
    assert sorted(checked) == sorted(OWN)


def test_the_validator_would_see_a_wrong_field(
    validator: Callable[[Path], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    text = recipe_on("cuda").files["kubernetes/deployment.yaml"]
    (tmp_path / "wrong.yaml").write_text(text.replace("failureThreshold", "failureTreshold"))
    assert validator(tmp_path / "wrong.yaml").returncode != 0


@pytest.mark.parametrize(
    ("place", "resource", "number"), [("cuda", "nvidia.com/gpu", "1"), ("rocm", "amd.com/gpu", "1")]
)
def test_gpus_are_asked_for_by_their_vendors_name(place: str, resource: str, number: str) -> None:
    container = manifests(place)["kubernetes/deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"][resource] == number
    assert container["resources"]["requests"][resource] == number


def test_as_many_gpus_are_asked_for_as_the_server_divides_the_model_among() -> None:
    container = manifests("cuda-2")["kubernetes/deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["args"][container["args"].index("--tensor-parallel-size") + 1] == "2"


def test_the_parts_find_each_other() -> None:
    found = manifests("cuda")
    deployment, service = found["kubernetes/deployment.yaml"], found["kubernetes/service.yaml"]
    scaler, monitor = found["kubernetes/autoscaler.yaml"], found["kubernetes/pod-monitor.yaml"]
    pod = deployment["spec"]["template"]
    ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
    assert deployment["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert pod["spec"]["containers"][0][probe]["httpGet"] == {"path": "/health", "port": "http"}
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in pod["spec"]["containers"][0]["volumeMounts"]} == volumes


def test_the_scaler_reads_the_metric_that_the_adapter_makes() -> None:
    found = manifests("cuda")
    (rule,) = found["kubernetes/adapter-rule.yaml"]["rules"]["custom"]
    (metric,) = found["kubernetes/autoscaler.yaml"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith(rule["name"]["matches"].strip("^$"))


def test_the_monitor_has_the_fields_of_its_definition() -> None:
    """monitoring.coreos.com/v1 PodMonitor (prometheus-operator, example/prometheus-operator-crd)."""
    monitor = manifests("cuda")["kubernetes/pod-monitor.yaml"]
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert set(monitor["spec"]) == {"selector", "podMetricsEndpoints"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert set(endpoint) <= {"port", "path", "interval", "scrapeTimeout", "scheme"}
    assert isinstance(endpoint["port"], str)


def test_vllm_exports_the_metric_and_answers_the_probe(tool: Callable[[str], Path]) -> None:
    (package,) = (tool("vllm").parent / "lib").glob("python*/site-packages/vllm")
    (rule,) = manifests("cuda")["kubernetes/adapter-rule.yaml"]["rules"]["custom"]
    metric = rule["name"]["matches"].strip("^$")
    assert json.dumps(metric) in (package / "v1" / "metrics" / "loggers.py").read_text()
    health = package / "entrypoints" / "serve" / "instrumentator" / "health.py"
    assert '@router.get("/health"' in health.read_text()
