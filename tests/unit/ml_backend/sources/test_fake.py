"""The fake source counts words, always the same way."""

from __future__ import annotations

import pytest

from label_configs.codebook import Codebook
from label_configs.records import Document
from ml_backend.sources.base import ranked
from ml_backend.sources.fake import FakeSource


def test_words_that_occur_make_a_label_probable(codebook: Codebook) -> None:
    source = FakeSource("words", "words/fake@base", codebook)
    grain, nothing = source.propose([Document("d1", "Grain and grain"), Document("d2", "nothing")])
    assert [s.label for s in grain.labels] == ["grain", "ship", "shipping"]
    assert [s.probability for s in grain.labels] == pytest.approx([19 / 21, 1 / 21, 1 / 21], abs=1e-6)
    assert [s.label for s in nothing.labels] == list(codebook.label_keys), "equal ones stand in the codebook's order"
    assert (grain.document_id, grain.source, grain.version, grain.tokens) == ("d1", "words", "words/fake@base", 3)
    assert source.propose([]) == []


def test_ranking_needs_a_probability_for_every_label(codebook: Codebook) -> None:
    assert [s.label for s in ranked(codebook, [0.2, 0.3, 0.5])] == ["grain", "shipping", "ship"]
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ranked(codebook, [0.2, 0.8])
