"""What docker/README.md says exists: commands, services, settings, units and manifests. Nothing of it is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_backend.app import ROUTES
from ml_backend.settings import Settings
from tests.markdown import blocks
from trainer.cli import cli

DOCKER = Path(__file__).parents[2] / "docker"
PAGE = (DOCKER / "README.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
OBJECTS = [one for block in blocks(PAGE, "yaml") for one in yaml.safe_load_all(block.text)]
UNITS = [block.text for block in blocks(PAGE, "ini")]
SHELL = "\n".join(block.text for block in blocks(PAGE, "sh"))


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each pod that the manifests describe, and each of its containers."""
    for one in OBJECTS:
        if "template" in one.get("spec", {}):
            pod = one["spec"]["template"]["spec"]
            yield from ((pod, container) for container in pod["containers"])


def check_command(arguments: list[str]) -> None:
    """That the command line is one of ours, files aside."""
    name, *rest = arguments
    command = cli.commands[name]
    command.make_context(name, list(rest))


def test_the_lines_that_make_secrets_are_those_of_the_compose_file() -> None:
    told = (DOCKER / "compose.yaml").read_text(encoding="utf-8").split("name: winnow")[0]
    lines = [line.strip() for line in blocks(PAGE, "sh")[0].text.splitlines()]
    assert "\n".join(lines[:4]) in re.sub(r" # .*", "", re.sub(r"^#\s*", "", told, flags=re.MULTILINE))


def test_composes_command_lines_name_its_services_and_our_commands() -> None:
    lines = [shlex.split(line.split(" < ")[0].split(" > ")[0]) for line in SHELL.splitlines() if "compose -f" in line]
    ran = []
    for words in lines:
        rest = words[words.index("docker/compose.yaml") + 1 :]
        verb = rest.pop(0)
        assert verb in {"up", "run", "exec", "build"}
        named = [word for word in rest if word in COMPOSE["services"]]
        if verb in {"run", "exec"}:
            after = rest[rest.index(named[0]) + 1 :]
            ran.append(after[0])
            if verb == "run":
                check_command(after)
    assert {"doctor", "init", "import", "status", "pg_dump", "pg_restore"} == set(ran)


def test_volumes_have_the_names_that_compose_gives_them() -> None:
    named = set(re.findall(rf"--volume ({COMPOSE['name']}_[\w-]+):", SHELL))
    assert named == {"winnow_winnow", "winnow_label-studio"}
    assert named <= {f"{COMPOSE['name']}_{volume}" for volume in COMPOSE["volumes"]}


def test_every_variable_is_a_setting() -> None:
    known = {f"WINNOW_{name.upper()}" for name in Settings.model_fields} | {"WINNOW_MODELS"}
    assert set(re.findall(r"\bWINNOW_[A-Z_]+\b", PAGE)) <= known


@pytest.mark.parametrize("unit", UNITS)
def test_units_start_our_commands(unit: str) -> None:
    assert [line for line in unit.splitlines() if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    start = re.search(r"^ExecStart=/opt/winnow/bin/winnow (.+)$", unit, re.MULTILINE)
    assert start
    for instance in ("propose", "train"):
        check_command(start[1].replace("%i", instance).split())
    given = re.findall(r"^LoadCredential=winnow_(\w+):/etc/winnow/secrets/winnow_(\w+)$", unit, re.MULTILINE)
    assert given
    assert all(name == file and name in Settings.model_fields for name, file in given)


def test_manifests_run_our_commands_in_our_images() -> None:
    targets = set(re.findall(r"^FROM base AS (\w+)$", DOCKERFILE, re.MULTILINE))
    ran = []
    for pod, container in pods():
        check_command(container["args"])
        ran.append(" ".join(container["args"]))
        assert container["image"].rpartition(":")[2] in targets
        assert container["securityContext"]["readOnlyRootFilesystem"]
        user = f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
        assert user in DOCKERFILE
    assert sorted(ran) == sorted(" ".join(COMPOSE["services"][name]["command"])
                                 for name in ("web", "propose", "train", "scheduler"))  # fmt: skip


def test_manifests_mount_what_the_image_looks_for() -> None:
    secrets, home = (re.search(rf"WINNOW_{name}=(\S+)", DOCKERFILE) for name in ("SECRETS_FOLDER", "HOME"))
    assert secrets
    assert home
    for pod, container in pods():
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["secrets"] == secrets[1]
        assert home[1].startswith(f"{mounts['data']}/")
        claimed = {"data"} if "data" not in {volume["name"] for volume in pod["volumes"]} else set()
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]} | claimed


def test_manifests_agree_on_ports_names_and_settings() -> None:
    port = Settings.model_fields["port"].default
    (service,) = [one for one in OBJECTS if one["kind"] == "Service"]
    (config,) = [one for one in OBJECTS if one["kind"] == "ConfigMap"]
    assert [(one["port"], one["targetPort"]) for one in service["spec"]["ports"]] == [(port, port)]
    assert config["data"]["WINNOW_PUBLIC_URL"] == f"http://{service['metadata']['name']}:{port}"
    assert all(isinstance(value, str) for value in config["data"].values())
    web = next(container for _, container in pods() if container["name"] == "web")
    assert web["ports"] == [{"containerPort": port}]
    assert web["readinessProbe"]["httpGet"]["port"] == port
    assert web["readinessProbe"]["httpGet"]["path"] in [rule for rule, _, _ in ROUTES]
    for one in OBJECTS:
        if "selector" in one.get("spec", {}) and "template" in one["spec"]:
            assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]


def test_processes_get_the_same_time_to_end_as_with_compose() -> None:
    for pod, container in pods():
        service = {"worker scheduler": "scheduler", "serve": "web"}.get(" ".join(container["args"]))
        period = COMPOSE["services"][service or container["args"][-1]]["stop_grace_period"]
        assert pod["terminationGracePeriodSeconds"] >= int(period.removesuffix("s"))
