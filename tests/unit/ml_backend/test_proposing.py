"""Proposing: nothing is computed twice, and a plan changes with what it is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from label_configs.codebook import Codebook
from label_configs.drawing import is_holdout
from label_configs.errors import AdapterError
from label_configs.records import Arm, Document, Proposal, ScoredLabel
from ml_backend import adapters, promotions
from ml_backend.experiment import Experiment, Order, Project, Review
from ml_backend.leading import Judged, Standing, identity_of, save_standing
from ml_backend.mixing import EQUAL, Evidence, MixingWeights
from ml_backend.ordering import TIES
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.base import Source
from ml_backend.sources.fake import FakeSource
from ml_backend.training_config import Training
from ml_backend.versions import ActiveSource
from ml_backend.weights_file import taking_over

DOCUMENTS = [Document("d1", "ship ship grain", 1), Document("d2", "grain", 2), Document("d3", "ship", 3)]


class Counting:
    """Builds fake sources and notes what each was asked."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.asked: list[tuple[str, list[str]]] = []

    def source(self, codebook: Codebook, active: ActiveSource) -> Source:
        assert codebook is self.project.codebook
        return Counting.Noting(active.config.name, active.version, self)

    class Noting:
        def __init__(self, name: str, version: str, owner: Counting) -> None:
            self.name, self.version, self._owner = name, version, owner

        def propose(self, documents: Sequence[Document]) -> list[Proposal]:
            self._owner.asked.append((self.name, [d.id for d in documents]))
            return FakeSource(self.name, self.version, self._owner.project.codebook).propose(documents)


@pytest.fixture
def two(project: Project) -> Project:
    sources = (SourceConfig("words", SourceKind.FAKE), SourceConfig("again", SourceKind.FAKE))
    return register(project.home, 8, Experiment("small", sources), project.codebook)


def test_each_source_is_asked_only_for_what_it_lacks(redis: Redis, two: Project) -> None:
    plan, sources = Plan.of(two), Counting(two)
    first = plan.propose(redis, DOCUMENTS[:2], sources)
    assert sources.asked == [("words", ["d1", "d2"]), ("again", ["d1", "d2"])]
    sources.asked.clear()
    again = plan.propose(redis, DOCUMENTS, sources)
    assert sources.asked == [("words", ["d3"]), ("again", ["d3"])]
    assert again[:2] == first, "kept proposals are those that were made, to the last digit"
    assert [[p.source for p in row] for row in again] == [["words", "again"]] * 3
    redis.flushall()
    assert plan.propose(redis, DOCUMENTS, sources) == again, "Redis may be wiped at any time"


def test_a_document_is_ready_when_every_source_has_proposed(redis: Redis, two: Project) -> None:
    plan = Plan.of(two)
    assert plan.ready(redis, DOCUMENTS) == [None, None, None]
    made = plan.propose(redis, DOCUMENTS[:1], Counting(two))
    assert plan.ready(redis, DOCUMENTS) == [made[0], None, None]
    for key in redis.scan_iter("winnow:proposals:*"):
        redis.hdel(key, *[field for field in redis.hkeys(key) if field.startswith(b"again")])
    assert plan.ready(redis, DOCUMENTS) == [None, None, None]


def test_the_plan_follows_promotion_and_rollback(project: Project) -> None:
    before = Plan.of(project)
    store = adapters.store_of(project.home)
    source = project.home / "trained"
    source.mkdir()
    for name in adapters.FILES:
        (source / name).write_text("{}")
    manifest = {
        "base": "org/model",
        "prompt": "zero_shot",
        "max_document_tokens": 512,
        "codebook": project.codebook.fingerprint,
    }
    adapter = store.publish(source, manifest)
    promotions.promote(project.folder, adapter)
    after = Plan.of(project)
    assert after.names[-1] == ("adapter", f"org/model/zero_shot@{adapter.id}")
    assert after.version != before.version
    promotions.roll_back(project.folder)
    assert Plan.of(project) == before


