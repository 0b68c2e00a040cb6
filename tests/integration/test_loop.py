"""The loop with real parts: proposals, review, a round that starts by itself, and what its adapter proposes then.

One walk serves all tests of this file; each looks at one promise.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from label_studio_sdk import LabelStudio
from rich.console import Console

from label_configs.codebook import Codebook
from label_configs.drawing import is_holdout
from label_configs.records import Arm, Document
from ml_backend import adapters, promotions, queue
from ml_backend.experiment import load_experiment
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan
from ml_backend.set_up import set_up_project
from ml_backend.snapshot import examples_digest, read_examples
from tests.integration.conftest import Running
from tests.integration.running import import_documents, process_named, until
from trainer.demo.coder import ScriptedCoder
from trainer.demo.label_studio import LabelStudioServer
from trainer.evaluation.blocks import Table
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.performance import performance_sections
from trainer.evaluation.study_reading import open_study
from trainer.finishing import Finishing
from trainer.rounds import RoundRecord, RoundState, list_rounds, load_round, rounds_folder, save_round
from trainer.up import environment
from trainer.verified import read_project
from trainer.work import Work, evaluate_project

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(300)]

CODED = 12  # the threshold as well, so that the round's documents are known
HOLDOUT_SHARE = 0.3
QUIET = Console(quiet=True)
TRUTH = {f"doc-{number:02}": code for number, code in enumerate(["animals", "plants", "stones"] * 8)}
SENTENCES = {
    "animals": "The animal in this story of number {} is a fox that walks by the river.",
    "plants": "This note of number {} is about a plant, an old oak with deep roots.",
    "stones": "Letter {} tells of a stone found in the quarry, grey and very heavy.",
}
DOCUMENTS = [Document(name, SENTENCES[code].format(name)) for name, code in TRUTH.items()]

CODEBOOK = """
name: things
kind: exclusive
codes:
  - {key: animals, name: Animals, definition: What moves by itself., word: animal}
  - {key: plants, name: Plants, definition: What grows and stays., word: plant}
  - {key: stones, name: Stones, definition: What neither grows nor moves., word: stone}
"""
EXPERIMENT = """
codebook: ./codebook.yaml
sources:
  - {name: first, kind: fake, model: one}
  - {name: second, kind: fake, model: two}
training:
  base: BASE
  overrides: {epochs: 1, max_document_tokens: 96}
  thresholds: [12]
  holdout_share: SHARE
  gate: {probability: 0.001, minimum: 1}
"""
SOURCE_VERSIONS = ["one/fake@base", "two/fake@base"]


@dataclass(frozen=True)
class Walk:
    """What was seen on the way."""

    work: Work
    sdk: LabelStudio
    codebook: Codebook
    pushed: Sequence[Mapping[str, Any]]  # tasks after the first prelabelling
    pushed_again: Sequence[Mapping[str, Any]]  # and after the second
    second_prelabel: str  # what it printed
    shown_before: str  # the project's model version before the round
    proposer: psutil.Process | None  # the propose worker before the round
    annotated: Sequence[int]  # tasks that the coder submitted
    record: RoundRecord

    @property
    def round_folder(self) -> Path:
        return rounds_folder(self.work.settings.home, self.work.project.id) / self.record.id


@pytest.fixture(scope="module")
def walk(
    winnow: Running, label_studio: LabelStudioServer, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    settings, client = winnow.settings, LabelStudioClient(winnow.settings)
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "codebook.yaml").write_text(CODEBOOK)
    (folder / "winnow.yaml").write_text(
        EXPERIMENT.replace("BASE", str(tiny_llama)).replace("SHARE", str(HOLDOUT_SHARE))
    )
    experiment, codebook = load_experiment(folder / "winnow.yaml")
    project = set_up_project(settings, client, experiment, codebook, title="the loop")
    set_up_project(settings, client, experiment, codebook, project_id=project.id)

    work = Work.open(settings, project.id)
    assert import_documents(work, DOCUMENTS).imported == len(DOCUMENTS)
    work.prelabel(QUIET)
    pushed = list(client.tasks(project.id))
    again = subprocess.run(
        [sys.executable, "-m", "trainer.cli", "prelabel", "--project", str(project.id)],
        env=environment(settings), capture_output=True, text=True, check=True,
    )  # fmt: skip
    pushed_again = list(client.tasks(project.id))
    shown_before, proposer = client.model_version(project.id), process_named(settings.home, "worker", "propose")

    sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
    coder = ScriptedCoder(sdk, label_studio.url, project.id, codebook, project.form, TRUTH)
    annotated = [int(task["id"]) for task in pushed_again][:CODED]
    assert len(list(coder.code_all(annotated))) == CODED
    record = _ended_round(winnow, work)
    _wait_for_refresh(winnow, work)
    yield Walk(work, sdk, codebook, pushed, pushed_again, again.stdout, shown_before, proposer, annotated, record)
    work.redis.close()


def _ended_round(winnow: Running, work: Work) -> RoundRecord:
    """The round that nobody started by hand, once it has ended."""
    folder = rounds_folder(work.settings.home, work.project.id)

    def ended() -> bool:
        winnow.installation.check()
        return any(record.state is not RoundState.RUNNING for record in list_rounds(folder))

    until(ended, 150)
    (record,) = list_rounds(folder)
    assert record.state is RoundState.PROMOTED, record.reason
    return record


def _wait_for_refresh(winnow: Running, work: Work) -> None:
    line = queue.queue(work.redis, queue.PROPOSE)

    def refreshed() -> bool:
        winnow.installation.check()
        idle = line.count == 0 and line.started_job_registry.count == 0
        return idle and work.client.model_version(work.project.id) == Plan.of(work.project).version

    until(refreshed, 90)


def held_out(task: Mapping[str, Any]) -> bool:
    return is_holdout(task["data"]["document_id"], HOLDOUT_SHARE)


def versions(task: Mapping[str, Any]) -> list[str]:
    """Versions of a task's predictions, oldest first."""
    return [str(p["model_version"]) for p in sorted(task["predictions"], key=lambda p: int(p["id"]))]


