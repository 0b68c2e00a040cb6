"""The bars at work: fitted on the round's training documents, asked about its holdout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sklearn.feature_extraction.text import TfidfVectorizer

from label_configs.codebook import Codebook
from label_configs.errors import ModelError, TrainingError, reason
from label_configs.records import Document, VerifiedExample
from ml_backend.devices import DeviceFacts
from ml_backend.embeddings import cache_of
from ml_backend.probabilities import Floats, probabilities_of
from ml_backend.regressions import Answerable, Regressions
from ml_backend.sentence_encoder import SentenceEncoder
from ml_backend.snapshot import write_examples
from ml_backend.source_config import SourceKind
from ml_backend.sources.base import Source
from ml_backend.sources.probe import ProbeSource
from ml_backend.sources.similarity import SimilaritySource
from trainer.bars import TFIDF, TFIDF_NAME, Bar

log = logging.getLogger(__name__)


def ask_bars(
    bars: Sequence[Bar],
    examples: Sequence[VerifiedExample],
    codebook: Codebook,
    facts: DeviceFacts,
    note: Callable[[str], None],
) -> dict[str, list[list[float]]]:
    """Probabilities ``[documents, labels]`` of the examples' holdout, in its order, by the bars' keys.

    Fitted on the other examples, silver ones left out. A bar that cannot be had is left out, and ``note`` hears why: a
    training that took hours is not lost for it.
    """
    training = [example for example in examples if not example.holdout and not example.silver]
    texts = [example.text for example in examples if example.holdout]
    asked: dict[str, list[list[float]]] = {}
    try:
        asked[TFIDF] = tfidf(training, texts, codebook).tolist()
    except TrainingError as error:
        note(f"{TFIDF_NAME} is left out of the comparison: {error}")
    for bar in bars:
        try:
            asked[bar.key] = _proposed(bar, training, texts, codebook, facts).tolist()
        except (ModelError, TrainingError) as error:
            note(f"{bar.name} is left out of the comparison: {error}")
    return asked


def tfidf(training: Sequence[VerifiedExample], texts: Sequence[str], codebook: Codebook) -> Floats:
    """Probabilities ``[texts, labels]`` of logistic regressions on the words and pairs of words of ``training``.

    Term frequencies are 1 + log, weighed by the inverse document frequency (Salton and Buckley, Term-Weighting
    Approaches in Automatic Text Retrieval, 1988); the regressions' penalty and whether rare codes weigh more are chosen
    by cross-validation (``ml_backend.regressions``). Raises TrainingError where the training documents hold no words of
    the codebook's examples.
    """
    found = Answerable.of(training, codebook)
    if not found.texts:
        raise TrainingError(f"no training document is of the codebook {codebook.name}; code documents by it")
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    try:
        features = words.fit_transform(found.texts)
    except ValueError as error:  # no text holds a word of two letters or more
        raise TrainingError(f"no words in the training documents ({reason(error)}); check their texts") from None
    made = Regressions(features, found.right, codebook)
    log.info("%s: fitted on %s documents, %s features (%s)", TFIDF_NAME, *features.shape, made.fit)
    return made.probabilities(words.transform(texts)) if texts else probabilities_of([], codebook)


def _proposed(
    bar: Bar, training: Sequence[VerifiedExample], texts: Sequence[str], codebook: Codebook, facts: DeviceFacts
) -> Floats:
    encoder = SentenceEncoder(bar.model, facts, cache_of(Path(bar.cache)) if bar.cache else None)
    source: Source
    if bar.kind is SourceKind.SIMILARITY:
        source = SimilaritySource(bar.name, "", encoder, codebook, bar.max_document_tokens)
    else:
        with TemporaryDirectory() as folder:
            snapshot = Path(folder) / "training.parquet"
            write_examples(snapshot, training)
            source = ProbeSource(bar.name, "", encoder, codebook, snapshot, bar.max_document_tokens)
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    return probabilities_of(source.propose(documents), codebook)