def test_a_current_adapter_that_is_gone_is_told(project: Project) -> None:
    (project.folder / "current.json").write_text(json.dumps({"adapters": ["0123456789abcdef"]}))
    with pytest.raises(AdapterError, match="adapter 0123456789abcdef: not in the store"):
        Plan.of(project)


def reviewed(project: Project, **fields: Any) -> Plan:
    """The plan of the project with two sources and this review."""
    sources = (SourceConfig("words", SourceKind.FAKE), SourceConfig("again", SourceKind.FAKE))
    experiment = Experiment("small", sources, review=Review(**fields), training=Training("m", holdout_share=0.5))
    return Plan.of(register(project.home, 9, experiment, project.codebook))


def test_documents_of_the_other_arms_have_no_candidates_but_a_place(redis: Redis, project: Project) -> None:
    plan = reviewed(project, holdout=Arm.BLIND)
    documents = [Document(f"d{n}", "ship ship grain", n) for n in range(30)]
    made = plan.propose(redis, documents, Counting(plan.project))
    sets = [plan.candidates(d, row) for d, row in zip(documents, made, strict=True)]
    assert {one.arm for one in sets} == {Arm.REVIEW, Arm.BLIND}
    for document, shown in zip(documents, sets, strict=True):
        held = is_holdout(document.id, 0.5)
        assert shown.arm is (Arm.BLIND if held else Arm.REVIEW)
        assert bool(shown.candidates) is not held
        assert shown.version == plan.version
    assert all(0 <= plan.score(d, row) <= 1 for d, row in zip(documents, made, strict=True))


def test_the_score_follows_the_order_of_the_review(redis: Redis, project: Project) -> None:
    free = [Document(f"d{n}", text, n) for n, text in enumerate(["ship", "grain " * 9, "nothing of either"] * 9)]
    free = [d for d in free if not is_holdout(d.id, 0.5)]
    plan = reviewed(project, order=Order.UNCERTAINTY, random_share=0.0)
    made = plan.propose(redis, free, Counting(plan.project))
    by_text: dict[str, set[float]] = {}
    for document, row in zip(free, made, strict=True):
        by_text.setdefault(document.text, set()).add(plan.score(document, row))
    assert all(max(scores) - min(scores) <= TIES for scores in by_text.values()), "by what sources say"
    assert min(by_text["nothing of either"]) < min(by_text["ship"]) < min(by_text["grain " * 9])
    drawn = reviewed(project)
    assert len({drawn.score(d, row) for d, row in zip(free, made, strict=True)}) == len(free)


def test_weights_are_a_part_of_the_plan_and_of_its_version(redis: Redis, two: Project) -> None:
    before = Plan.of(two)
    learned = MixingWeights({("words", "words/fake@base", "ship"): Evidence(9, 10)}, ("d1",))
    with taking_over(two.folder, learned):
        pass
    after = Plan.of(two)
    assert (before.weights, after.weights) == (EQUAL, learned)
    assert before.version != after.version
    with taking_over(two.folder, EQUAL):
        pass
    assert Plan.of(two) == before


def test_the_source_that_leads_is_a_part_of_the_plan_and_of_its_version(two: Project) -> None:
    before = Plan.of(two)
    rows = tuple(
        Judged(active.config.name, identity_of(active.config), value)
        for active, value in zip(before.sources, (0.5, 0.9), strict=True)
    )
    save_standing(two.folder, Standing("r1", "accuracy", 40, datetime.now(UTC), two.codebook.fingerprint, rows))
    after = Plan.of(two)
    first, second = (active.config.name for active in before.sources)
    assert (before.leader, after.leader) == ("", second)
    assert before.version != after.version
    document = Document("d1", "ship")
    ship = (ScoredLabel("ship", 0.9), ScoredLabel("grain", 0.1))
    grain = (ScoredLabel("grain", 0.6), ScoredLabel("ship", 0.4))
    made = [Proposal("d1", first, "1", ship), Proposal("d1", second, "1", grain)]
    assert before.candidates(document, made).candidates[0].label == "ship"
    assert after.candidates(document, made).candidates[0].label == "grain"
