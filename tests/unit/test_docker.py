"""What stands in docker/ exists: commands, ports, paths, variables, networks. No engine runs here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ml_backend.app import ROUTES
from ml_backend.settings import Settings
from trainer.cli import cli

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WINNOWS = ("web", "propose", "train", "scheduler")
NO_SETTINGS = {"WINNOW_MODELS"}  # compose's own word for the host's folder of models


def test_the_dockerfile_has_no_finding() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("file", ["compose.yaml", "compose.gpu.yaml"])
def test_the_compose_files_are_as_the_specification_says(file: str) -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    line = [checker, "--builtin-schema", "vendor.compose-spec", DOCKER / file]
    found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout.strip()) == (0, "ok -- validation done")


def test_the_image_is_built_from_what_is_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    assert {name for line in copied for name in line.split()[:-1]} == let_in


def test_everything_that_pip_installs_is_pinned() -> None:
    lines = [line for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line for line in lines)
    pinned = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    asked = [
        *project["project"]["dependencies"],
        *extras["s3"],
        *extras["quantized"],
        *project["build-system"]["requires"],
    ]
    wanted = [Requirement(line) for line in asked if not line.startswith("torch")]
    assert [str(one) for one in wanted if pinned.get(canonicalize_name(one.name), "0") not in one.specifier] == []
    torches = set(re.findall(r"^ARG TORCH=(.+)$", DOCKERFILE, re.MULTILINE))
    assert torches == set(re.findall(r"^TORCH \?= torch==(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_images_have_exact_versions() -> None:
    images = [service["image"] for service in SERVICES.values() if not service["image"].startswith("winnow:")]
    base = re.findall(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.MULTILINE)
    assert all(re.search(r":\d+\.\d+(\.\d+)?(-\w+)?$", image) for image in images)
    assert all(re.match(r"\d+\.\d+\.\d+-", version) for version in base)
    version = re.search(r"^LABEL_STUDIO_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version
    assert f"heartexlabs/label-studio:{version[1]}" in images, "the one that the tests run with"


@pytest.mark.parametrize("name", [*WINNOWS, "redis", "label-studio", "postgres"])
def test_services_can_gain_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name != "postgres":  # its image changes users itself
        assert service["cap_drop"] == ["ALL"]
    if name in (*WINNOWS, "redis"):
        assert (service["read_only"], service["tmpfs"]) == (True, ["/tmp"])


def test_what_is_copied_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    names = [name for line in copied for name in line.split()[:-1]]
    assert names
    assert not [name for name in names if not (ROOT / name).exists()]


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml", "compose.gpu.yaml"])
def test_every_variable_is_a_setting(file: str) -> None:
    known = {f"WINNOW_{name.upper()}" for name in Settings.model_fields} | NO_SETTINGS
    assert set(re.findall(r"\bWINNOW_[A-Z_]+\b", (DOCKER / file).read_text())) <= known


def test_every_command_is_one() -> None:
    default = re.search(r'^CMD \["(\w+)"\]$', DOCKERFILE, re.MULTILINE)
    assert default
    for command in [[default[1]], *(SERVICES[name]["command"] for name in WINNOWS)]:
        name, *arguments = command
        cli.commands[name].make_context(name, list(arguments))


def test_ports_and_health_are_those_of_the_web_process() -> None:
    port = Settings.model_fields["port"].default
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [str(port)]
    health = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", DOCKERFILE)
    assert health
    assert int(health[1]) == port
    assert health[2] in [rule for rule, _, _ in ROUTES]
    assert SERVICES["web"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert SERVICES["web"]["environment"]["WINNOW_PUBLIC_URL"] == f"http://web:{port}"


def test_the_image_runs_as_nobody_in_particular() -> None:
    for target in ("cpu", "cuda"):
        stage = DOCKERFILE[DOCKERFILE.index(f"FROM base AS {target}") :]
        assert re.search(r"^USER 10001:10001$", stage, re.MULTILINE)


def test_networks_volumes_and_secrets_are_declared_and_used() -> None:
    for kind in ("networks", "secrets"):
        used = {one for service in SERVICES.values() for one in service.get(kind, [])}
        assert used == set(COMPOSE[kind])
    mounted = {v.split(":")[0] for service in SERVICES.values() for v in service.get("volumes", []) if v[0].isalpha()}
    assert mounted == set(COMPOSE["volumes"])


def test_every_secret_is_a_setting_or_a_servers_password() -> None:
    ours = {name.removeprefix("winnow_") for name in COMPOSE["secrets"] if name.startswith("winnow_")}
    assert ours <= set(Settings.model_fields)
    told = (DOCKER / "compose.yaml").read_text().split("name: winnow")[0]
    assert not [name for name in COMPOSE["secrets"] if name not in told], "the comment makes every file"


def test_nothing_secret_is_in_an_environment() -> None:
    plain = [name for service in SERVICES.values() for name in service.get("environment", {})]
    assert not [name for name in plain if re.search("PASSWORD$|TOKEN$|SECRET$", name)]


def test_label_studio_reaches_nothing_by_the_ssrf_settings_but_winnow() -> None:
    own = set(SERVICES["label-studio"]["networks"])
    beside = {name for name, service in SERVICES.items() if own & set(service["networks"])} - {"label-studio"}
    assert beside == {*WINNOWS, "postgres"}
    assert all(COMPOSE["networks"][name].get("internal") for name in {"calls", "queue", "database"})
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_file_for_gpus_changes_services_that_there_are() -> None:
    gpu = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())
    assert set(gpu["services"]) <= set(SERVICES)
    targets = set(re.findall(r"^FROM base AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert {gpu["x-gpu"]["build"]["target"], COMPOSE["x-winnow"]["build"]["target"]} <= targets
