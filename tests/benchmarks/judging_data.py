"""Made ratings for `judging.py`: 21 codes as skewed as the major topics of the Comparative Agendas Project."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from label_configs.codebook import Code, Codebook, Kind
from trainer.evaluation.agreement_panel import Panel, Rater

CODES, CODERS = 21, 3
SHARES = 1 / np.arange(2.0, 2.0 + CODES)  # the most common one has 17 % of the documents, the rarest 1.5 %
MISSING = 0.1  # of the ratings
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Made:
    """True codes of documents and what three coders say: ``truth`` [documents, codes], ``said`` [coders, documents,
    codes], ``coded`` [coders, documents]."""

    truth: Bools
    said: Bools
    coded: Bools

    def panel(self, kind: Kind) -> Panel:
        """As in a study."""
        codes = tuple(
            Code(f"code-{place:02}", f"Code {place}", f"About {place}.", f"word{place}") for place in range(CODES)
        )
        powers = 1 << np.arange(CODES, dtype=np.int64)
        found, places = np.unique(self.said @ powers, return_inverse=True)
        sets = tuple(
            tuple(code.key for place, code in enumerate(codes) if mask >> place & 1) for mask in found.tolist()
        )
        table = np.where(self.coded, places.reshape(self.coded.shape), -1).T.astype(np.int64)
        raters = tuple(Rater(f"Coder {place + 1}") for place in range(CODERS))
        names = tuple(map(str, range(len(table))))
        return Panel(Codebook("made", kind, codes), raters, names, sets, np.ascontiguousarray(table), table[:, :0], 0)


def make(kind: Kind, documents: int, seed: int = 1) -> Made:
    """Coders who are right four times in five, and else say something as common as it is."""
    random = np.random.default_rng(seed)
    shares = SHARES / SHARES.sum()
    said = np.zeros((CODERS, documents, CODES), dtype=np.bool_)
    if kind is Kind.EXCLUSIVE:
        true = random.choice(CODES, documents, p=shares)
        other = random.choice(CODES, (CODERS, documents), p=shares)
        chosen = np.where(random.random((CODERS, documents)) < 0.8, true, other)
        truth = np.eye(CODES, dtype=np.bool_)[true]
        said = np.eye(CODES, dtype=np.bool_)[chosen]
    else:
        truth = random.random((documents, CODES)) < 1.3 * shares
        truth[np.arange(documents), random.choice(CODES, documents, p=shares)] = True
        for coder in said:
            coder[:] = truth & (random.random(truth.shape) < 0.85)
            coder |= random.random(truth.shape) < 0.2 * shares
    return Made(truth, said, random.random((CODERS, documents)) >= MISSING)
