"""The scripted coder against the real Label Studio: what it submits comes back in the export as the right decision."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from label_studio_sdk import LabelStudio

from label_configs.codebook import load_codebook
from label_configs.errors import LabelStudioError
from label_configs.forms import ReviewForm
from label_configs.records import Arm, Candidate, CandidateSet, Decision, Document, Proposer
from label_configs.render import render_label_config
from label_configs.wire import candidate_data, decisions, review_prediction, task_data
from trainer.demo.coder import ScriptedCoder
from trainer.demo.label_studio import LabelStudioServer

pytestmark = pytest.mark.label_studio

CODEBOOK = load_codebook("reuters8")
TRUTH = {"doc-1": "earn", "doc-2": "grain", "doc-3": "ship"}
SHOWN = {"doc-1": ("acq", "earn", "trade"), "doc-2": ("acq", "earn"), "doc-3": ("ship",)}
VERSION = "review-1"


@dataclass(frozen=True)
class Project:
    client: LabelStudio
    url: str
    id: int
    task_ids: tuple[int, ...]

    def decisions(self, form: ReviewForm) -> dict[str, Decision]:
        made = {}
        for task_id in self.task_ids:
            task = {"id": task_id, "data": self.client.tasks.get(id=str(task_id)).data}
            annotations = [annotation.model_dump() for annotation in self.client.annotations.list(id=task_id)]
            for decision in decisions({**task, "annotations": annotations}, CODEBOOK, form):
                made[decision.document_id] = decision
        return made


def candidate_set(document_id: str, arm: Arm = Arm.REVIEW) -> CandidateSet:
    labels = SHOWN[document_id] if arm is Arm.REVIEW else ()
    found = (
        Candidate(label, 0.5, (Proposer("minilm", "v1", 0.5, rank),)) for rank, label in enumerate(labels, start=1)
    )
    return CandidateSet(document_id, VERSION, tuple(found), arm)


def prepared(server: LabelStudioServer, form: ReviewForm, arm: Arm = Arm.REVIEW) -> Project:
    """A project whose three tasks show their candidates, where the arm has any."""
    client = LabelStudio(base_url=server.url, api_key=server.token())
    project = client.projects.create(title=f"coder {form}", label_config=render_label_config(CODEBOOK, form))
    tasks, predictions = [], []
    for document_id in TRUTH:
        data = task_data(Document(document_id, f"text of {document_id} " * 10), form=form)
        tasks.append({**data, **candidate_data(CODEBOOK, candidate_set(document_id, arm), form)})
        predictions.append(review_prediction(CODEBOOK, candidate_set(document_id, arm), form))
    ids = client.projects.import_tasks(project.id, request=tasks, return_task_ids=True).task_ids
    request = [{**prediction, "task": task_id} for task_id, prediction in zip(ids, predictions, strict=True)]
    client.projects.import_predictions(id=project.id, request=request)
    client.projects.update(project.id, model_version=VERSION)
    return Project(client, server.url, project.id, tuple(ids))


@pytest.mark.parametrize("form", [ReviewForm.REJECT, ReviewForm.KEEP])
def test_wrong_candidates_are_rejected_and_missing_codes_named(
    label_studio: LabelStudioServer, form: ReviewForm
) -> None:
    project = prepared(label_studio, form)
    coder = ScriptedCoder(project.client, project.url, project.id, CODEBOOK, form, TRUTH)
    assert len(set(coder.code_all(project.task_ids))) == 3
    found = project.decisions(form)
    assert {key: decision.labels for key, decision in found.items()} == {key: (code,) for key, code in TRUTH.items()}
    assert set(found["doc-1"].rejected) == {"acq", "trade"}
    assert (set(found["doc-2"].rejected), found["doc-2"].missed) == ({"acq", "earn"}, ("grain",))
    assert found["doc-3"].untouched
    assert all(decision.verified and decision.shown == candidate_set(key) for key, decision in found.items())
    assert all((decision.seconds or 0) > 2 for decision in found.values())


@pytest.mark.parametrize(
    ("form", "arm"), [(ReviewForm.REJECT, Arm.CHOOSE), (ReviewForm.KEEP, Arm.BLIND), (ReviewForm.CHOOSE, Arm.CHOOSE)]
)
def test_without_candidates_the_code_is_chosen_from_the_codebook(
    label_studio: LabelStudioServer, form: ReviewForm, arm: Arm
) -> None:
    project = prepared(label_studio, form, arm)
    coder = ScriptedCoder(project.client, project.url, project.id, CODEBOOK, form, TRUTH)
    assert len(set(coder.code_all(project.task_ids))) == 3
    found = project.decisions(form)
    assert {key: decision.missed for key, decision in found.items()} == {key: (code,) for key, code in TRUTH.items()}
    assert all(decision.verified and decision.arm is arm and not decision.untouched for decision in found.values())


def test_a_task_without_candidates_of_the_current_version_is_left_alone(label_studio: LabelStudioServer) -> None:
    project = prepared(label_studio, ReviewForm.REJECT)
    newer = {**review_prediction(CODEBOOK, candidate_set("doc-3"), ReviewForm.REJECT), "model_version": "review-2"}
    project.client.projects.import_predictions(id=project.id, request=[{**newer, "task": project.task_ids[2]}])
    project.client.projects.update(project.id, model_version="review-2")
    coder = ScriptedCoder(project.client, project.url, project.id, CODEBOOK, ReviewForm.REJECT, TRUTH)
    with pytest.raises(LabelStudioError, match="shows no candidates of version review-2"):
        coder.code(project.task_ids[0])
    assert not project.decisions(ReviewForm.REJECT)


def test_a_document_whose_code_is_not_known_is_named(label_studio: LabelStudioServer) -> None:
    project = prepared(label_studio, ReviewForm.REJECT)
    coder = ScriptedCoder(project.client, project.url, project.id, CODEBOOK, ReviewForm.REJECT, {})
    with pytest.raises(LabelStudioError, match="the true code of document doc-1 is not known"):
        coder.code(project.task_ids[0])
