"""What sources say, as a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from label_configs.codebook import Codebook
from label_configs.records import Proposal

Floats = npt.NDArray[np.float64]


def probabilities_of(proposals: Sequence[Proposal], codebook: Codebook) -> Floats:
    """``[proposals, labels]`` in the codebook's order; a label that a proposal does not list has probability 0.

    Raises CodebookError for a label that the codebook has not.
    """
    column = {key: index for index, key in enumerate(codebook.label_keys)}
    rows = np.zeros((len(proposals), len(column)))
    for row, proposal in enumerate(proposals):
        for scored in proposal.labels:
            rows[row, column[codebook.label(scored.label).key]] = scored.probability
    return rows
