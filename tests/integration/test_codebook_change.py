"""A codebook that changes after coding began, in a real Label Studio: what goes on, is refused, is migrated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from label_studio_sdk import LabelStudio
from redis import Redis

from label_configs import wire
from label_configs.codebook import Code, Codebook, Kind, load_codebook
from label_configs.errors import CodebookError, LabelConfigError, LabelStudioError
from label_configs.forms import ReviewForm, default_form
from label_configs.records import Candidate, CandidateSet, Decision, Document, Proposal, Proposer, ScoredLabel
from ml_backend import migration
from ml_backend.config_check import check_config, config_state
from ml_backend.experiment import Experiment, Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope, push
from ml_backend.registered_projects import load_project
from ml_backend.set_up import SetUp, carry_out, plan_set_up, set_up_project
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.fake import FakePool
from trainer.demo.label_studio import LabelStudioServer

pytestmark = pytest.mark.label_studio

REUTERS = load_codebook("reuters8")
EXPERIMENT = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),))
SHOWN = ("earn", "acq")


def with_codes(codebook: Codebook, renamed: dict[str, str], *, added: Sequence[str] = (), name: str = "") -> Codebook:
    """The codebook with other keys, without those that are renamed to nothing, with some more."""
    codes = [
        replace(code, key=key, name=f"Now {key}", word=key) if key != code.key else code
        for code in codebook.codes
        if (key := renamed.get(code.key, code.key))
    ]
    codes += [Code(key, key.title(), f"About {key}.", key) for key in added]
    return replace(codebook, codes=tuple(codes), name=name or codebook.name)


def shown(codebook: Codebook, document_id: str, labels: Sequence[str]) -> CandidateSet:
    by = (Proposer("words", "words/fake@base", 0.5, 1),)
    return CandidateSet(document_id, "winnow-review-1", tuple(Candidate(label, 0.5, by) for label in labels))


def begin_coding(client: LabelStudioClient, project: Project, count: int, labels: Sequence[str] = SHOWN) -> list[int]:
    """Tasks with candidates, a source's prediction and the review prediction."""
    codebook, form = project.codebook, project.form
    documents = [Document(f"d{n}", f"text {n}") for n in range(count)]
    drawn = wire.candidate_data(codebook, shown(codebook, "d", labels), form)
    ids = client.import_tasks(project.id, [{**wire.task_data(d, form=form), **drawn} for d in documents])
    scored = tuple(ScoredLabel(key, 0.9 if key == labels[0] else 0.01) for key in codebook.label_keys)
    predictions = []
    for document, task in zip(documents, ids, strict=True):
        source = wire.source_prediction(codebook, Proposal(document.id, "words", "words/fake@base", scored), form)
        review = wire.review_prediction(codebook, shown(codebook, document.id, labels), form)
        predictions += [{"task": task, **source}, {"task": task, **review}]
    client.import_predictions(project.id, predictions)
    client.set_model_version(project.id, "winnow-review-1")
    return ids


def decisions(client: LabelStudioClient, project: Project) -> dict[int, Decision]:
    read = [wire.decisions(task, project.codebook, project.form) for task in client.export(project.id)]
    return {decision.annotation_id: decision for one in read for decision in one}


def plan(settings: Settings, client: LabelStudioClient, project: Project, codebook: Codebook,
         renames: dict[str, str] | None = None) -> SetUp:  # fmt: skip
    return plan_set_up(settings, client, project.experiment, codebook, project_id=project.id, renames=renames)


def everything(client: LabelStudioClient, project_id: int) -> str:
    """All that Label Studio has of a project but what no request can write: snapshots in annotations."""
    tasks = client.export(project_id)
    for task in tasks:
        for annotation in task["annotations"]:
            annotation.pop("prediction")
    return json.dumps([tasks, client.label_config(project_id)])


