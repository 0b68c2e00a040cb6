"""Proposing: nothing is computed twice, and a plan changes with what it is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from redis import Redis

from label_configs.codebook import Codebook
from label_configs.errors import AdapterError
from label_configs.records import Document, Proposal
from ml_backend import adapters
from ml_backend.experiment import Experiment, Project, register
from ml_backend.proposing import Plan
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.base import Source
from ml_backend.sources.fake import FakeSource
from ml_backend.versions import ActiveSource

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
    adapters.promote(project.folder, adapter)
    after = Plan.of(project)
    assert after.names[-1] == ("adapter", f"org/model/zero_shot@{adapter.id}")
    assert after.version != before.version
    adapters.roll_back(project.folder)
    assert Plan.of(project) == before


def test_a_current_adapter_that_is_gone_is_told(project: Project) -> None:
    (project.folder / "current.json").write_text(json.dumps({"adapters": ["0123456789abcdef"]}))
    with pytest.raises(AdapterError, match="adapter 0123456789abcdef: not in the store"):
        Plan.of(project)
