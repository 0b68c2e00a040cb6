"""Several hosts that share only Redis and an s3:// store: the loop through processes with separate home folders.

Web and scheduler on one, propose workers on two, the train worker on a fourth, and an operator's machine, from which
the project is set up. One walk serves all tests of this file; each looks at one promise.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from label_studio_sdk import LabelStudio
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from s3fs import S3FileSystem

from label_configs.codebook import load_codebook
from label_configs.errors import AdapterError, ConfigError
from label_configs.forms import default_form
from ml_backend import adapters, promotions, queue
from ml_backend.experiment import Experiment
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.registered_projects import is_registered, load_project, register, registered
from ml_backend.settings import Settings, with_secrets
from ml_backend.snapshot import forget_snapshots, latest_snapshot, publish_snapshot
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.coded import CODEBOOK as SMALL
from tests.integration.hosts import Host
from tests.integration.running import until, versions_shown
from tests.integration.test_loop import CODEBOOK, EXPERIMENT, TRUTH
from tests.integration.test_loop import DOCUMENTS as ALL_DOCUMENTS
from trainer.demo.coder import ScriptedCoder
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.walk import free_port
from trainer.up import web_answers

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(900)]

log = logging.getLogger(__name__)

CODED = 12
DOCUMENTS = ALL_DOCUMENTS[:16]
NAMES = ("front", "one", "two", "trainer", "operator", "newcomer")
BUCKET = "winnow-hosts"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket, and an environment that names its server, the store in it and the exchange."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "somebody"), ("AWS_SECRET_ACCESS_KEY", "a-key"), ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"), ("AWS_EC2_METADATA_DISABLED", "true"),
        ):  # fmt: skip
            environment.setenv(name, value)
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        S3FileSystem.clear_instance_cache()
        boto3.resource("s3").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"
    S3FileSystem.clear_instance_cache()
    moto.stop()


@pytest.fixture(autouse=True)
def store(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store's URL, which this process has in its environment too."""
    monkeypatch.setenv("WINNOW_ADAPTER_STORE", f"{s3}/adapters")
    return f"{s3}/adapters"


@dataclass(frozen=True)
class Walk:
    """What was seen on the way."""

    hosts: dict[str, Host]
    project: int
    adapter: str
    round_: dict[str, Any]  # as the front's `winnow status` has it
    workers: set[str]  # that did jobs
    histories: dict[str, list[str]]  # of promotions, as each host's copy had them after the round
    versions: Sequence[str]  # of Label Studio's model version: before the round, after it, after the rollback
    told_to_newcomer: str  # `winnow adapters list` on a host without a home, after Redis was wiped
    classified: list[str]  # codes, by `winnow classify --workers` through the exchange
    stopped: dict[str, float]


