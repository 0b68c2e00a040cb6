"""The probe: fitted on a snapshot's documents, it codes others; what it never saw it does not propose."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from label_configs.codebook import Code, Codebook, Kind, load_codebook
from label_configs.errors import TrainingError
from label_configs.records import Document, VerifiedExample
from ml_backend.devices import DeviceFacts
from ml_backend.embeddings import Embedding, EmbeddingCache
from ml_backend.sentence_encoder import SentenceEncoder
from ml_backend.snapshot import publish_snapshot
from ml_backend.sources.probe import ProbeSource
from trainer.demo import documents
from trainer.demo.wheels import DemoFiles

pytestmark = pytest.mark.models

SUBJECTS = {
    "oil": ("crude oil", "petrol", "the refinery", "OPEC", "barrels of oil", "the oil field"),
    "grain": ("wheat", "maize", "the harvest", "barley", "tonnes of grain", "the farmers' corn"),
    "music": ("the song", "the concert", "a violin", "the orchestra", "a new album", "the choir"),
}
SENTENCES = ("Much was said of {} today.", "A report about {} came out.", "Nobody had expected {} here.")
CODES = tuple(Code(key, key.title(), f"All about {key}.", key) for key in (*SUBJECTS, "chess"))
TOPICS = Codebook("topics", Kind.EXCLUSIVE, CODES)


@pytest.fixture(scope="module")
def encoder(demo_files: DemoFiles, tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    cache = EmbeddingCache(tmp_path_factory.mktemp("embeddings"))
    return SentenceEncoder(str(demo_files.minilm), DeviceFacts("cpu", "cpu", 1 << 30, False), cache)


def verified(labels_of: dict[str, tuple[str, ...]] | None = None) -> list[VerifiedExample]:
    """A document for each subject and the first two sentences; ``labels_of`` are a topic's labels."""
    return [
        VerifiedExample(f"{topic}-{n}-{m}", sentence.format(subject), (labels_of or {}).get(topic, (topic,)), (), False)
        for topic, subjects in SUBJECTS.items()
        for n, subject in enumerate(subjects)
        for m, sentence in enumerate(SENTENCES[:2])
    ]


UNSEEN = [Document(topic, SENTENCES[2].format(subjects[0])) for topic, subjects in SUBJECTS.items()]


def probe(
    encoder: SentenceEncoder, codebook: Codebook, folder: Path, examples: Sequence[VerifiedExample]
) -> ProbeSource:
    return ProbeSource("probe", "v", encoder, codebook, publish_snapshot(folder, examples))


def probabilities(source: ProbeSource) -> list[dict[str, float]]:
    return [{s.label: s.probability for s in proposal.labels} for proposal in source.propose(UNSEEN)]


def test_exclusive_codes_are_learned_and_unseen_ones_have_no_probability(
    encoder: SentenceEncoder, tmp_path: Path
) -> None:
    source = probe(encoder, TOPICS, tmp_path, verified())
    proposals = source.propose(UNSEEN)
    assert [p.labels[0].label for p in proposals] == list(SUBJECTS)
    for proposal, found in zip(proposals, probabilities(source), strict=True):
        assert sum(found.values()) == pytest.approx(1, abs=1e-5)
        assert found["chess"] == 0
        assert proposal.labels[-1].label == "chess"
        assert (proposal.source, proposal.version, proposal.truncated) == ("probe", "v", 0)
        assert proposal.tokens > 5
        assert proposal.seconds > 0
    assert source.propose([]) == []


def test_multilabel_codes_are_learned_each_by_itself(encoder: SentenceEncoder, tmp_path: Path) -> None:
    labels: dict[str, tuple[str, ...]] = {"oil": ("oil", "chess"), "grain": ("oil",), "music": ()}
    source = probe(encoder, replace(TOPICS, kind=Kind.MULTILABEL), tmp_path, verified(labels))
    oil, grain, music = probabilities(source)
    assert min(oil["oil"], oil["chess"], grain["oil"]) > 0.5
    assert max(grain["chess"], music["oil"], music["chess"]) < 0.5
    assert {p["grain"] for p in (oil, grain, music)} == {0.0}, "no document carries it"


def test_what_all_documents_carry_is_all_but_certain(encoder: SentenceEncoder, tmp_path: Path) -> None:
    labels: dict[str, tuple[str, ...]] = {"oil": ("oil", "chess"), "grain": ("chess",), "music": ("chess",)}
    source = probe(encoder, replace(TOPICS, kind=Kind.MULTILABEL), tmp_path, verified(labels))
    n = len(verified())
    assert {p["chess"] for p in probabilities(source)} == {round((n + 1) / (n + 2), 6)}


