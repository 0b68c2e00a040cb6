"""Which documents coders get first: the score of the review prediction, the lowest of which is served first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from label_configs.codebook import Codebook, Kind
from label_configs.drawing import draw, is_holdout
from label_configs.records import Proposal
from ml_backend.experiment import Order, Review
from ml_backend.mixing import EQUAL, MixingWeights, mixed
from ml_backend.probabilities import Floats, probabilities_of
from ml_backend.training_config import Training

_DIGITS = 9
TIES = 1e-4  # of a score is a draw, so that documents that sources are equally sure of do not come in the file's order


def is_random(document_id: str, review: Review, training: Training | None = None) -> bool:
    """Whether a document's place is random: all with the order random, else those of ``random_share``, drawn by id.

    With ``training``, the holdout's places are random too: sources are judged on what is coded of it so far, which must
    not be the documents that they found hardest.

    Estimates from these documents alone stay unbiased whatever order the others come in. Who belongs to them and which
    place each has are two independent draws by the document's id: neither depends on what sources say of it. Coders get
    them in the order of their draws, with others in between. So those of them that are coded are at every moment, but
    for the few that lie open on somebody's desk, those with the lowest draws: a simple random sample of the share,
    which itself is one of the project. Of all that is coded this does not hold: there documents that sources are unsure
    of, or disagree about, are too many.

    The others' scores are not uniform: where sources are sure of nearly everything, they are nearly all close to 1, and
    uniform places would stand before them. So a draw is mapped to the score that stands as high among the others'
    scores (``places.Places``): the random documents' share is to be expected the same of any first documents. The map
    is one for all documents, and keeps the order of their draws. It is rough for the first documents that are proposed
    for, of which nothing is known yet: that is why these are drawn, too (``prelabel.enqueue_prelabel``).
    """
    if review.order is Order.RANDOM or draw(document_id, "winnow-random-share") < review.random_share:
        return True
    return training is not None and is_holdout(document_id, training.holdout_share)


def drawn_place(document_id: str) -> float:
    """Uniform in [0, 1), by the id alone."""
    return draw(document_id, "winnow-order")


def score(
    document_id: str, proposals: Sequence[Proposal], order: Order, codebook: Codebook, weights: MixingWeights = EQUAL
) -> float | None:
    """A document's place in [0, 1] by what sources say of it, the lowest first; None where they cannot tell.

    They cannot in the order random, and of a disagreement where there is a single source. Raises CodebookError for a
    label that the codebook has not.
    """
    if order is Order.UNCERTAINTY:
        doubt = uncertainty(proposals, codebook, weights)
    elif order is Order.DISAGREEMENT and len(proposals) > 1:
        doubt = disagreement(proposals, codebook, weights)
    else:
        return None
    return rounded((1 - TIES) * (1 - doubt) + TIES * drawn_place(document_id))


def rounded(place: float) -> float:
    """A place with as many digits as are the same on every machine."""
    return round(place, _DIGITS)


def uncertainty(proposals: Sequence[Proposal], codebook: Codebook, weights: MixingWeights = EQUAL) -> float:
    """Entropy of the mixed probabilities in [0, 1], 1 where nothing is known (Shannon 1948).

    Exclusive: of the distribution over the codes, divided by the log of their number. Otherwise the mean over the
    labels of the entropy, in bits, of whether the label holds.
    """
    answers = _answers(mixed(proposals, codebook, weights)[None], codebook)
    return _share(float((_entropy(answers)[0] / np.log(answers.shape[2])).mean()))


def disagreement(proposals: Sequence[Proposal], codebook: Codebook, weights: MixingWeights = EQUAL) -> float:
    """Generalised Jensen-Shannon divergence between the sources in [0, 1] (Lin, IEEE Trans. Inf. Theory 1991).

        JSD = H(sum over sources of pi_s P_s) - sum over sources of pi_s H(P_s)

    pi_s is the source's weight (``MixingWeights.source_weight``), the weights adding up to 1. JSD is divided by what it
    can at most be: H(pi), or the log of the number of answers where that is less. Exclusive: of the distributions over
    the codes. Otherwise the mean over the labels of that of whether the label holds. 0 for a single source.
    """
    if len(proposals) < 2:
        return 0.0
    by = np.array([weights.source_weight(proposal.source, proposal.version) for proposal in proposals])
    by /= by.sum()
    answers = _answers(probabilities_of(proposals, codebook), codebook)
    pooled: Floats = np.tensordot(by, answers, axes=1)
    divergence = _entropy(pooled) - by @ _entropy(answers)
    most = min(float(_entropy(by)), float(np.log(answers.shape[2])))
    return _share(float(divergence.mean()) / most)


def _answers(probabilities: Floats, codebook: Codebook) -> Floats:
    """``[rows, labels]`` as distributions ``[rows, questions, answers]``: which code, or whether each label holds."""
    if codebook.kind is not Kind.EXCLUSIVE:
        held = np.clip(probabilities, 0.0, 1.0)
        return np.stack([held, 1 - held], axis=2)
    sums = probabilities.sum(axis=1, keepdims=True)
    equal = np.full_like(probabilities, 1 / probabilities.shape[1])
    found: Floats = np.divide(probabilities, sums, out=equal, where=sums > 0)
    return found[:, None]


def _entropy(answers: Floats) -> Floats:
    """In nats, over the last axis; 0 log 0 is 0."""
    logs = np.log(answers, out=np.zeros_like(answers), where=answers > 0)
    found: Floats = -(answers * logs).sum(axis=-1)
    return found


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
