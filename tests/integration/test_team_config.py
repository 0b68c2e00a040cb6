"""A project that a team annotates already, in a label config of its own, which stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from label_studio_sdk import LabelStudio
from rich.console import Console

from label_configs import wire
from label_configs.codebook import Kind, load_codebook
from label_configs.errors import LabelConfigError
from label_configs.forms import ReviewForm
from label_configs.team_form import with_record
from ml_backend.config_check import config_state
from ml_backend.experiment import Experiment, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan
from ml_backend.registered_projects import load_project
from ml_backend.set_up import plan_set_up
from tests.integration.conftest import Running
from trainer.cli import main
from trainer.verified import read_project
from trainer.work import Work

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(180)]

THEIRS = """<View>
  <!-- ours since 2021 -->
  <Header value="What is it about?"/>
  <Text name="doc" value="$body"/>
  <Choices name="topic" toName="doc" choice="{choice}">
    <Choice value="Politics"/>
    <Choice value="Law &amp; order" alias="LAW"/>
    <Choice value="Sport"/>
  </Choices>
  <TextArea name="remarks" toName="doc"/>
</View>"""
YAML = "text: body\nsources:\n  - name: words\n    kind: fake\n"
BOOK = """name: topics
kind: {kind}
codes:
  - {{key: pol, name: Politics, definition: Parties and elections, word: politics}}
  - {{key: LAW, name: Courts, definition: Courts and police, word: judge}}
  - {{key: sport, name: Sport, definition: Games, word: goal}}
"""
BODIES = {
    "coded": "An old text on politics.",
    "also": "An old text of a judge.",
    "first": "The judge spoke of politics.",
    "second": "A goal in extra time.",
}


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return int(str(caught.value.code))


def topics(*values: str) -> dict[str, Any]:
    return {"from_name": "topic", "to_name": "doc", "type": "choices", "value": {"choices": list(values)}}


@pytest.fixture
def at_hand(winnow: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The installation's settings in the environment, and in the working folder a winnow.yaml without a codebook."""
    settings = winnow.settings
    assert settings.label_studio_token
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "HOME": settings.home, "PORT": settings.port, "LABEL_STUDIO_URL": settings.label_studio_url,
        "LABEL_STUDIO_TOKEN": settings.label_studio_token.get_secret_value(),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"WINNOW_{name}", str(value))
    Path("winnow.yaml").write_text(YAML, encoding="utf-8")
    return winnow


def annotated(sdk: LabelStudio, client: LabelStudioClient, choice: str) -> tuple[int, Mapping[str, int]]:
    """A project in the team's label config with two texts coded and two open; the tasks' ids by name."""
    project = client.create_project(f"theirs, {choice}", THEIRS.format(choice=choice))
    bodies = [{"body": f"{body} ({project})"} for body in BODIES.values()]
    ids = dict(zip(BODIES, client.import_tasks(project, bodies), strict=True))
    remark = {"from_name": "remarks", "to_name": "doc", "type": "textarea", "value": {"text": ["Sport?"]}}
    sdk.annotations.create(id=ids["coded"], result=[topics("Politics"), remark])
    sdk.annotations.create(id=ids["also"], result=[topics("LAW")])
    return project, ids