def test_codes_are_renamed_dropped_and_added_while_decisions_stay(
    client: LabelStudioClient, sdk: LabelStudio, served: Settings, label_studio: LabelStudioServer, redis: Redis
) -> None:
    project = set_up_project(served, client, EXPERIMENT, REUTERS, title="codes change")
    ids = begin_coding(client, project, 6)
    other = LabelStudio(base_url=label_studio.url, api_key=label_studio.create_user("c@example.com", "Pass-word-12345"))
    results = {
        "earn kept": wire.coder_result(REUTERS, shown(REUTERS, "d0", SHOWN), ReviewForm.REJECT, rejected=["acq"]),
        "earn rejected": wire.coder_result(REUTERS, shown(REUTERS, "d1", SHOWN), ReviewForm.REJECT, rejected=["earn"]),
        "earn chosen": wire.coder_result(
            REUTERS, shown(REUTERS, "d2", ("acq",)), ReviewForm.REJECT, rejected=["acq"], missed=["earn"]
        ),
        "no earn": wire.coder_result(REUTERS, shown(REUTERS, "d3", ("acq",)), ReviewForm.REJECT),
    }
    for task_id, result in zip(ids, results.values(), strict=False):
        sdk.annotations.create(id=task_id, result=result, lead_time=7.5)
    # The other coder answers twice: the last must stay the last, though only the first names the code.
    other.annotations.create(id=ids[0], result=results["earn kept"])
    other.annotations.create(id=ids[0], result=results["no earn"])
    for who in (sdk, other):
        answer = who._client_wrapper.httpx_client.request(
            f"api/tasks/{ids[4]}/drafts", method="POST", json={"result": results["earn chosen"], "lead_time": 1}
        )
        assert answer.status_code == 201
    before = decisions(client, project)

    # ship was shown to nobody and is dropped; a code is new; earn has another name.
    changed = with_codes(REUTERS, {"earn": "profit", "ship": ""}, added=["sports"])
    with pytest.raises(CodebookError) as refusal:
        plan(served, client, project, changed)
    assert "\n" not in str(refusal.value)
    assert f"earn in 4 (3 say it holds; tasks {ids[0]}, {ids[1]}, {ids[2]})" in str(refusal.value)
    assert "--map earn=NEW" in str(refusal.value)
    assert load_project(served.home, project.id).codebook == REUTERS

    untouched = everything(client, project.id)
    planned = plan(served, client, project, changed, {"earn": "profit"})
    assert [(c.what, c.before) for c in planned.own] == [("codebook", "ship"), ("code", "earn")]
    assert everything(client, project.id) == untouched, "a plan only reads"

    carry_out(served, client, planned)
    after = load_project(served.home, project.id)
    assert after.codebook == changed
    now = decisions(client, after)
    assert now.keys() == before.keys()
    names = {"earn": "profit"}
    for annotation_id, was in before.items():
        is_now = now[annotation_id]
        for field in ("kept", "rejected", "missed"):
            assert getattr(is_now, field) == tuple(names.get(x, x) for x in getattr(was, field)), field
        assert (is_now.coder, is_now.seconds, is_now.unresolved) == (was.coder, was.seconds, was.unresolved)
        assert is_now.untouched == was.untouched
    last = max((d for d in now.values() if d.task_id == ids[0] and d.coder != now[min(now)].coder), key=_when)
    assert last.labels == ("acq",), "the order of a coder's annotations stays"
    assert '"earn"' not in everything(client, project.id).replace('\\"', '"')
    for exported in client.export(project.id):
        assert [p["model_version"] for p in exported["predictions"]] == ["words/fake@base", "winnow-review-1"]
        assert {one["alias"] for one in exported["data"]["candidates"]} == {"profit", "acq"}
        (proposal,) = wire.proposals(exported)
        assert proposal.labels[0] == ScoredLabel("profit", 0.9)
        assert "ship" not in {scored.label for scored in proposal.labels}
    kept = (after.folder / migration.KEPT).read_text(encoding="utf-8").splitlines()
    assert {"annotation", "draft"} <= {key for line in kept for key in json.loads(line)}
    check_config(client, after)

    now_proposing = Plan.of(after)
    for _ in range(2):  # the second time nothing is added
        pairs = [(task, wire.document(task)) for task in client.tasks(project.id, ids[5:])]
        made = now_proposing.propose(redis, [document for _, document in pairs], FakePool())
        push(client, now_proposing, pairs, made, Scope.REVIEW)
    (task,) = client.tasks(project.id, ids[5:])
    assert [p["model_version"] for p in task["predictions"]][2:] == ["words/fake@base", now_proposing.version]
    (proposal,) = wire.proposals(task)
    assert "sports" in {scored.label for scored in proposal.labels}, "the source was asked about the code that is new"

    assert plan(served, client, after, changed, {"earn": "profit"}).changes == (), "twice is the same as once"
    late = sdk.annotations.create(id=ids[5], result=results["earn kept"])  # from a page that was open all the time
    assert decisions(client, after)[late.id].unresolved
    carry_out(served, client, plan(served, client, after, changed, {"earn": "profit"}))
    assert decisions(client, after)[late.id].kept == ("profit",)


def _when(decision: Decision) -> tuple[object, int]:
    return decision.updated_at, decision.annotation_id


def breaking(method: Callable[..., None], calls: int) -> Callable[..., None]:
    """The method, until Label Studio goes away after some calls."""
    left = iter(range(calls))

    def call(*arguments: object) -> None:
        if next(left, None) is None:
            raise LabelStudioError("it is away")
        method(*arguments)

    return call


