"""What the adapter is compared with, and what tells silver documents: classifiers that are fitted in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from reuters import Reuters
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from label_configs.codebook import Codebook
from label_configs.records import Document, Proposal, VerifiedExample
from ml_backend.regressions import Answerable, Regressions
from ml_backend.sources.base import ranked
from ml_backend.training_config import Silver
from trainer.bar_models import tfidf as tfidf_bar
from trainer.silver import silver_examples

Floats = npt.NDArray[np.float64]
Source = Callable[[Reuters, Codebook, Sequence[VerifiedExample], Sequence[VerifiedExample]], Floats]
"""Corpus, codebook, verified documents, documents to code -> probabilities ``[documents, codes]``."""


def tfidf(
    corpus: Reuters, codebook: Codebook, verified: Sequence[VerifiedExample], asked: Sequence[VerifiedExample]
) -> Floats:
    """TF-IDF and logistic regression with scikit-learn's defaults."""
    words = TfidfVectorizer()
    fitted = LogisticRegression(max_iter=1000).fit(words.fit_transform([e.text for e in verified]), _codes(verified))
    return _by_code(codebook, fitted, words.transform([e.text for e in asked]))


def minilm(
    corpus: Reuters, codebook: Codebook, verified: Sequence[VerifiedExample], asked: Sequence[VerifiedExample]
) -> Floats:
    """MiniLM's vectors and logistic regression; unit vectors want a weaker penalty than scikit-learn's default of 1."""
    fitted = LogisticRegression(C=10, max_iter=1000).fit(corpus.vectors(verified), _codes(verified))
    return _by_code(codebook, fitted, corpus.vectors(asked))


def bar(
    corpus: Reuters, codebook: Codebook, verified: Sequence[VerifiedExample], asked: Sequence[VerifiedExample]
) -> Floats:
    """TF-IDF as the gate has it: penalty and weights of codes chosen by cross-validation."""
    return tfidf_bar(verified, [e.text for e in asked], codebook)


def probe(
    corpus: Reuters, codebook: Codebook, verified: Sequence[VerifiedExample], asked: Sequence[VerifiedExample]
) -> Floats:
    """Winnow's probe on MiniLM's vectors, its penalty and weights of codes chosen by cross-validation."""
    ordered = sorted(verified, key=lambda e: (e.document_id, e.text))  # as Answerable has them
    fitted = Regressions(corpus.vectors(ordered), Answerable.of(ordered, codebook).right, codebook)
    return fitted.probabilities(corpus.vectors(asked))


SOURCES: dict[str, Source] = {"tfidf": tfidf, "minilm": minilm, "tfidf_bar": bar, "probe": probe}


def silver(
    corpus: Reuters, codebook: Codebook, verified: Sequence[VerifiedExample], settings: Silver
) -> list[VerifiedExample]:
    """Silver documents as a round has them, by what the probe and TF-IDF, fitted on ``verified``, say of all others."""
    rest = corpus.rest(verified)
    proposals: dict[str, list[Proposal]] = {example.document_id: [] for example in rest}
    for name in ("probe", "tfidf_bar"):
        rows = SOURCES[name](corpus, codebook, verified, rest)
        for example, row in zip(rest, rows.tolist(), strict=True):
            proposals[example.document_id].append(Proposal(example.document_id, name, name, ranked(codebook, row)))
    documents = [Document(example.document_id, example.text) for example in rest]
    return silver_examples(documents, proposals, codebook, settings, verified)


def _codes(examples: Sequence[VerifiedExample]) -> list[str]:
    return [example.labels[0] for example in examples]


def _by_code(codebook: Codebook, fitted: LogisticRegression, features: object) -> Floats:
    """Probabilities in the codebook's order; a code that no verified document has gets 0."""
    found = fitted.predict_proba(features)
    rows = np.zeros((len(found), len(codebook.label_keys)))
    rows[:, [codebook.label_keys.index(code) for code in fitted.classes_]] = found
    return rows