@pytest.mark.parametrize("kind", [Kind.EXCLUSIVE, Kind.MULTILABEL])
def test_an_annotated_project_is_fitted_and_its_label_config_stays(
    at_hand: Running, sdk: LabelStudio, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    client = LabelStudioClient(at_hand.settings)
    theirs = THEIRS.format(choice="single" if kind is Kind.EXCLUSIVE else "multiple")
    project, ids = annotated(sdk, client, "single" if kind is Kind.EXCLUSIVE else "multiple")
    assert client.label_config(project) == theirs
    if kind is Kind.EXCLUSIVE:
        book = ["--codebook", "book.yaml"]
        Path("book.yaml").write_text(BOOK.format(kind=kind), encoding="utf-8")
        politics, sport, law = "pol", "sport", "LAW"
    else:
        book = []
        politics, sport, law = "Politics", "Sport", "LAW"

    # Nobody agreed: nothing is changed, and the reason is said.
    assert run("init", "winnow.yaml", "--project", project, *book) == 2
    assert "a hidden TextArea 'shown' is added: the record of what coders were shown" in capsys.readouterr().err
    assert client.label_config(project) == theirs
    assert run("init", "winnow.yaml", "--project", project, *book, "--yes") == 0
    out = capsys.readouterr().out
    assert [line[0] for line in out.splitlines() if line.startswith(("+ ", "- "))] == ["+"], "one line is added"
    assert client.label_config(project) == with_record(theirs)

    # A second time nothing changes.
    assert run("init", "winnow.yaml", "--project", project, *book) == 0
    assert "Nothing changes." in capsys.readouterr().out

    # Proposals are ticked in the team's own control; live mode answers the same.
    work = Work.open(at_hand.settings, project)
    assert (work.project.form, work.project.codebook.kind) == (ReviewForm.WHOLE, kind)
    work.prelabel(Console(quiet=True))
    tasks = {int(task["id"]): task for task in client.tasks(project)}
    review = Plan.of(work.project).version
    pushed = {name: _review(tasks[task_id], review) for name, task_id in ids.items()}
    assert pushed["coded"] is None
    assert pushed["first"] is not None
    ticked, record = pushed["first"]["result"]
    assert ticked["from_name"] == "topic"
    assert (record["from_name"], record["to_name"]) == ("shown", "doc")
    shown = wire.decisions(
        {**tasks[ids["first"]], "annotations": [{"id": 1, "result": pushed["first"]["result"]}]},
        work.project.codebook, work.project.form, text_key="body", team=work.project.team,
    )[0]  # fmt: skip
    assert shown.untouched
    client.delete_predictions(project, [ids["first"]])
    sdk.actions.create(
        id="retrieve_tasks_predictions", project=project, selected_items={"all": False, "included": [ids["first"]]}
    )
    (task,) = client.tasks(project, [ids["first"]])
    answered = _review(task, review)
    assert answered is not None
    assert _said(answered) == _said(pushed["first"])

    # What coders submit is read, beside what was coded before.
    sdk.annotations.create(id=ids["first"], result=[topics("Sport"), record])
    reading = read_project(client, work.project)
    told = {decision.task_id: decision for decision in reading.decisions}
    assert (told[ids["coded"]].labels, told[ids["also"]].labels) == ((politics,), (law,))
    assert told[ids["coded"]].shown is None
    decided = told[ids["first"]]
    assert decided.labels == (sport,)
    assert decided.shown == shown.shown
    assert {*decided.rejected, *decided.kept} == {one.label for one in shown.shown.candidates} if shown.shown else False
    assert {example.document_id: example.labels for example in reading.examples} == {
        f"task-{ids['coded']}": (politics,), f"task-{ids['also']}": (law,), f"task-{ids['first']}": (sport,),
    }  # fmt: skip

    # An edit by hand is noticed; one of layout does no harm.
    config = client.label_config(project)
    client.set_label_config(project, config.replace("What is it about?", "What?"))
    assert config_state(client, work.project) == config_state(client, work.project)
    assert (config_state(client, work.project).edited, config_state(client, work.project).problem) == (True, "")
    client.set_label_config(project, theirs)
    assert "lacks the hidden TextArea 'shown'" in config_state(client, work.project).problem
    client.set_label_config(project, config.replace("</Choices>", '<Choice value="Weather"/></Choices>'))
    assert "has the choices Weather that the codebook has not" in config_state(client, work.project).problem


def _review(task: Mapping[str, Any], version: str) -> dict[str, Any] | None:
    return next((one for one in task["predictions"] if one["model_version"] == version), None)


def _said(prediction: Mapping[str, Any]) -> tuple[float, str]:
    items = [{k: item[k] for k in ("from_name", "to_name", "type", "value")} for item in prediction["result"]]
    return prediction["score"], json.dumps(items, sort_keys=True)


def test_a_code_gets_another_key_and_its_choice_another_value(at_hand: Running, sdk: LabelStudio) -> None:
    client = LabelStudioClient(at_hand.settings)
    project, ids = annotated(sdk, client, "single")
    Path("book.yaml").write_text(BOOK.format(kind="exclusive"), encoding="utf-8")
    init = ("init", "winnow.yaml", "--project", project, "--codebook", "book.yaml", "--yes")
    assert run(*init) == 0
    work = Work.open(at_hand.settings, project)
    work.prelabel(Console(quiet=True))
    Path("book.yaml").write_text(
        BOOK.format(kind="exclusive").replace("key: pol, name: Politics", "key: policy, name: Policy"), encoding="utf-8"
    )
    config = client.label_config(project)
    client.set_label_config(project, config.replace('"Politics"', '"Policy"'))
    assert run(*init) == 2, "decisions would be orphaned"
    assert run(*init, "--map", "pol=policy") == 0
    renamed = load_project(at_hand.settings.home, project)
    told = {decision.task_id: decision for decision in read_project(client, renamed).decisions}
    assert (told[ids["coded"]].labels, told[ids["also"]].labels) == (("policy",), ("LAW",))
    (task,) = [one for one in client.export(project) if one["id"] == ids["coded"]]
    values = {item["from_name"]: item["value"] for item in task["annotations"][0]["result"]}
    assert values == {"topic": {"choices": ["Policy"]}, "remarks": {"text": ["Sport?"]}}
    plan = plan_set_up(at_hand.settings, client, renamed.experiment, renamed.codebook, project_id=project)
    assert plan.changes == ()


def test_annotations_under_what_cannot_be_fitted_are_refused(at_hand: Running, sdk: LabelStudio) -> None:
    client = LabelStudioClient(at_hand.settings)
    nested = THEIRS.replace('"Sport"/>', '"Sport"><Choice value="Golf"/></Choice>').format(choice="single")
    project = client.create_project("nested", nested)
    (task,) = client.import_tasks(project, [{"body": "x"}])
    sdk.annotations.create(id=task, result=[topics("Politics")])
    Path("book.yaml").write_text(BOOK.format(kind="exclusive"), encoding="utf-8")
    experiment = Experiment("book.yaml", (), text="body")
    with pytest.raises(LabelConfigError, match=r"has 1 annotations .* cannot fit: Choices 'topic' are nested; make"):
        plan_set_up(at_hand.settings, client, experiment, load_codebook("book.yaml"), project_id=project)
    assert client.label_config(project) == nested


def test_without_annotations_the_form_says_whether_it_stays(at_hand: Running) -> None:
    client = LabelStudioClient(at_hand.settings)
    theirs = THEIRS.format(choice="multiple")
    project = client.create_project("nothing annotated", theirs)
    Path("book.yaml").write_text(BOOK.format(kind="multilabel"), encoding="utf-8")
    codebook = load_codebook("book.yaml")
    forms: dict[ReviewForm | None, str] = {}
    for form in (None, *ReviewForm):
        if form in (ReviewForm.REJECT, ReviewForm.GRADED):
            continue  # for codebooks of other kinds
        experiment = Experiment("book.yaml", (), text="body", review=Review(form))
        plan = plan_set_up(at_hand.settings, client, experiment, codebook, project_id=project)
        assert plan.label_config is not None
        forms[form] = "stays" if plan.label_config == with_record(theirs) else plan.own[0].after
    winnows = "Winnow's form keep"
    assert forms == {
        None: f"{winnows} (the team's own stays with `review.form: whole`)",
        ReviewForm.KEEP: winnows,
        ReviewForm.WHOLE: "stays",
        ReviewForm.CHOOSE: "stays",
        ReviewForm.BLIND: "stays",
    }