def test_webhook_and_backend_are_connected_once_with_authentication(walk: Walk) -> None:
    settings = walk.work.settings
    assert settings.webhook_token is not None
    (hook,) = walk.sdk.webhooks.list(project=str(walk.work.project.id))
    assert hook.url == f"{settings.backend_url}/webhook"
    assert hook.headers == {"Authorization": f"Bearer {settings.webhook_token.get_secret_value()}"}
    (backend,) = walk.sdk.ml.list(project=walk.work.project.id)
    assert (backend.url, backend.auth_method) == (settings.backend_url, "BASIC_AUTH")
    assert (backend.basic_auth_user, backend.state) == (settings.username, "CO")


def test_each_source_has_its_prediction_and_the_review_comes_last(walk: Walk) -> None:
    assert len(walk.pushed) == len(DOCUMENTS)
    assert walk.shown_before.startswith("winnow-review-")
    for task in walk.pushed:
        assert versions(task) == [*SOURCE_VERSIONS, walk.shown_before]


def test_a_second_prelabelling_changes_nothing(walk: Walk) -> None:
    assert "Every open task has its proposals." in walk.second_prelabel
    assert walk.pushed_again == walk.pushed


def test_the_candidates_are_in_the_task_before_it_is_served(walk: Walk) -> None:
    for task in (task for task in walk.pushed if not held_out(task)):
        shown = [candidate["alias"] for candidate in task["data"]["candidates"]]
        assert shown[0] == TRUTH[task["data"]["document_id"]]
        assert all("first" in c["html"] and "second" in c["html"] for c in task["data"]["candidates"])


def test_the_holdout_is_coded_without_candidates(walk: Walk) -> None:
    held = [task for task in walk.pushed if held_out(task)]
    assert held
    assert all(task["data"]["candidates"] == [] for task in held)
    decisions = read_project(walk.work.client, walk.work.project).decisions
    assert {decision.document_id: decision.arm for decision in decisions} == {
        task["data"]["document_id"]: Arm.CHOOSE if held_out(task) else Arm.REVIEW
        for task in walk.pushed
        if task["id"] in walk.annotated
    }


def test_every_submission_reaches_the_webhook(walk: Walk) -> None:
    log = (walk.work.settings.logs_folder / "web.log").read_text(encoding="utf-8")
    assert log.count(f"webhook received: project={walk.work.project.id} change=annotations") >= len(walk.annotated)


def test_the_round_started_by_itself_once_the_threshold_was_reached(walk: Walk) -> None:
    assert walk.record.verified == CODED
    assert walk.record.training_examples + walk.record.holdout_examples == CODED
    assert walk.record.started_at is not None
    assert walk.record.ended_at is not None


def test_the_adapter_is_published_and_current(walk: Walk) -> None:
    project = walk.work.project
    assert promotions.current(project.folder) == walk.record.adapter_id
    manifest = adapters.store_of(project.home).get(walk.record.adapter_id).manifest
    assert (manifest["round"], manifest["codebook"]) == (walk.record.id, walk.codebook.fingerprint)
    assert manifest["recipe"]["epochs"] == 1


