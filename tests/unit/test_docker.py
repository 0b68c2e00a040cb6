"""What stands in docker/ exists: commands, ports, paths, variables, networks. No engine runs here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

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
