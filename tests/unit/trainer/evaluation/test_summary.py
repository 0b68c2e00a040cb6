from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.trainer.evaluation.studies import empty, exclusive
from trainer.evaluation.blocks import Cell, Column, Finding, Section, Table, Tone
from trainer.evaluation.figure import Figure
from trainer.evaluation.study import Study
from trainer.evaluation.summary import MOST, summary_of

STUDY = exclusive()
WHO = ("who", "role", "accuracy", "kappa")


def table(key: str, columns: tuple[str, ...], *rows: tuple[Cell, ...]) -> Table:
    return Table(key, key, tuple(Column(name, name) for name in columns), rows)


def performance(*rows: tuple[Cell, ...]) -> Section:
    return Section("performance", "Performance", (), (table("performance", WHO, *rows),))


def accuracy(value: float, half: float = 0.05, n: int = 200) -> Figure:
    return Figure(value, n, value - half, value + half)


def told(*sections: Section, study: Study = STUDY) -> dict[Tone, list[str]]:
    found: dict[Tone, list[str]] = {tone: [] for tone in Tone}
    for finding in summary_of(study, sections).findings:
        found[finding.tone].append(finding.text)
    return found


@pytest.mark.parametrize(
    ("kappa", "tone", "words"),
    [
        (0.8, Tone.GOOD, "good enough to rely on (from .80 on)"),
        (0.79, Tone.WARNING, "not to code alone"),
        (0.667, Tone.WARNING, "not to code alone"),
        (0.66, Tone.BAD, "a person has to see every document"),
    ],
)
def test_a_leader_is_held_to_what_coders_are(kappa: float, tone: Tone, words: str) -> None:
    rows = (
        ("prompt", "source", accuracy(0.5), Figure(0.1, 200)),
        ("adapter", "adapter", accuracy(0.9), Figure(kappa, 200)),
    )
    (text,) = told(performance(*rows))[tone]
    assert text.startswith(f"adapter agrees with the truth beyond chance by a kappa of .{100 * kappa:.0f}")
    assert words in text


@pytest.mark.parametrize(
    ("value", "tone", "words"),
    [
        (0.9, Tone.GOOD, "it does as well as a coder"),
        (0.86, Tone.PLAIN, "it may do as well as a coder"),
        (0.8, Tone.WARNING, "it does worse than a coder"),
    ],
)
def test_a_leader_is_set_beside_the_coders(value: float, tone: Tone, words: str) -> None:
    coders = [(f"Coder {n}", "coder", accuracy(own), None) for n, own in enumerate((0.7, 0.9, 0.95))]
    found = told(performance(("adapter", "adapter", accuracy(value), None), *coders))
    assert [text for text in found[tone] if words in text and "90 % (median of 3)" in text]


def test_rivals_are_those_that_overlap_and_that_no_test_told_apart() -> None:
    rows = performance(
        ("adapter", "adapter", accuracy(0.9), None),
        ("prompt", "source", accuracy(0.85), None),
        ("similarity", "source", accuracy(0.84), None),
        ("probe", "source", accuracy(0.5), None),
        ("adapter adapter/0", "adapter", accuracy(0.89), None),  # not in force
    )
    tested = ("similarity", "adapter", 0.01), ("adapter", "prompt", 0.2)
    tests = Section("comparison", "C", (), (table("comparison", ("first", "second", "holm"), *tested),))
    study = replace(STUDY, versions=dict.fromkeys(("adapter", "prompt", "similarity", "probe"), "v"))
    (text,) = told(rows, tests, study=study)[Tone.PLAIN]
    assert "overlaps with that of prompt:" in text


def test_how_many_more_documents() -> None:
    # Half as wide asks for four times the documents: 300 more than 100.
    wide = performance(("adapter", "adapter", accuracy(0.8, half=0.1, n=100), None))
    assert told(wide)[Tone.NEXT] == [
        "Code about 300 more holdout documents to know the accuracy of adapter within 5 points."
    ]
    assert not told(performance(("adapter", "adapter", accuracy(0.8, half=0.05, n=100), None)))[Tone.NEXT]
    rows = (
        ("Percent agreement", Figure(0.8, 50, 0.6, 1.0)),
        ("Krippendorff's alpha, nominal", Figure(0.8, 50, 0.7, 0.9)),
    )
    agreement = Section("agreement", "A", (), (table("overall", ("coefficient", "value"), *rows),))
    assert told(agreement)[Tone.NEXT] == [
        "Have about 150 more documents coded by two coders or more to know Krippendorff's alpha, nominal within ±.05; "
        "now it is .80 (.70 to .90) from 50."
    ]


def test_sentences_of_sections_are_gathered_once_and_not_too_many() -> None:
    many = tuple(Finding(f"leak {number}", Tone.BAD) for number in range(MOST + 3))
    plain = (Finding("Nothing to see."), Finding("Ten seconds."))
    summary = summary_of(STUDY, [Section("a", "A", (*many, many[0], *plain)), Section("effort", "E", plain)])
    assert [finding.text for finding in summary.findings] == [f"leak {number}" for number in range(MOST)] + [
        "Nothing to see."
    ]
    assert summary.notes == ("3 more findings stand in the sections.",)


def test_a_project_with_nothing_verified_is_told_what_to_do_first() -> None:
    nothing = told(Section("a", "A", (Finding("Costs nothing.", Tone.GOOD),)), study=empty())
    assert not nothing[Tone.GOOD]
    assert nothing[Tone.WARNING] == ["No document is verified yet: nothing can be judged."]
    assert [text.split("`")[1] for text in nothing[Tone.NEXT][:2]] == [
        "winnow import FILE --project N", "winnow prelabel --project N",
    ]  # fmt: skip
    undecided = told(study=replace(STUDY, truth={}, examples=()))
    assert "`winnow review --project 7` lists ties" in undecided[Tone.NEXT][0]