def test_nothing_of_the_holdout_was_trained_on(walk: Walk) -> None:
    examples = read_examples(walk.round_folder / "examples.parquet")
    trained = {e.document_id for e in examples if not e.holdout}
    held = {e.document_id for e in examples if e.holdout}
    assert len(trained) + len(held) == len(examples) == CODED
    assert held == {name for name in trained | held if is_holdout(name, HOLDOUT_SHARE)}
    assert (len(trained), len(held)) == (walk.record.training_examples, walk.record.holdout_examples)
    assert held
    assert all(e.labels == (TRUTH[e.document_id],) for e in examples)


def test_what_the_round_learned_from_lies_beside_the_adapter(walk: Walk) -> None:
    folder = adapters.store_of(walk.work.project.home).get(walk.record.adapter_id).folder
    for name in ("examples.parquet", "examples.json", "leaks.csv"):
        assert (folder / name).read_bytes() == (walk.round_folder / name).read_bytes()
    examples = read_examples(folder / "examples.parquet")
    # Each coder's struck-out candidates are there, those of the holdout have seen none.
    assert all(bool(e.rejected) != e.holdout and not {*e.rejected} & {*e.labels} for e in examples)
    manifest = adapters.store_of(walk.work.project.home).get(walk.record.adapter_id).manifest
    assert manifest["examples_digest"] == examples_digest(examples)
    assert (manifest["leaks"], walk.record.leaks) == (0, 0)
    assert (manifest["silver_examples"], walk.record.silver_examples) == (0, 0)