def test_a_migration_that_was_cut_off_goes_on(
    client: LabelStudioClient, sdk: LabelStudio, served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = set_up_project(served, client, EXPERIMENT, REUTERS, title="cut off")
    ids = begin_coding(client, project, 3)
    result = wire.coder_result(REUTERS, shown(REUTERS, "d", SHOWN), ReviewForm.REJECT, rejected=["acq"])
    for task in ids:
        sdk.annotations.create(id=task, result=result)
    changed = with_codes(REUTERS, {"earn": "profit"})
    planned = plan(served, client, project, changed, {"earn": "profit"})
    for method, calls in (("import_predictions", 0), ("set_annotation", 1)):
        with monkeypatch.context() as cut:
            cut.setattr(LabelStudioClient, method, breaking(getattr(LabelStudioClient, method), calls))
            with pytest.raises(LabelStudioError, match="it is away"):
                carry_out(served, client, planned)
        registered = load_project(served.home, project.id)
        assert registered.codebook == REUTERS, "replaced only when all is done"
        with pytest.raises(LabelConfigError, match="has begun and not ended; run the same `winnow init` again"):
            check_config(client, registered)
    carry_out(served, client, plan(served, client, project, changed, {"earn": "profit"}))
    after = load_project(served.home, project.id)
    assert [d.kept for d in decisions(client, after).values()] == [("profit",)] * 3
    assert [len(task["predictions"]) for task in client.tasks(project.id)] == [2, 2, 2], "none lost, none doubled"
    check_config(client, after)


def test_what_cannot_be_migrated_is_refused(client: LabelStudioClient, sdk: LabelStudio, served: Settings) -> None:
    project = set_up_project(served, client, EXPERIMENT, REUTERS, title="refused")
    (task,) = begin_coding(client, project, 1)
    result = wire.coder_result(REUTERS, shown(REUTERS, "d0", SHOWN), ReviewForm.REJECT, rejected=["acq"])
    sdk.annotations.create(id=task, result=result)
    changed = with_codes(REUTERS, {"earn": "profit"})
    cases: list[tuple[Codebook, dict[str, str], str]] = [
        (changed, {"eran": "profit"}, "has no code eran; did you mean earn?"),
        (changed, {"earn": "gain"}, "has no gain; its codes are acq"),
        (REUTERS, {"earn": "acq"}, "still has earn"),
        (with_codes(REUTERS, {"earn": ""}), {"earn": ""}, "drops a code that holds in decisions: earn in 1"),
        (replace(REUTERS, kind=Kind.MULTILABEL), {}, "1 annotations in the form reject, not keep"),
    ]
    untouched = everything(client, project.id)
    for codebook, renames, told in cases:
        with pytest.raises((CodebookError, LabelConfigError)) as refusal:
            plan(served, client, project, codebook, renames)
        assert told in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert everything(client, project.id) == untouched


def test_a_graded_code_is_renamed_with_its_levels(
    client: LabelStudioClient, sdk: LabelStudio, served: Settings
) -> None:
    codes = tuple(Code(key, key.title(), f"About {key}.", key) for key in ("joy", "anger", "fear"))
    graded = Codebook("feelings", Kind.GRADED, codes, levels=("low", "high"))
    form = default_form(graded)
    project = set_up_project(served, client, EXPERIMENT, graded, title="graded")
    labels = ("joy:high", "anger:low")
    ids = begin_coding(client, project, 2, labels)
    sets = shown(graded, "d0", labels)
    sdk.annotations.create(
        id=ids[0], result=wire.coder_result(graded, sets, form, rejected=["anger:low"], missed=["fear:low"])
    )
    before = decisions(client, project)
    changed = with_codes(graded, {"fear": "dread", "joy": "delight"})
    carry_out(served, client, plan(served, client, project, changed, {"fear": "dread", "joy": "delight"}))
    after = decisions(client, load_project(served.home, project.id))
    (was,), (is_now,) = before.values(), after.values()
    assert (was.kept, was.rejected, was.missed) == (("joy:high",), ("anger:low",), ("fear:low",))
    assert (is_now.kept, is_now.rejected, is_now.missed) == (("delight:high",), ("anger:low",), ("dread:low",))
    assert not is_now.unresolved


def test_a_config_that_was_edited_by_hand_is_said(client: LabelStudioClient, served: Settings) -> None:
    project = set_up_project(served, client, EXPERIMENT, REUTERS, title="edited by hand")
    assert not config_state(client, project).edited
    mine = client.label_config(project.id)
    client.set_label_config(project.id, mine.replace("None of them fits", "Something else"))
    assert config_state(client, project).edited, "said, though it does no harm"
    check_config(client, project)
    client.set_label_config(project.id, mine.replace('alias="earn"', 'alias="profit"'))
    with pytest.raises(LabelConfigError) as told:
        check_config(client, project)
    line = str(told.value)
    assert "lacks the codes earn and has the codes profit" in line
    assert f"`winnow init winnow.yaml --project {project.id}`" in line
    assert "\n" not in line
    carry_out(served, client, plan(served, client, project, REUTERS))
    check_config(client, project)
    assert not config_state(client, project).edited