def test_graded_codes_are_learned_with_their_levels(encoder: SentenceEncoder, tmp_path: Path) -> None:
    codebook = Codebook("topics", Kind.GRADED, CODES, levels=("low", "medium", "high"))
    labels: dict[str, tuple[str, ...]] = {"oil": ("oil:high",), "grain": ("oil:low", "grain:medium"), "music": ()}
    oil, grain, music = probabilities(probe(encoder, codebook, tmp_path, verified(labels)))
    assert oil["oil:high"] > 0.5 > oil["oil:low"]
    assert min(grain["oil:low"], grain["grain:medium"]) > 0.5 > grain["oil:high"]
    assert max(music.values()) < 0.5, "that no code holds is learned, too"
    for found in (oil, grain, music):
        assert found["oil:medium"] == found["chess:low"] == 0
        assert sum(found[f"oil:{level}"] for level in codebook.levels) <= 1 + 1e-5


def test_the_order_of_the_examples_does_not_matter(encoder: SentenceEncoder, tmp_path: Path) -> None:
    one = probe(encoder, TOPICS, tmp_path / "one", verified())
    other = probe(encoder, TOPICS, tmp_path / "other", verified()[::-1])
    assert probabilities(one) == probabilities(other)


def test_the_holdouts_labels_change_nothing(encoder: SentenceEncoder, tmp_path: Path) -> None:
    held = [VerifiedExample(d.id, d.text, (d.id,), (), True) for d in UNSEEN]
    turned = [replace(e, labels=("chess",)) for e in held]
    without, first, second = (
        probabilities(probe(encoder, TOPICS, tmp_path / str(number), [*more, *verified()]))
        for number, more in enumerate(([], held, turned))
    )
    assert without == first == second


def test_examples_of_an_earlier_codebook_are_left_out(
    encoder: SentenceEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stale = [VerifiedExample(f"a{n}", "A report about wheat.", labels, (), False)
             for n, labels in enumerate([("gone",), ("oil", "music"), ()])]  # fmt: skip
    assert probabilities(probe(encoder, TOPICS, tmp_path / "some", [*stale, *verified()])) == probabilities(
        probe(encoder, TOPICS, tmp_path / "none", verified())
    )
    assert "examples left out: source=probe documents=3" in caplog.text
    with pytest.raises(TrainingError, match="no example of the codebook topics; code documents by it"):
        probe(encoder, TOPICS, tmp_path / "all", stale)


@pytest.mark.parametrize("number", [1, 2])
def test_hardly_any_examples_are_no_error(encoder: SentenceEncoder, tmp_path: Path, number: int) -> None:
    examples = verified()[:: len(verified()) // 2][:number]
    for found in probabilities(probe(encoder, TOPICS, tmp_path, examples)):
        assert max(found, key=lambda label: found[label]) in {label for e in examples for label in e.labels}


def test_newswire_is_learned_from_forty_eight_beginnings(
    encoder: SentenceEncoder, demo_files: DemoFiles, tmp_path: Path
) -> None:
    reuters = load_codebook("reuters8")
    training = documents.sample(demo_files.reuters_train, reuters.label_keys, total=48)
    judged = documents.sample(demo_files.reuters_test, reuters.label_keys, total=24)
    source = probe(
        encoder, reuters, tmp_path, [VerifiedExample(d.id, d.text[:200], (code,), (), False) for d, code in training]
    )
    proposals = source.propose([replace(d, text=d.text[:200]) for d, _ in judged])
    right = sum(p.labels[0].label == code for p, (_, code) in zip(proposals, judged, strict=True))
    assert right >= 16, right


def test_a_thousand_documents_are_fitted_within_seconds(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their embeddings lie in the cache, as they do when the documents were proposed for before."""
    codebook = load_codebook("cap")
    generator = np.random.default_rng(0)
    codes = generator.integers(len(codebook.codes), size=1000)
    around = generator.standard_normal((len(codebook.codes), 384))
    vectors = around[codes] + 2 * generator.standard_normal((1000, 384))
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    cache = EmbeddingCache(tmp_path)
    cache.put(encoder.version, 256, {f"text {n}": Embedding(unit, 5, 0) for n, unit in enumerate(units)})
    monkeypatch.setattr(encoder, "_cache", cache)
    examples = [
        VerifiedExample(f"text {n}", f"text {n}", (codebook.label_keys[code],), (), False)
        for n, code in enumerate(codes)
    ]
    path = publish_snapshot(tmp_path, examples)
    started = time.process_time()
    source = ProbeSource("probe", "v", encoder, codebook, path)
    assert time.process_time() - started < 10
    proposals = source.propose([Document(e.document_id, e.text) for e in examples])
    assert sum(p.labels[0].label == e.labels[0] for p, e in zip(proposals, examples, strict=True)) > 900
