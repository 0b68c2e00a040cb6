"""A source that is slow at times, a backend killed between two of Label Studio's calls: coders see neither."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock

import pytest
from label_studio_sdk import LabelStudio
from redis import Redis
from rich.console import Console

from label_configs.codebook import load_codebook
from label_configs.errors import QueueError
from label_configs.forms import ReviewForm
from label_configs.records import Document
from label_configs.wire import task_data
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel_progress import TaskState, tasks_in
from ml_backend.proposing import Plan
from ml_backend.set_up import set_up_project
from ml_backend.settings import Settings
from ml_backend.source_config import ChatApi, SourceConfig, SourceKind, Structure
from ml_backend.sources.fake import FakePool
from tests.integration.conftest import Running
from tests.integration.outages import Between
from tests.integration.running import import_documents, until
from tests.unit.ml_backend.chat_server import ChatServer, Reply, Request, completion
from trainer.demo.walk import free_port
from trainer.up import environment, local_url, web_answers
from trainer.work import Work

LONG = 400  # seconds, for a machine with other work
SLOW_SECONDS = 5.0  # every tenth call; the deadline of /predict is 2

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(2 * LONG)]

CODEBOOK = load_codebook("reuters8")
WORD = CODEBOOK.labels[0].word


class Web:
    """The web process as `winnow serve` starts it, in a process group that can be killed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "trainer.cli", "serve"]
        self._process = subprocess.Popen(
            command, env=environment(self.settings), start_new_session=True, stderr=subprocess.DEVNULL
        )
        self.starts += 1
        until(lambda: web_answers(local_url(self.settings)), LONG)

    def kill(self) -> None:
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def way_to_backend(settings: Settings) -> Iterator[tuple[Web, Between, Settings]]:
    local = settings.model_copy(update={"port": free_port(), "web_workers": 1})
    web = Web(local)
    with Between(local_url(local)) as way:
        web.settings = local.model_copy(update={"public_url": way.url})
        web.start()
        try:
            yield web, way, web.settings
        finally:
            web.kill()


def retrieve(sdk: LabelStudio, project: Project) -> None:
    """Label Studio calls its backend: /health, /setup, /predict. Raises ApiError where one of them fails."""
    sdk.actions.create(
        id="retrieve_tasks_predictions", project=project.id, selected_items={"all": True, "excluded": []}
    )


def versions(client: LabelStudioClient, project: Project) -> list[list[str]]:
    return [sorted(str(one["model_version"]) for one in task["predictions"]) for task in client.tasks(project.id)]


def test_the_backend_is_killed_between_setup_and_predict(
    settings: Settings, client: LabelStudioClient, sdk: LabelStudio, redis: Redis
) -> None:
    with way_to_backend(settings) as (web, way, reached):
        experiment = Experiment("reuters8", (SourceConfig("one", SourceKind.FAKE),), review=Review(ReviewForm.WHOLE))
        project = set_up_project(reached, client, experiment, CODEBOOK, title="killed between")
        documents = [Document(f"d{n}", f"Grain and ships, {n}.") for n in range(5)]
        client.import_tasks(project.id, [task_data(one, text_key="text", form=project.form) for one in documents])
        plan = Plan.of(project)
        plan.propose(redis, documents, FakePool())
        seen: list[str] = []

        def before(method: str, path: str) -> None:
            seen.append(path)
            if path == "/predict" and web.starts == 1:
                web.kill()
                web.start()

        way.before = before
        retrieve(sdk, project)
        assert web.starts == 2
        assert "/setup" in seen[: seen.index("/predict")]
        assert versions(client, project) == [[plan.version]] * len(documents)
        retrieve(sdk, project)
        assert versions(client, project) == [[plan.version]] * len(documents), "nothing is doubled"


def test_a_source_that_is_slow_at_times(winnow: Running, sdk: LabelStudio) -> None:
    calls, lock, going, over = [0], Lock(), Event(), Event()

    def answer(asked: Request) -> Reply:
        with lock:
            calls[0] += 1
            slow = calls[0] % 10 == 0
        if slow:
            over.wait(SLOW_SECONDS)
        bad = "report 7 " in str(asked["messages"][-1]["content"]) and not going.is_set()
        return Reply(b'{"choices": []}') if bad else completion(WORD)

    client = LabelStudioClient(winnow.settings)
    with ChatServer(answer) as server:
        api = ChatApi(server.url, structure=Structure.NONE, retries=0, concurrency=2)
        sources = (
            SourceConfig("quick", SourceKind.FAKE, "quick"),
            SourceConfig("slow", SourceKind.CHAT_API, "m", api=api),
        )
        experiment = Experiment("reuters8", sources, review=Review(ReviewForm.WHOLE))
        project = set_up_project(winnow.settings, client, experiment, CODEBOOK, title="slow at times")
        work = Work.open(winnow.settings, project.id)
        import_documents(work, [Document(f"s{n}", f"Oil, report {n} of {project.id}.") for n in range(24)])
        plan = Plan.of(project)
        wanted = sorted([plan.version, *(version for _, version in plan.names)])

        started = time.monotonic()
        retrieve(sdk, project)  # no error, and it does not wait for what is slow
        answered = time.monotonic() - started
        early = versions(client, project)
        assert all(set(found) <= {*wanted} for found in early)

        def failed() -> list[int]:
            return [one.task_id for one in tasks_in(work.redis, project.id, TaskState.FAILED)]

        with pytest.raises(QueueError, match=r"1 tasks failed .*source slow: .* no chat completion.*winnow prelabel"):
            work.prelabel(Console(quiet=True))
        assert len(failed()) == 1
        assert sorted(versions(client, project))[1:] == [wanted] * 23, "the others have all, once"
        asked = calls[0]
        going.set()
        work.prelabel(Console(quiet=True))
        assert calls[0] == asked + 1, "only the one that failed is asked again"
        assert versions(client, project) == [wanted] * 24
        assert answered < 60
        over.set()
        work.redis.close()