def test_a_dry_run_shows_what_there_is_to_learn_from(walk: Walk) -> None:
    report = json.loads((walk.round_folder / "examples.json").read_text(encoding="utf-8"))
    assert (report["training"], report["holdout"]) == (walk.record.training_examples, walk.record.holdout_examples)
    done = subprocess.run(
        [sys.executable, "-m", "trainer.cli", "train", "--project", str(walk.work.project.id), "--dry-run", "--json"],
        env=environment(walk.work.settings), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == report


def test_open_tasks_show_the_adapters_proposals_without_a_restart(walk: Walk) -> None:
    work = walk.work
    plan = Plan.of(work.project)
    adapter = dict(plan.names)["adapter"]
    assert adapter.endswith(f"@{walk.record.adapter_id}")
    assert work.client.model_version(work.project.id) == plan.version != walk.shown_before
    assert walk.proposer is not None
    assert process_named(work.settings.home, "worker", "propose") == walk.proposer
    opened = [task for task in work.client.tasks(work.project.id) if task["id"] not in walk.annotated]
    assert len(opened) == len(DOCUMENTS) - CODED
    for task in opened:
        assert versions(task) == [*SOURCE_VERSIONS, walk.shown_before, adapter, plan.version]
        named = [">adapter " in candidate["html"] for candidate in task["data"]["candidates"]]
        assert named == [] if held_out(task) else any(named)


def test_of_the_coded_tasks_the_adapter_proposes_for_the_holdout_alone(walk: Walk) -> None:
    adapter = dict(Plan.of(walk.work.project).names)["adapter"]
    before = [*SOURCE_VERSIONS, walk.shown_before]
    for task in walk.work.client.tasks(walk.work.project.id, walk.annotated):
        assert versions(task) == ([*before, adapter] if held_out(task) else before)


def test_the_evaluation_measures_the_adapter_on_the_same_holdout(walk: Walk) -> None:
    evaluation = evaluate_project(walk.work.settings, walk.work.project.id)
    rows = {row.name: row for row in evaluation.sources}
    assert set(rows) == {"first", "second", "adapter"}
    assert {row.n for row in rows.values()} == {walk.record.holdout_examples}
    assert rows["first"].accuracy == rows["second"].accuracy == 1.0
    effort = {row.arm: row.n for row in evaluation.effort}
    assert effort == {Arm.REVIEW: CODED - walk.record.holdout_examples, Arm.CHOOSE: walk.record.holdout_examples}


def test_sources_and_coders_are_judged_with_intervals_from_the_project_itself(walk: Walk) -> None:
    study = open_study(walk.work.settings, walk.work.project.id)
    overall = performance_sections(study, ReportOptions(samples=50))[0].blocks[0]
    assert isinstance(overall, Table)
    place = [column.key for column in overall.columns].index("accuracy")
    rows = {row[0]: row[place] for row in overall.rows}
    assert {"first", "second", "adapter"} <= set(rows)
    assert rows["first"] == Figure(1.0, walk.record.holdout_examples, 1.0, 1.0)


def _asked(walk: Walk, *arguments: str) -> str:
    """What a command prints of the project, as a person starts it."""
    name, *others = arguments
    done = subprocess.run(
        [sys.executable, "-m", "trainer.cli", name, "--project", str(walk.work.project.id), *others],
        env=environment(walk.work.settings), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_commands_of_judging_say_the_same_of_the_project_and_of_what_was_pulled(walk: Walk, tmp_path: Path) -> None:
    pulled = json.loads(_asked(walk, "pull", "--json"))
    assert pulled["counts"]["documents"] == len(DOCUMENTS)
    for command in ("agreement", "effort"):
        live, kept = (
            json.loads(_asked(walk, command, "--samples", "100", "--json", *more)) for more in ([], ["--offline"])
        )
        assert live == kept
    page = tmp_path / "report.html"
    assert str(page) in _asked(walk, "report", "--samples", "100", "--html", str(page), "--csv", str(tmp_path / "csv"))
    text = page.read_text()
    assert "the loop" in text
    assert not [document.text for document in DOCUMENTS if document.text in text]
    assert list((tmp_path / "csv").glob("*.csv"))


def test_sources_are_asked_again_about_disturbed_texts(walk: Walk) -> None:
    found = json.loads(_asked(walk, "evaluate", "--stability", "--documents", "3", "--samples", "100", "--json"))
    told = json.dumps(found)
    assert "truncation: the first 50" in told.lower()
    assert "adapter" in told
    folder = walk.work.project.folder / "judging"
    kept = (folder / "stability.json").stat().st_mtime_ns
    _asked(walk, "evaluate", "--stability", "--documents", "3", "--samples", "100", "--json")
    assert (folder / "stability.json").stat().st_mtime_ns == kept, "what was asked is not asked again"


def test_a_learning_curve_is_measured_by_the_train_worker(walk: Walk) -> None:
    arguments = ("curve", "--shares", "50,100", "--seeds", "1", "--json")
    first = json.loads(_asked(walk, *arguments))
    assert "curve" in json.dumps(first)
    assert len(promotions.history(walk.work.project.folder)) == 1, "none of its trainings is published"
    assert json.loads(_asked(walk, *arguments)) == first


def test_a_round_on_the_same_documents_is_not_run_again(walk: Walk) -> None:
    outcome = walk.round_folder / "outcome.json"
    made = outcome.stat().st_mtime_ns
    walk.work.train(QUIET, wait=True)
    assert replace(walk.work.round.ended(), refreshed_at=walk.record.refreshed_at) == walk.record
    assert len(list_rounds(walk.round_folder.parent)) == 1
    assert outcome.stat().st_mtime_ns == made


def test_after_a_roll_back_the_candidates_are_those_of_the_prediction_shown(rolled_back: Walk) -> None:
    work = rolled_back.work
    plan = Plan.of(work.project)
    assert work.client.model_version(work.project.id) == plan.version
    assert all(source.adapter_id is None for source in plan.sources)
    for task in work.client.tasks(work.project.id):
        if task["id"] not in rolled_back.annotated:
            assert len(versions(task)) == len(set(versions(task)))
            assert not any(">adapter " in candidate["html"] for candidate in task["data"]["candidates"])


def test_a_promotion_whose_worker_died_is_followed_by_the_scheduler(winnow: Running, rolled_back: Walk) -> None:
    work, rounds = rolled_back.work, rolled_back.round_folder.parent
    save_round(rounds, replace(rolled_back.record, refreshed_at=None))
    promotions.promote(work.project.folder, adapters.store_of(work.project.home).get(rolled_back.record.adapter_id))
    _wait_for_refresh(winnow, work)
    until(lambda: load_round(rounds, rolled_back.record.id).refreshed_at is not None, 30)
    recorded = load_round(rounds, rolled_back.record.id)
    assert replace(recorded, refreshed_at=rolled_back.record.refreshed_at) == rolled_back.record
    opened = [task for task in work.client.tasks(work.project.id) if task["id"] not in rolled_back.annotated]
    assert all(any(">adapter " in c["html"] for c in t["data"]["candidates"]) for t in opened if not held_out(t))
    assert not Finishing(work.redis, work.client, chunk=4).look(work.project), "it is done once"


@pytest.fixture(scope="module")
def rolled_back(winnow: Running, walk: Walk) -> Walk:
    """The walk with the round's adapter given up. For the last tests of the file."""
    assert walk.work.roll_back() is None
    _wait_for_refresh(winnow, walk.work)
    return walk
