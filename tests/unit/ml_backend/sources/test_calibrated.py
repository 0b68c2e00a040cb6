from __future__ import annotations

from dataclasses import replace

import pytest

from label_configs.codebook import Codebook
from label_configs.records import Document, Proposal
from ml_backend.adapters import store_of
from ml_backend.devices import DeviceFacts
from ml_backend.experiment import Project
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.calibrated import CalibratedSource
from ml_backend.sources.fake import FakeSource
from ml_backend.sources.pool import SourcePool
from ml_backend.versions import ActiveSource, source_version

DOCUMENTS = [Document("d1", "A ship left the port, a ship came."), Document("d2", "Wheat and grain.")]


class Silent:
    """Gives no answer to the second document."""

    name, version = "silent", "v"

    def propose(self, documents: list[Document]) -> list[Proposal]:
        first = FakeSource("silent", "v", self.codebook).propose(documents[:1])
        return [*first, *(Proposal(d.id, "silent", "v", ()) for d in documents[1:])]

    def __init__(self, codebook: Codebook) -> None:
        self.codebook = codebook


def test_what_is_proposed_stays_and_how_sure_it_is_changes(codebook: Codebook) -> None:
    plain = FakeSource("words", "v", codebook)
    before = plain.propose(DOCUMENTS)
    after = CalibratedSource(plain, 2.0, codebook).propose(DOCUMENTS)
    for one, other in zip(before, after, strict=True):
        assert replace(one, labels=()) == replace(other, labels=()), "what it cost is what the source says"
        assert [s.label for s in one.labels] == [s.label for s in other.labels]
        roots = [s.probability**0.5 for s in one.labels]
        assert [s.probability for s in other.labels] == pytest.approx([r / sum(roots) for r in roots], abs=2e-6)


def test_no_documents_and_no_answers_stay_so(codebook: Codebook) -> None:
    assert CalibratedSource(FakeSource("words", "v", codebook), 2.0, codebook).propose([]) == []
    first, second = CalibratedSource(Silent(codebook), 2.0, codebook).propose(DOCUMENTS)
    assert len(first.labels) == 3
    assert second.labels == ()


def test_the_pool_gives_every_source_its_temperature(project: Project, cpu: DeviceFacts, codebook: Codebook) -> None:
    pool = SourcePool(cpu, store_of(project.home))
    config = SourceConfig("words", SourceKind.FAKE)
    (plain,), (warm,) = (
        pool.source(codebook, ActiveSource(c, source_version(c, None))).propose(DOCUMENTS[:1])
        for c in (config, replace(config, temperature=3.0))
    )
    assert plain.version != warm.version == "words/fake-t3@base"
    assert plain.labels[0].probability > warm.labels[0].probability > 1 / 3