@pytest.fixture(scope="module")
def walk(
    s3: str, label_studio: LabelStudioServer, redis_url: str, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("hosts")
    shared = with_secrets(
        Settings(
            home=folder / "none", label_studio_url=label_studio.url,
            label_studio_token=SecretStr(label_studio.token()), redis_url=SecretStr(redis_url), port=free_port(),
            adapter_store=f"{s3}/adapters", exchange=f"{s3}/exchange", reconcile_seconds=5, chunk_documents=4,
            web_workers=1,
        )
    )  # fmt: skip
    hosts = {name: Host(name, folder, shared) for name in NAMES}
    try:
        with Redis.from_url(redis_url) as redis:
            redis.flushall()
            yield _walk(hosts, label_studio, redis, tiny_llama, folder)
    finally:
        for host in hosts.values():
            host.stop()


def _walk(hosts: dict[str, Host], label_studio: LabelStudioServer, redis: Redis, base: Path, folder: Path) -> Walk:
    hosts["front"].start("serve")
    hosts["front"].start("worker", "scheduler")
    for name in ("one", "two"):
        hosts[name].start("worker", "propose")
    hosts["trainer"].start("worker", "train")

    def alive() -> None:
        for host in hosts.values():
            host.check()

    def up() -> bool:
        alive()
        workers = tuple(len(live_workers(redis, kind)) for kind in (WorkerKind.PROPOSE, WorkerKind.TRAIN))
        return workers == (2, 1) and web_answers(hosts["front"].settings.backend_url)

    until(up, 120)
    (folder / "codebook.yaml").write_text(CODEBOOK)
    (folder / "winnow.yaml").write_text(EXPERIMENT.replace("BASE", str(base)).replace("SHARE", "0.3"))
    rows = [json.dumps({"id": document.id, "text": document.text}) for document in DOCUMENTS]
    (folder / "documents.jsonl").write_text("\n".join(rows) + "\n")
    operator = hosts["operator"]
    operator.run("init", "winnow.yaml", "--title", "several hosts", cwd=folder)
    sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
    (project,) = [one.id for one in sdk.projects.list() if one.title == "several hosts"]
    operator.run("import", "documents.jsonl", "--project", str(project), cwd=folder)

    def shown() -> str:
        alive()
        return str(sdk.projects.get(project).model_version or "")

    def proposed() -> bool:
        return bool(shown()) and set(versions_shown(sdk, project)) == {shown()}

    until(proposed, 300, every=1)
    versions, done = [shown()], queue.queue(redis, queue.PROPOSE).finished_job_registry.get_job_ids()
    jobs = Job.fetch_many(done, connection=redis, serializer=JSONSerializer)
    workers = {str(job.worker_name) for job in jobs if job is not None}

    codebook = load_codebook(str(folder / "codebook.yaml"))
    coder = ScriptedCoder(sdk, label_studio.url, project, codebook, default_form(codebook), TRUTH)
    annotated = [int(task.id) for task in sdk.tasks.list(project=project)][:CODED]
    assert len(list(coder.code_all(annotated))) == CODED
    until(lambda: shown() != versions[0] and proposed(), 480, every=1)
    versions.append(shown())
    status = json.loads(hosts["front"].run("status", "--project", str(project), "--json"))
    histories = {name: promotions.history(host.project_folder(project)) for name, host in hosts.items()}
    (round_,) = status["rounds"]
    named = f"adapter:{round_['adapter_id']}"
    operator.run("classify", "documents.jsonl", "--project", str(project), "--workers", "--source", named, "--out",
                 "codes.jsonl", cwd=folder)  # fmt: skip
    classified = [str(json.loads(line)["code"][0]) for line in (folder / "codes.jsonl").read_text().splitlines()]

    operator.run("adapters", "rollback", "--project", str(project))
    until(lambda: shown() != versions[1] and proposed(), 300, every=1)
    versions.append(shown())
    redis.flushall()
    told = hosts["newcomer"].run("adapters", "list", "--project", str(project), "--json")
    stopped = {name: host.stop() for name, host in hosts.items()}
    return Walk(hosts, project, str(round_["adapter_id"]), round_, workers, histories, versions, told, classified,
                stopped)  # fmt: skip


def test_a_project_that_was_set_up_elsewhere_is_served(walk: Walk) -> None:
    assert walk.versions[0].startswith("winnow-review-")
    assert len(walk.workers) == 2, "both propose hosts did jobs"


def test_the_round_ran_on_the_host_that_trains_and_the_front_tells_it(walk: Walk) -> None:
    assert (walk.round_["state"], walk.round_["verified"]) == ("promoted", CODED)
    assert (walk.hosts["trainer"].project_folder(walk.project) / "rounds" / walk.round_["id"]).is_dir()


def test_every_host_knows_the_promotion(walk: Walk) -> None:
    for name in ("front", "one", "two", "trainer"):
        assert walk.histories[name] == [walk.adapter], name


def test_the_adapter_proposes_and_a_rollback_from_elsewhere_is_followed(walk: Walk) -> None:
    assert len(set(walk.versions)) == 3, "the round also found who leads, so the third is not the first"
    assert promotions.current(walk.hosts["newcomer"].project_folder(walk.project)) is None


def test_who_proposes_fetched_the_adapter_and_who_does_not_has_not(walk: Walk) -> None:
    having = {
        name for name, host in walk.hosts.items() if (host.settings.home / adapters.CACHE / walk.adapter).is_dir()
    }
    assert having <= {"one", "two", "trainer"}
    assert having & {"one", "two"}


def test_documents_are_classified_through_the_exchange(walk: Walk) -> None:
    assert len(walk.classified) == len(DOCUMENTS)
    assert set(walk.classified) <= {"animals", "plants", "stones"}


def test_the_record_outlives_redis_and_a_new_host_has_it(walk: Walk) -> None:
    assert walk.adapter in walk.told_to_newcomer
    newcomer = walk.hosts["newcomer"]
    assert load_project(newcomer.settings.home, walk.project).experiment.sources[0].name == "first"


def test_all_hosts_end_within_ten_seconds(walk: Walk) -> None:
    assert {name: seconds for name, seconds in walk.stopped.items() if seconds > 10} == {}


SOURCES = (SourceConfig("first", SourceKind.FAKE, model="one"),)


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "one", tmp_path / "two"


def test_a_change_on_one_host_is_there_on_the_other(homes: tuple[Path, Path]) -> None:
    one, two = homes
    register(one, 71, Experiment("things", SOURCES), SMALL)
    assert is_registered(two, 71)
    assert 71 in registered(two)
    assert load_project(two, 71).experiment.sources == SOURCES
    register(two, 71, Experiment("things", (*SOURCES, SourceConfig("second", SourceKind.FAKE, model="two"))), SMALL)
    assert [source.name for source in load_project(one, 71).experiment.sources] == ["first", "second"]
    with pytest.raises(ConfigError, match="not known to Winnow"):
        load_project(one, 72)


def test_what_is_removed_on_one_host_is_gone_on_the_other(homes: tuple[Path, Path]) -> None:
    one, two = homes
    first = register(one, 73, Experiment("things", SOURCES), SMALL)
    publish_snapshot(first.folder, [])
    second = load_project(two, 73)
    names = sorted(path.name for path in (second.folder / "snapshots").iterdir())
    assert len(names) == 2
    forget_snapshots(second.folder)
    assert "latest.json" not in [path.name for path in (load_project(one, 73).folder / "snapshots").iterdir()]
    assert latest_snapshot(first.folder) is None


def test_an_installation_with_a_store_in_a_folder_is_taken_along(
    homes: tuple[Path, Path], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = homes
    monkeypatch.delenv("WINNOW_ADAPTER_STORE")
    old = register(one, 74, Experiment("things", SOURCES), SMALL)
    (old.folder / "current.json").write_text('{"adapters": ["abc"]}')
    assert not (old.folder / ".shared.json").exists()
    monkeypatch.setenv("WINNOW_ADAPTER_STORE", store)
    assert load_project(one, 74).codebook == SMALL
    assert promotions.history(load_project(two, 74).folder) == ["abc"]


def test_while_the_store_is_away_a_host_goes_on_with_what_it_knew_but_pushes_nothing(
    homes: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = homes
    register(one, 75, Experiment("things", SOURCES), SMALL)
    load_project(two, 75)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    S3FileSystem.clear_instance_cache()
    assert load_project(two, 75).id == 75
    assert "projects offline: project=75" in caplog.text
    with pytest.raises(AdapterError, match=r"adapter store s3://.*check the network"):
        load_project(two, 75, fresh=True)
    assert registered(two) == [75]
    S3FileSystem.clear_instance_cache()
