"""Which documents become silver, and what coders say of them later."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_configs.codebook import Code, Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.records import Decision, Document, Proposal, ScoredLabel, VerifiedExample
from ml_backend.experiment import Experiment, Project
from ml_backend.proposing import Plan
from ml_backend.snapshot import write_examples
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Silver, Training
from trainer.silver import Agreed, SilverTested, agreed, coded_since, silver_examples, silver_of
from trainer.verified import Reading

CODES = tuple(Code(key, key, f"About {key}.", key) for key in ("ship", "grain", "oil"))
ONE = Codebook("one", Kind.EXCLUSIVE, CODES)
SEVERAL = Codebook("several", Kind.MULTILABEL, CODES)
GRADED = Codebook("graded", Kind.GRADED, CODES, levels=("low", "high"))
SHARE = 0.3
RULE = Silver(ratio=0.5, probability=0.9, weight=0.3)

Said = Mapping[str, float]


def proposal(source: str, said: Said, book: Codebook = ONE, document: str = "d", version: str = "1") -> Proposal:
    scored = [ScoredLabel(key, said.get(key, 0.0)) for key in book.label_keys]
    return Proposal(document, source, version, tuple(sorted(scored, key=lambda one: -one.probability)))


def both(said: Said, other: Said, book: Codebook) -> list[Proposal]:
    return [proposal("a", said, book), proposal("b", other, book)]


@pytest.mark.parametrize(
    ("said", "other", "expected"),
    [
        ({"ship": 0.95, "oil": 0.05}, {"ship": 0.91, "grain": 0.09}, Agreed(("ship",), 0.91)),
        ({"ship": 0.95, "oil": 0.05}, {"ship": 0.9, "grain": 0.1}, Agreed(("ship",), 0.9)),
        ({"ship": 0.95, "oil": 0.05}, {"ship": 0.89, "grain": 0.11}, None),
        ({"ship": 0.95, "oil": 0.05}, {"oil": 0.95, "ship": 0.05}, None),
    ],
)
def test_where_one_code_holds_its_label_is_agreed_on(said: Said, other: Said, expected: Agreed | None) -> None:
    assert agreed(both(said, other, ONE), ONE, 0.9) == expected


@pytest.mark.parametrize(
    ("said", "other", "expected"),
    [
        ({"ship": 0.95, "oil": 0.94}, {"ship": 0.99, "oil": 0.92, "grain": 0.02}, Agreed(("oil", "ship"), 0.92)),
        ({"ship": 0.05}, {"grain": 0.01}, Agreed((), 0.95)),
        ({"ship": 0.95, "oil": 0.94}, {"ship": 0.99, "oil": 0.8}, None),
        ({"ship": 0.95, "oil": 0.94}, {"ship": 0.99, "oil": 0.03}, None),
        ({"ship": 0.95}, {"ship": 0.95, "grain": 0.2}, None),
    ],
)
def test_where_several_hold_each_is_agreed_on(said: Said, other: Said, expected: Agreed | None) -> None:
    assert agreed(both(said, other, SEVERAL), SEVERAL, 0.9) == expected


def test_no_more_codes_than_the_codebook_allows() -> None:
    said = both({"ship": 0.95, "oil": 0.94}, {"ship": 0.99, "oil": 0.92}, SEVERAL)
    assert agreed(said, replace(SEVERAL, max_codes=1), 0.9) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"ship:high": 0.95, "ship:low": 0.03, "oil:low": 0.02}, Agreed(("ship:high",), 0.95)),
        ({"ship:high": 0.5, "ship:low": 0.45}, None),  # that it holds is certain, at which level is not
        ({"ship:high": 0.06, "ship:low": 0.06}, None),  # neither level is likely, but that none holds is not certain
    ],
)
def test_levels_are_agreed_on(said: Said, expected: Agreed | None) -> None:
    assert agreed(both(said, said, GRADED), GRADED, 0.9) == expected


def test_a_source_with_other_labels_agrees_with_nobody() -> None:
    sure = proposal("a", {"ship": 0.99})
    fewer = replace(sure, labels=sure.labels[:2])
    other = replace(sure, labels=(*sure.labels, ScoredLabel("gone", 0.0)))
    assert agreed([sure, sure], ONE, 0.9)
    assert agreed([sure, fewer], ONE, 0.9) is None
    assert agreed([sure, other], ONE, 0.9) is None
    assert agreed([], ONE, 0.9) is None


# --- choosing -------------------------------------------------------------------------------------------------------


def verified(*labels: str) -> list[VerifiedExample]:
    return [VerifiedExample(f"v{n}", f"verified {n}", (label,), ("ann",), False) for n, label in enumerate(labels)]


def sure_of(label: str, *names: str, probability: float = 0.95) -> dict[str, list[Proposal]]:
    return {
        name: [proposal(source, {label: probability}, document=name) for source in ("a", "b")] for name in names
    }  # fmt: skip


def documents(*names: str) -> list[Document]:
    return [Document(name, f"Text of {name}.", 7) for name in names]


def test_silver_is_weighted_and_marked() -> None:
    (found,) = silver_examples(documents("x"), sure_of("ship", "x"), ONE, RULE, verified("ship", "oil"))
    assert found == VerifiedExample("x", "Text of x.", ("ship",), (), False, 7, (), 0.3, True)


def test_the_surest_come_first_and_no_more_than_the_ratio_says() -> None:
    made = sure_of("ship", "x", "y", probability=0.93) | sure_of("ship", "z") | sure_of("ship", "low", probability=0.8)
    names = ("x", "y", "z", "low")
    for number, expected in ((1, []), (2, ["z"]), (4, ["x", "z"]), (6, ["x", "y", "z"]), (20, ["x", "y", "z"])):
        found = silver_examples(documents(*names), made, ONE, RULE, verified(*["ship"] * number))
        assert [one.document_id for one in found] == expected


def test_a_common_label_gets_no_more_than_its_share() -> None:
    common, rare = [f"c{n}" for n in range(30)], [f"r{n}" for n in range(30)]
    made = sure_of("ship", *common, probability=0.99) | sure_of("oil", *rare) | sure_of("grain", "never-verified")
    training = verified(*["ship"] * 30, *["oil"] * 10)
    found = silver_examples(documents(*common, *rare, "never-verified"), made, ONE, RULE, training)
    assert Counter(one.labels for one in found) == {("ship",): 15, ("oil",): 5}


def test_documents_without_a_code_have_their_share_too() -> None:
    names = [f"n{n}" for n in range(20)]
    made = {
        name: [proposal(source, {"ship": 0.99 * (n < 10)}, SEVERAL, name) for source in "ab"]
        for n, name in enumerate(names)
    }
    training = [*verified(*["ship"] * 9), VerifiedExample("v", "none", (), ("ann",), False)]
    found = silver_examples(documents(*names), made, SEVERAL, RULE, training)
    assert Counter(one.labels for one in found) == {("ship",): 4, (): 1}


def test_it_takes_all_sources_and_two_at_least() -> None:
    made = sure_of("ship", "x", "y")
    training = verified("ship", "oil", "oil", "ship")
    made["y"] = made["y"][:1]
    assert [one.document_id for one in silver_examples(documents("x", "y"), made, ONE, RULE, training)] == ["x"]
    alone = {name: own[:1] for name, own in made.items()}
    assert silver_examples(documents("x", "y"), alone, ONE, RULE, training) == []
    assert silver_examples(documents("x"), made, ONE, replace(RULE, ratio=0.0), training) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["ship", "oil", "grain"]), st.floats(0, 1)), max_size=30),
    st.lists(st.sampled_from(["ship", "oil"]), max_size=20),
    st.floats(0, 3),
)
def test_whatever_is_proposed_silver_keeps_to_its_rules(
    said: list[tuple[str, float]], coded: list[str], ratio: float
) -> None:
    made = {
        f"d{n}": [proposal(s, {label: p}, document=f"d{n}") for s in "ab"] for n, (label, p) in enumerate(said)
    }  # fmt: skip
    rule, training = replace(RULE, ratio=ratio), verified(*coded)
    found = silver_examples(documents(*made), made, ONE, rule, training)
    assert len(found) <= ratio * len(training)
    assert all(one.silver and not one.holdout and not one.coders for one in found)
    assert all(said[int(one.document_id[1:])][1] >= rule.probability for one in found)
    assert {label for one in found for label in one.labels} <= set(coded)
    assert found == silver_examples(reversed(documents(*made)), made, ONE, rule, training)


# --- in a project ---------------------------------------------------------------------------------------------------


TRAINING = [f"d{n}" for n in range(100) if not is_holdout(f"d{n}", SHARE)]
HOLDOUT = [f"d{n}" for n in range(100) if is_holdout(f"d{n}", SHARE)]


def project(folder: Path, sources: int = 2, silver: Silver = RULE) -> Project:
    configs = tuple(SourceConfig(name, SourceKind.FAKE) for name in "abc"[:sources])
    training = Training("m", holdout_share=SHARE, silver=silver)
    return Project(7, Experiment("one", configs, training=training), ONE, folder / "projects" / "7")


def reading_of(found: Project, *, stale: str = "", texts: Mapping[str, str] | None = None) -> Reading:
    """40 training and 10 holdout documents verified; on all documents but one both sources agree; one was skipped."""
    every = [*TRAINING, *HOLDOUT]
    written = {name: f"The report {name} says what only {name} says." for name in every} | dict(texts or {})
    coded = [*TRAINING[:40], *HOLDOUT[:10]]
    decisions = [Decision(name, 1, 1, "ann", "keep", kept=("ship",)) for name in coded]
    decisions.append(Decision(TRAINING[40], 1, 1, "ann", "keep", skipped=True))
    proposals = [
        proposal(name, {"ship": 0.99}, document=one, version="old" if one == stale else version)
        for one in every
        for name, version in Plan.of(found).names
    ]
    return Reading(
        [Document(name, written[name]) for name in every], decisions, proposals,
        [VerifiedExample(name, written[name], ("ship",), ("ann",), name in HOLDOUT) for name in coded],
    )  # fmt: skip


def silver_in(found: Project, reading: Reading) -> tuple[set[str], list[str]]:
    training = [one for one in reading.examples if not one.holdout]
    examples, notes = silver_of(found, reading, training)
    return {one.document_id for one in examples}, notes


def test_only_documents_that_nobody_saw_and_outside_of_the_holdout(tmp_path: Path) -> None:
    found = project(tmp_path, silver=replace(RULE, ratio=5.0))
    note = "Silver rests on probabilities that are not tempered, of a, b; see `winnow evaluate`."
    assert silver_in(found, reading_of(found)) == (set(TRAINING[41:]), [note])
    sources = tuple(replace(source, temperature=1.5) for source in found.experiment.sources)
    tempered = replace(found, experiment=replace(found.experiment, sources=sources))
    assert silver_in(tempered, reading_of(tempered)) == (set(TRAINING[41:]), [])


def test_nothing_that_is_like_the_holdout_or_a_verified_document(tmp_path: Path) -> None:
    found = project(tmp_path, silver=replace(RULE, ratio=5.0))
    words = " ".join(f"word{n}" for n in range(80))
    copies = {
        TRAINING[41]: words, HOLDOUT[15]: words.upper(),  # of the holdout, though nobody coded it yet
        TRAINING[42]: f"{words} more two", HOLDOUT[3]: f"{words} more one",
        TRAINING[43]: "The same.", TRAINING[5]: "the same",
    }  # fmt: skip
    assert silver_in(found, reading_of(found, texts=copies))[0] == set(TRAINING[44:])


def test_proposals_of_versions_gone_by_do_not_count(tmp_path: Path) -> None:
    found = project(tmp_path, silver=replace(RULE, ratio=5.0))
    assert silver_in(found, reading_of(found, stale=TRAINING[50]))[0] == set(TRAINING[41:]) - {TRAINING[50]}


def test_the_reason_is_told_where_there_is_none(tmp_path: Path) -> None:
    alone = project(tmp_path, sources=1)
    assert silver_in(alone, reading_of(alone)) == (
        set(),
        ["No silver: it takes 2 sources that agree, the project has 1."],
    )
    found = project(tmp_path)
    nothing = replace(reading_of(found), proposals=[])
    assert "no document has the proposals of all sources" in silver_in(found, nothing)[1][0]
    unsure = replace(
        reading_of(found), proposals=[replace(p, labels=p.labels[1:]) for p in reading_of(found).proposals]
    )
    assert "on which all sources agree with a probability of 0.9" in silver_in(found, unsure)[1][0]
    assert silver_in(project(tmp_path, silver=Silver()), reading_of(found)) == (set(), [])


def test_what_coders_say_later_tests_silver(tmp_path: Path) -> None:
    def silver(name: str, label: str) -> VerifiedExample:
        return VerifiedExample(name, name, (label,), (), False, None, (), 0.3, True)

    rounds = {"one": [silver("s1", "ship"), silver("s2", "ship"), silver("s3", "ship"), *verified("oil")],
              "two": [silver("s2", "oil"), silver("s4", "oil")]}  # fmt: skip
    for when, (name, examples) in enumerate(rounds.items()):
        path = tmp_path / name / "examples.parquet"
        write_examples(path, examples)
        os.utime(path, (when, when))
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "examples.parquet").write_bytes(b"PAR1 and no more")
    now = [
        VerifiedExample(name, name, (label,), ("ann",), False)
        for name, label in (("s1", "oil"), ("s2", "oil"), ("v0", "ship"))
    ]
    assert coded_since(tmp_path, [*now, silver("s3", "ship")]) == SilverTested(4, 2, 1)
    assert coded_since(tmp_path, now).share == 0.5
    assert coded_since(tmp_path / "none", now) == SilverTested(0, 0, 0)
    assert SilverTested(0, 0, 0).share is None
