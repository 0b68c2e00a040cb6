"""A probe joins by itself: coders verify documents, and open tasks get its proposals without anybody's doing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from label_studio_sdk import LabelStudio
from rich.console import Console

from label_configs.codebook import load_codebook
from label_configs.drawing import is_holdout
from label_configs.forms import ReviewForm
from label_configs.records import Document
from ml_backend import queue
from ml_backend.experiment import Experiment, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan
from ml_backend.set_up import set_up_project
from ml_backend.snapshot import pushed_snapshot, read_examples
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from tests.integration.conftest import Running
from tests.integration.running import import_documents, until
from trainer.demo import documents
from trainer.demo.coder import ScriptedCoder
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.wheels import DemoFiles
from trainer.verified import read_project
from trainer.work import Work

pytestmark = [pytest.mark.label_studio, pytest.mark.models, pytest.mark.timeout(200)]

CODEBOOK = load_codebook("reuters8")
CODES = ("crude", "grain", "interest")
SHARE = 0.2


@dataclass(frozen=True)
class Desk:
    work: Work
    coder: ScriptedCoder
    truth: dict[str, str]
    ids: dict[str, int]  # document id -> task id


@pytest.fixture
def desk(winnow: Running, label_studio: LabelStudioServer, demo_files: DemoFiles) -> Desk:
    """A project with a source that learns nothing and a probe, over the beginnings of 40 documents."""
    client = LabelStudioClient(winnow.settings)
    sources = (
        SourceConfig("words", SourceKind.FAKE),
        SourceConfig("probe", SourceKind.PROBE, str(demo_files.minilm)),
    )
    # A threshold that is not reached: no round of fine-tuning comes between.
    training = Training("no-model", thresholds=(1000,), holdout_share=SHARE)
    experiment = Experiment("reuters8", sources, review=Review(ReviewForm.WHOLE), training=training)
    project = set_up_project(winnow.settings, client, experiment, CODEBOOK, title="a probe joins")
    work = Work.open(winnow.settings, project.id)
    sample = documents.sample(demo_files.reuters_train, CODES, total=40)
    assert import_documents(work, [Document(d.id, d.text[:300]) for d, _ in sample]).imported == 40
    work.prelabel(Console(quiet=True))
    truth = {d.id: code for d, code in sample}
    sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
    coder = ScriptedCoder(sdk, label_studio.url, project.id, CODEBOOK, project.form, truth)
    ids = {task["data"]["document_id"]: int(task["id"]) for task in client.tasks(project.id)}
    return Desk(work, coder, truth, ids)


def test_a_probe_joins_when_enough_is_verified(winnow: Running, desk: Desk) -> None:
    work, project = desk.work, desk.work.project
    assert [name for name, _ in Plan.of(project).names] == ["words"]
    shown_before = work.client.model_version(project.id)
    training = [name for name in desk.truth if not is_holdout(name, SHARE)]
    held = [name for name in desk.truth if is_holdout(name, SHARE)]
    coded = [*held[:3], *training[:20]]  # the holdout first: what is coded during the push waits for the next
    assert len(list(desk.coder.code_all([desk.ids[name] for name in coded]))) == len(coded)

    def joined() -> bool:
        winnow.installation.check()
        plan = Plan.of(project)
        return len(plan.names) == 2 and work.client.model_version(project.id) == plan.version

    until(joined, 90)
    until(lambda: not queue.pushing(work.redis, project.id), 60)
    assert work.client.model_version(project.id) != shown_before
    snapshot = pushed_snapshot(project.folder)
    assert snapshot is not None
    assert {e.document_id for e in read_examples(snapshot)} == set(training[:20])

    probe = dict(Plan.of(project).names)["probe"]
    reading = read_project(work.client, project)
    by_probe = {p.document_id: p for p in reading.proposals if p.version == probe}
    assert set(by_probe) == {*desk.truth} - set(training[:20]), "open tasks, and the holdout to be judged on"
    right = sum(p.labels[0].label == desk.truth[name] for name, p in by_probe.items())
    assert right >= 0.6 * len(by_probe), "by chance it were a third"

    # What is verified is the same whether all tasks are read or the annotated ones only.
    part = read_project(work.client, project, annotated_only=True)
    assert part.examples == reading.examples
    assert {d.id for d in part.documents} == set(coded)
    assert len(reading.documents) == 40
