"""Review as coders do it: on Label Studio's own page, by keyboard alone. What they decided is read from an export.

Every document of a test is a step with what the coder presses and the whole decision that must come of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Arm
from ml_backend.experiment import Review
from tests.browser.coding import Step, add, code, draft, flag, grade, judge, look_up, skip, think_again
from tests.browser.reviewing import Sources
from trainer.demo.label_studio import LabelStudioServer

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

REUTERS = load_codebook("reuters8")
DATAVERSE = load_codebook("dataverse")
FLOURISHING = load_codebook("flourishing")
ARMS = {"blind_share": 0.3, "choose_share": 0.3}
UNSURE = flag("I am unsure")
MISSING = flag("A code is missing")
NONE_FITS = flag("None of them fits")

SURVEY = "three hundred doctors on what law and medicine ask of doctors, and why doctors err, in law"
SUBJECTS: Sources = {"by-subject": {}, "by-people": {"social-sciences": "doctors"}}
DIARY = "I have hope high and faith medium, and gratitude high, gratitude high for all the people around me."
FEELINGS: Sources = {"by-thanks": {}, "by-faith": {"gratitude": "silence"}}
LAW, MEDICINE, SOCIAL = "law", "medicine-health-and-life-sciences", "social-sciences"

HARVEST = "The grain harvest fell, so grain waits in silos while shipping and trade stand still."
NEWSWIRE: Sources = {"topic": {}, "verbs": {"acq": "fell"}}


def test_form_keep(label_studio: LabelStudioServer, page: Page, tmp_path: Path) -> None:
    all_kept = {"kept": (LAW, SOCIAL, MEDICINE)}
    steps = [
        Step("rejects", [judge("Social Sciences")], {"kept": (LAW, MEDICINE), "rejected": (SOCIAL,)}),
        Step("as shown", [], {**all_kept, "untouched": True}),
        Step(
            "rejects and adds",
            [judge("Law"), judge("Social Sciences"), MISSING, add("Physics"), add("Chemistry")],
            {"kept": (MEDICINE,), "rejected": (LAW, SOCIAL), "missed": ("chemistry", "physics")},
        ),
        Step(
            "adds too much",
            [MISSING, add("Physics")],
            {**all_kept, "missed": ("physics",), "unresolved": "4 codes where at most 3 may hold"},
        ),
        Step(
            "un-ticks all",
            [judge("Law"), judge("Social Sciences"), judge("Medicine")],
            {"rejected": (LAW, SOCIAL, MEDICINE)},
        ),
        Step("ticks again", [judge("Law"), judge("Law")], {**all_kept, "untouched": True}),
        Step("hides what was added", [MISSING, add("Physics"), MISSING], {**all_kept, "untouched": True}),
        Step("names nothing", [MISSING], {**all_kept, "unresolved": "a code is said to be missing, but none is named"}),
        Step("unsure", [UNSURE], {**all_kept, "unsure": True}),
        Step("skips", [judge("Law"), skip], {"skipped": True}, submit=False),
        Step("draft", [draft(judge("Law")), judge("Medicine")], {"kept": (SOCIAL,), "rejected": (LAW, MEDICINE)}),
        Step(
            "goes back",
            [judge("Social Sciences"), think_again(judge("Social Sciences"), judge("Law"))],
            {"kept": (SOCIAL, MEDICINE), "rejected": (LAW,)},
            submit=False,
        ),
        Step("blind", [add("Physics"), add("Law")], {"missed": (LAW, "physics")}, Arm.BLIND),
        Step("chooses nothing", [], {}, Arm.CHOOSE),
    ]
    review = Review(ReviewForm.KEEP, **ARMS)
    project, expected = code(label_studio, page, tmp_path, DATAVERSE, review, SUBJECTS, SURVEY, steps)
    assert project.decisions() == expected


def test_form_reject(label_studio: LabelStudioServer, page: Page, tmp_path: Path) -> None:
    left = "codes are left where exactly one holds"
    as_shown = {"kept": ("grain", "ship", "acq"), "untouched": True, "unresolved": f"3 {left}"}
    steps = [
        Step("rejects", [judge("Acqui"), judge("Shipping")], {"kept": ("grain",), "rejected": ("ship", "acq")}),
        Step("as shown", [], as_shown),
        Step(
            "another",
            [NONE_FITS, add("Foreign trade")],
            {"rejected": ("grain", "ship", "acq"), "missed": ("trade",)},
        ),
        Step(
            "chooses a candidate",
            [judge("Acqui"), NONE_FITS, add("Grain")],
            {"kept": ("grain",), "rejected": ("ship", "acq")},
        ),
        Step(
            "thinks better of it",
            [NONE_FITS, add("Earnings"), NONE_FITS, judge("Acqui"), judge("Shipping")],
            {"kept": ("grain",), "rejected": ("ship", "acq")},
        ),
        Step(
            "two survive",
            [judge("Acqui")],
            {"kept": ("grain", "ship"), "rejected": ("acq",), "unresolved": f"2 {left}"},
        ),
        Step(
            "none survives",
            [judge("Grain"), judge("Acqui"), judge("Shipping")],
            {
                "rejected": ("grain", "ship", "acq"),
                "unresolved": "every candidate is rejected, and no code chosen instead",
            },
        ),
        Step("un-ticks all", [judge("Grain"), judge("Acqui"), judge("Acqui"), judge("Grain")], as_shown),
        Step(
            "unsure",
            [judge("Acqui"), judge("Grain"), UNSURE],
            {"kept": ("ship",), "rejected": ("grain", "acq"), "unsure": True},
        ),
        Step("skips", [judge("Acqui"), skip], {"skipped": True}, submit=False),
        Step(
            "draft",
            [draft(judge("Acqui")), judge("Shipping")],
            {"kept": ("grain",), "rejected": ("ship", "acq")},
        ),
        Step(
            "goes back",
            [judge("Grain"), judge("Acqui"), think_again(judge("Grain"), judge("Shipping"))],
            {"kept": ("grain",), "rejected": ("ship", "acq")},
            submit=False,
        ),
        Step("blind", [add("Shipping")], {"missed": ("ship",)}, Arm.BLIND),
        Step("chooses", [add("Shipping"), add("Earnings")], {"missed": ("earn",)}, Arm.CHOOSE),
        Step("chooses nothing", [], {"unresolved": "no code holds where exactly one does"}, Arm.CHOOSE),
    ]
    review = Review(ReviewForm.REJECT, **ARMS)
    project, expected = code(label_studio, page, tmp_path, REUTERS, review, NEWSWIRE, HARVEST, steps)
    assert project.decisions() == expected
    # What they are compared with is right too: who proposed what.
    assert {
        candidate.label: [by.source for by in candidate.proposers]
        for candidate in project.shown[expected[0].document_id].candidates
    } == {"grain": ["topic", "verbs"], "acq": ["verbs"], "ship": ["topic"]}


def test_form_graded(label_studio: LabelStudioServer, page: Page, tmp_path: Path) -> None:
    hope, faith, thanks = "hope:high", "belief-in-god:medium", "gratitude:high"
    as_shown = {"kept": (hope, faith, thanks), "untouched": True}
    steps = [
        Step("as shown", [], as_shown),
        Step(
            "corrects and rejects",
            [grade("Having hope", "low"), grade("Belief in God", "medium")],
            {"kept": (thanks,), "rejected": (hope, faith), "missed": ("hope:low",)},
        ),
        Step(
            "looks it up",
            [grade("Belief in God", "high"), MISSING, look_up("empathy", 2)],
            {"kept": (hope, thanks), "rejected": (faith,), "missed": ("empathy:medium", "belief-in-god:high")},
        ),
        Step(
            "draft",
            [grade("Belief in God", "low"), draft(grade("Having hope", "high"))],
            {"kept": (thanks,), "rejected": (hope, faith), "missed": ("belief-in-god:low",)},
        ),
        Step("unsure", [UNSURE], {**as_shown, "untouched": False, "unsure": True}),
        Step("skips", [grade("Having hope", "low"), skip], {"skipped": True}, submit=False),
        Step("blind", [look_up("empathy", 1)], {"missed": ("empathy:low",)}, Arm.BLIND),
    ]
    review = Review(ReviewForm.GRADED, **ARMS)
    project, expected = code(label_studio, page, tmp_path, FLOURISHING, review, FEELINGS, DIARY, steps)
    assert project.decisions() == expected


def test_form_whole(label_studio: LabelStudioServer, page: Page, tmp_path: Path) -> None:
    all_kept = {"kept": (LAW, SOCIAL, MEDICINE)}
    steps = [
        Step("as shown", [], {**all_kept, "untouched": True}),
        Step(
            "rejects and adds",
            [add("Law"), add("Physics")],
            {"kept": (SOCIAL, MEDICINE), "rejected": (LAW,), "missed": ("physics",)},
        ),
        Step(
            "un-ticks all",
            [add("Law"), add("Social Sciences"), add("Medicine, Health and Life Sciences")],
            {"rejected": (LAW, SOCIAL, MEDICINE)},
        ),
        Step("skips", [skip], {"skipped": True}, submit=False),
        Step("choose", [add("Law")], {"missed": (LAW,)}, Arm.CHOOSE),
    ]
    review = Review(ReviewForm.WHOLE, **ARMS)
    project, expected = code(label_studio, page, tmp_path, DATAVERSE, review, SUBJECTS, SURVEY, steps)
    assert project.decisions() == expected


@pytest.mark.parametrize("form", [ReviewForm.CHOOSE, ReviewForm.BLIND])
def test_forms_without_candidates(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, form: ReviewForm
) -> None:
    arm = Arm(form.value)
    steps = [
        Step("chooses", [add("Shipping"), add("Grain")], {"missed": ("grain",)}, arm),
        Step(
            "chooses nothing", [add("Grain"), add("Grain")], {"unresolved": "no code holds where exactly one does"}, arm
        ),
        Step("draft", [draft(add("Earnings"))], {"missed": ("earn",)}, arm),
    ]
    project, expected = code(label_studio, page, tmp_path, REUTERS, Review(form), NEWSWIRE, HARVEST, steps)
    assert project.decisions() == expected
    assert {decision.arm for decision in expected} == {arm}
