"""The files of ``deploy/`` and the image fit the program, each other, and what a hosted instance must not give away."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from streamlit import config
from streamlit.testing.v1 import AppTest

from recommender.api import api
from recommender.api_worker import OpenCatalog
from recommender.cli import parser
from recommender.paths import HOME_VARIABLE
from recommender.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SPACE = DOCKERFILE + (DEPLOY / "huggingface" / "Dockerfile.append").read_text(encoding="utf-8")
README = (DEPLOY / "README.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
MANIFESTS: list[dict[str, Any]] = [
    document
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
PODS = {one["metadata"]["name"]: one["spec"]["template"] for one in MANIFESTS if "template" in one["spec"]}
SERVICES = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "Service"}
EVERYTHING = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "Dockerfile", ROOT / ".dockerignore", *sorted(DEPLOY.rglob("*")))
    if path.is_file() and path.suffix != ".pyc" and path.parent.name not in ("secrets", "models")
}
TEXT = "\n".join(EVERYTHING.values())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def env_of(dockerfile: str) -> dict[str, str]:
    """The variables that the last stage sets."""
    last = dockerfile.rpartition("\nFROM ")[2].replace("\\\n", " ")
    lines = re.findall(r"^ENV (.*)$", last, re.M)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["spec"]["containers"]
    return dict(only)


# ── what they name is there ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("variable", sorted(set(re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", TEXT))))
def test_every_variable_of_ours_is_one_that_the_program_reads(variable: str) -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "recommender").rglob("*.py"))
    settings = {PREFIX + one.name.upper() for one in fields(Settings)}
    assert variable in settings | {HOME_VARIABLE, f"{PREFIX}SETTINGS"} or f'"{variable}"' in sources


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"STREAMLIT_[A-Z_]*[A-Z]", TEXT))))
def test_every_variable_of_streamlits_is_one_of_its_options(variable: str) -> None:
    assert variable in {option.env_var for option in config.get_config_options().values()}


def test_the_values_given_are_ones_that_the_settings_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from recommender.settings import load

    given = [env_of(DOCKERFILE), env_of(SPACE), COMPOSE["services"]["app"]["environment"]]
    given.append({one["name"]: one.get("value", "") for one in container("rightsize")["env"]})
    for environment in given:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                if name.startswith(PREFIX) and name != f"{PREFIX}SETTINGS":
                    patch.setenv(name, value)
            patch.setenv(HOME_VARIABLE, str(tmp_path))
            load()
    assert env_of(DOCKERFILE)["RIGHTSIZE_DOOR"] == "hosted"


def test_every_command_is_one_of_the_programs() -> None:
    known = set(next(one for one in parser()._actions if one.choices).choices)  # type: ignore[call-overload]
    named = set(re.findall(r"(?:bin/|`|\n)recommender ([a-z-]+)", TEXT)) | set(
        re.findall(r'CMD \["recommender", "([a-z-]+)"', DOCKERFILE)
    )
    assert {"serve", "catalog", "browser-assets"} <= named
    assert named <= known


def test_what_the_image_is_made_of_is_let_in_and_is_there() -> None:
    lines = EVERYTHING[".dockerignore"].splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert all((ROOT / name).exists() for name in let_in)
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"], "requirements.txt"}
    assert needed - let_in == {".streamlit"}  # of which only the options are let in, never the secrets
    assert ".streamlit/config.toml" in let_in
    for name in re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.M):
        assert (ROOT / name).exists()


def test_health_is_asked_for_where_it_is_answered() -> None:
    paths = {f"/api{route.path}" for route in api(OpenCatalog(), 1).routes}  # type: ignore[attr-defined]
    assert "/api/health" in paths
    assert "'/api/health'" in DOCKERFILE
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container("rightsize")[probe]["httpGet"] == {"path": "/api/health", "port": "http"}


def test_ports_agree() -> None:
    for text in (DOCKERFILE, SPACE):
        assert env_of(text)["RIGHTSIZE_PORT"] == re.findall(r"^EXPOSE (\d+)$", text, re.M)[-1]
    front = yaml.safe_load((DEPLOY / "huggingface" / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert (front["sdk"], str(front["app_port"])) == ("docker", env_of(SPACE)["RIGHTSIZE_PORT"])
    port = env_of(DOCKERFILE)["RIGHTSIZE_PORT"]
    assert COMPOSE["services"]["app"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert container("rightsize")["ports"] == [{"name": "http", "containerPort": int(port)}]
    for name, service in SERVICES.items():
        ports = {one["name"] for one in container(name)["ports"]}
        assert {one["targetPort"] for one in service["ports"]} <= ports
        assert service["selector"] == PODS[name]["metadata"]["labels"]


def test_servers_are_called_by_names_that_exist() -> None:
    environment = {one["name"]: one.get("value") for one in container("rightsize")["env"]}
    server = urlsplit(environment["RIGHTSIZE_TRY_SERVER"])
    assert server.port == SERVICES[str(server.hostname)]["ports"][0]["port"]
    assert re.findall(r"TRY_SERVER=http://([a-z-]+):8080/v1", README) == ["llama-server"]
    assert set(re.findall(r"@([a-z-]+)/rightsize", README)) == {"database", "rightsize-database"}
    assert {"database", "llama-server"} < set(COMPOSE["services"])
    assert "rightsize-database" in SERVICES


def test_volumes_are_those_that_are_mounted() -> None:
    for template in PODS.values():
        spec = template["spec"]
        volumes = {one["name"] for one in spec["volumes"]}
        mounted = {one["name"] for one in spec["containers"][0]["volumeMounts"]}
        claimed = {"database"} & mounted
        assert mounted - claimed == volumes
    data = {one["name"]: one["mountPath"] for one in container("rightsize")["volumeMounts"]}
    assert data["data"] == env_of(DOCKERFILE)[HOME_VARIABLE]
    assert COMPOSE["services"]["app"]["volumes"] == [f"data:{env_of(DOCKERFILE)[HOME_VARIABLE]}"]


def test_limits_fit_into_what_the_replica_gets() -> None:
    environment = {one["name"]: one.get("value") for one in container("rightsize")["env"]}
    (data,) = [one for one in PODS["rightsize"]["spec"]["volumes"] if one["name"] == "data"]
    size, limits = data["emptyDir"]["sizeLimit"], container("rightsize")["resources"]["limits"]
    assert float(environment["RIGHTSIZE_DISK_QUOTA_GIB"]) < float(size.removesuffix("Gi"))
    assert float(size.removesuffix("Gi")) < float(limits["ephemeral-storage"].removesuffix("Gi"))
    assert 1.5 * float(environment["RIGHTSIZE_MAX_FILE_GIB"]) < float(limits["memory"].removesuffix("Gi"))


def test_the_version_is_the_packages_and_every_image_is_pinned() -> None:
    images = [one["image"] for one in COMPOSE["services"].values()]
    images += [container(name)["image"] for name in PODS]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    for image in images:
        tag = image.rpartition("/")[2].partition(":")[2]
        assert re.search(r"\d", tag), f"{image} names no version"
        if "rightsize" in image:
            assert tag == PROJECT["project"]["version"]
    named = set(re.findall(r"rightsize:(\d[\w.]*)", TEXT))
    assert named == {PROJECT["project"]["version"]}


# ── what they must not do ────────────────────────────────────────────────────────────────────────────────────


def test_nothing_runs_as_root_or_may_become_it() -> None:
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.M)[-1] == "1000:1000"
    for name, service in COMPOSE["services"].items():
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert {"mem_limit", "cpus", "pids_limit"} <= set(service), name
    for name, template in PODS.items():
        pod, one = template["spec"]["securityContext"], container(name)["securityContext"]
        assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"}), name
        assert pod["runAsUser"] > 0, name
        assert one["readOnlyRootFilesystem"], name
        assert one["capabilities"] == {"drop": ["ALL"]}, name
        assert one["allowPrivilegeEscalation"] is False, name
        assert template["spec"]["automountServiceAccountToken"] is False, name
        assert {"cpu", "memory"} <= set(container(name)["resources"]["limits"]), name


def test_the_database_and_the_model_server_can_be_reached_by_the_app_only() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("database", "llama-server"):
        assert COMPOSE["services"][name]["networks"] == ["inside"]
        assert "ports" not in COMPOSE["services"][name]
    policies = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"}
    assert set(policies) == set(PODS)
    for name in ("rightsize-database", "llama-server"):
        assert policies[name]["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app": "rightsize"}}}]
    for policy in policies.values():
        for rule in policy.get("egress", []):
            for block in (one["ipBlock"] for one in rule["to"] if "ipBlock" in one):
                assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(block["except"])


def test_no_secret_stands_in_a_file() -> None:
    given = [one.get("environment", {}) for one in COMPOSE["services"].values()] + [env_of(SPACE)]
    given += [{one["name"]: one.get("value") for one in container(name)["env"]} for name in PODS]
    for environment in given:
        for name, value in environment.items():
            if re.search("SECRET|PASSWORD|TOKEN|KEY", name) and not name.endswith("_FILE"):
                assert value is None, f"{name} has its value in a file"
    assert set(re.findall(r"postgresql://\w+:(\S+?)@", TEXT)) <= {"%s", "$password"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/deploy/secrets/", "/deploy/models/", "/.streamlit/secrets.toml"} <= set(ignored)
    files = {one["file"] for one in COMPOSE["secrets"].values()} | set(COMPOSE["services"]["app"]["env_file"])
    assert files == set(re.findall(r"> deploy/(secrets/\S+)$", README, re.M))


def test_every_key_of_the_cluster_s_secret_is_made_by_the_readme() -> None:
    text = "\n".join(value for name, value in EVERYTHING.items() if name.startswith("deploy/kubernetes"))
    assert set(re.findall(r"^ +(?:- )?key: (\S+)$", text, re.M)) == set(
        re.findall(r"--from-literal=([\w.-]+)=", README)
    )


def test_replicas_keep_their_visitors_and_sign_cookies_alike() -> None:
    (service,) = [one for one in MANIFESTS if one["kind"] == "Service" and one["metadata"]["name"] == "rightsize"]
    assert service["spec"]["sessionAffinity"] == "ClientIP"
    assert service["metadata"]["annotations"]["traefik.ingress.kubernetes.io/service.sticky.cookie"] == "true"
    (secret,) = [one for one in container("rightsize")["env"] if one["name"] == "STREAMLIT_SERVER_COOKIE_SECRET"]
    assert secret["valueFrom"]["secretKeyRef"] == {"name": "rightsize", "key": "cookie-secret"}
    assert not re.search("workers", DOCKERFILE)


def test_nobody_is_believed_about_a_visitors_address_by_default() -> None:
    assert "FORWARDED_ALLOW_IPS" not in env_of(DOCKERFILE)
    assert not re.findall(r"FORWARDED_ALLOW_IPS[:=\s]+[\"']?\*", TEXT)


# ── Community Cloud ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_image_and_community_cloud_install_the_package_at_the_versions_it_was_tested_with() -> None:
    folder = DEPLOY / "community-cloud"
    lines = [
        line
        for line in (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert lines == ["-c ../../requirements.txt", ".[auth,postgres]"]
    assert f'"{lines[1]}"' in DOCKERFILE
    assert {"auth", "postgres"} <= set(PROJECT["project"]["optional-dependencies"])
    assert (folder / "../../requirements.txt").resolve() == ROOT / "requirements.txt"


def test_community_clouds_entry_shows_the_first_page_with_settings_of_the_environment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RIGHTSIZE_DOOR", "hosted")
    page = AppTest.from_file(str(DEPLOY / "community-cloud" / "streamlit_app.py"), default_timeout=120).run()
    assert not page.exception
    # The browser, which this test has none of, says what machine it is; the server's own is nobody's answer.
    assert page.segmented_control(key="device").options == [
        "Your device",
        "From the list",
        "Paste specs",
        "This server",
    ]


# ── docs/security.md ─────────────────────────────────────────────────────────────────────────────────────────


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "security.md").read_text(encoding="utf-8"))
    assert named
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert not missing
