"""The loop through the command lines of docker/compose.yaml, with Postgres and Redis from Debian's packages.

One walk serves all tests of this file; each looks at one promise. ``compose.py`` says what stands in for containers.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis as redis_package
from label_studio_sdk import LabelStudio

from label_configs.codebook import load_codebook
from label_configs.forms import default_form
from tests.conftest import lacking
from tests.integration.compose import PROGRAMS, Composed
from tests.integration.running import until, versions_shown
from tests.integration.test_loop import CODEBOOK, EXPERIMENT, TRUTH
from tests.integration.test_loop import DOCUMENTS as ALL_DOCUMENTS
from trainer.demo.account import Account
from trainer.demo.coder import ScriptedCoder

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(1200)]

THRESHOLD = 12
DOCUMENTS = ALL_DOCUMENTS[:16]
log = logging.getLogger(__name__)

WINNOWS = ("web", "propose", "train", "scheduler")
GRACE = 10.0  # seconds within which everything ends when told to


@dataclass(frozen=True)
class Walk:
    """What was seen on the way."""

    composed: Composed
    project: int
    status: dict[str, Any]  # after the round
    versions: Sequence[str]  # of the review predictions of open tasks, at the end
    shown_before: str  # the version before the round
    adapters: str  # what `winnow adapters list` printed
    stopped: dict[str, float]  # seconds until each service had ended
    redis_dump: bytes  # every key and value of Redis at the end


@pytest.fixture(scope="module")
def composed(label_studio_executable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    for program in ("initdb", "redis-server", "redis-cli", "setpriv"):
        if not any((folder / program).exists() for folder in PROGRAMS) and shutil.which(program) is None:
            lacking(f"{program} is not installed: apt-get install postgresql redis-server")
    found = Composed(tmp_path_factory.mktemp("composed"), {"propose": 2})
    try:
        yield found
    finally:
        found.kill()


@pytest.fixture(scope="module")
def walk(composed: Composed, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    composed.make_secrets()
    composed.up("postgres", "redis", "label-studio")
    url = f"http://127.0.0.1:{composed.port(8080)}"
    account = Account(url, "admin@example.org", composed.secret("label_studio_password").read_text().strip())
    account.log_in()
    token = account.personal_access_token()
    composed.secret("winnow_label_studio_token").write_text(token)
    composed.up(*WINNOWS)

    shutil.copytree(tiny_llama, composed.folder / "models" / "tiny-llama")
    mine = tmp_path_factory.mktemp("mine")
    (mine / "codebook.yaml").write_text(CODEBOOK)
    base = str(composed.folder / "models" / "tiny-llama")  # /models/tiny-llama in a container
    (mine / "winnow.yaml").write_text(EXPERIMENT.replace("BASE", base).replace("SHARE", "0.3"))
    rows = [json.dumps({"id": document.id, "text": document.text}) for document in DOCUMENTS]
    (mine / "documents.jsonl").write_text("\n".join(rows) + "\n")
    composed.run("web", "init", "winnow.yaml", "--title", "compose", cwd=mine)
    sdk = LabelStudio(base_url=url, api_key=token)
    (project,) = [one.id for one in sdk.projects.list() if one.title == "compose"]
    composed.run("web", "import", "documents.jsonl", "--project", str(project), cwd=mine)

    def status() -> dict[str, Any]:
        return dict(json.loads(composed.run("web", "status", "--project", str(project), "--json", cwd=mine)))

    def shown() -> str:
        for service in WINNOWS:
            assert composed.healthy(service)
        return str(sdk.projects.get(project).model_version or "")

    def proposed() -> bool:
        return bool(shown()) and set(versions_shown(sdk, project)) == {shown()}

    until(proposed, 300, every=1)
    before = shown()
    codebook = load_codebook(str(mine / "codebook.yaml"))
    coder = ScriptedCoder(sdk, url, project, codebook, default_form(codebook), TRUTH)
    annotated = [int(task.id) for task in sdk.tasks.list(project=project)][:THRESHOLD]
    assert len(list(coder.code_all(annotated))) == THRESHOLD
    until(lambda: shown() != before and proposed(), 480, every=1)
    told, versions = status(), versions_shown(sdk, project)
    listed = composed.run("web", "adapters", "list", "--project", str(project), cwd=mine)
    dump = _dump(composed)
    stopped = composed.stop(*WINNOWS)
    log.warning("seconds until healthy: %s", composed.seconds)
    stopped |= composed.stop("label-studio") | composed.stop("redis") | composed.stop("postgres")
    return Walk(composed, project, told, versions, before, listed, stopped, dump)


def _dump(composed: Composed) -> bytes:
    password = composed.secret("redis_password").read_text().strip()
    with redis_package.Redis(port=composed.port(6379), password=password) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        return b"\n".join(key + (client.dump(key) or b"") for key in client.scan_iter())


def test_the_round_started_by_itself_and_status_tells_it(walk: Walk) -> None:
    (record,) = walk.status["rounds"]
    assert record["state"] == "promoted"
    assert record["verified"] == THRESHOLD
    assert record["adapter_id"] in walk.adapters


def test_what_the_adapter_proposes_reached_every_open_document(walk: Walk) -> None:
    assert len(walk.versions) == len(DOCUMENTS) - THRESHOLD
    assert walk.shown_before not in walk.versions


def test_both_propose_workers_and_the_others_were_alive(walk: Walk) -> None:
    assert (walk.status["workers"], walk.status["train_workers"]) == (2, 1)


def test_webhooks_arrived(walk: Walk) -> None:
    assert walk.composed.log("web").count(f"webhook received: project={walk.project} change=annotations") >= THRESHOLD


def test_every_service_ends_within_ten_seconds_of_being_told(walk: Walk) -> None:
    assert set(walk.stopped) == set(walk.composed.services)
    assert {name: seconds for name, seconds in walk.stopped.items() if seconds > GRACE} == {}


def test_no_secret_is_in_a_log_or_in_redis(walk: Walk) -> None:
    planted = {name: walk.composed.secret(name).read_text().strip() for name in walk.composed.file["secrets"]}
    said = {service: walk.composed.log(service) for service in walk.composed.services}
    assert all(planted.values()), "each of them has something in it"
    assert [(name, service) for name, secret in planted.items() for service in said if secret in said[service]] == []
    assert [name for name, secret in planted.items() if secret.encode() in walk.redis_dump] == []


def test_services_write_to_their_volumes_alone(walk: Walk) -> None:
    volumes = walk.composed.folder / "volumes"
    assert sorted(path.name for path in volumes.iterdir()) == ["label-studio", "postgres", "redis", "winnow"]
    assert not list((volumes / "postgres").iterdir()), "Postgres' lies where its own user may write"
    assert (volumes / "winnow" / "winnow" / "projects" / str(walk.project) / "winnow.yaml").exists()
    assert list((volumes / "redis").glob("appendonlydir/*"))
    assert stat.S_IMODE((walk.composed.folder / "redis" / "tmp" / "redis.conf").stat().st_mode) == 0o600
    written = {path.name for path in walk.composed.folder.iterdir() if path.is_dir()}
    written.discard(".config")  # in the home of Label Studio's user
    assert written == {*walk.composed.services, "docker", "volumes", "models"}


def test_label_studio_keeps_its_data_in_postgres(walk: Walk) -> None:
    assert not list((walk.composed.folder / "volumes" / "label-studio").glob("*.sqlite3"))
    assert os.listdir(walk.composed.folder / "volumes" / "label-studio")


def test_the_stopped_processes_are_gone(walk: Walk) -> None:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(walk.composed.folder) not in listed
