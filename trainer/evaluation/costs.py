"""What a source's proposals cost for 1,000 documents: tokens, seconds of the device, money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from label_configs.records import Proposal
from ml_backend.source_config import Price

PER = 1000  # documents


@dataclass(frozen=True, slots=True)
class Costs:
    """The mean over ``documents`` that a source proposed for, times 1,000; None where there is no such document.

    ``tokens`` are those computed, at an API those of its prompts; ``output_tokens`` those that an API wrote;
    ``seconds`` the device's, or the API's. ``price`` is in the currency of the source's ``price``, over the documents
    that have one, None where none has: nothing is known of it, which is not 0. ``truncated`` is the share of documents
    that were too long, and lost their middle.
    """

    documents: int
    tokens: float | None
    output_tokens: float | None
    seconds: float | None
    price: float | None
    truncated: float | None


def costs_of(proposals: Sequence[Proposal], price: Price | None) -> Costs:
    """The costs of one source's proposals, one for each document; ``price`` is for those that carry none."""
    priced = [cost for proposal in proposals if (cost := price_of(proposal, price)) is not None]
    return Costs(
        len(proposals),
        _per_thousand([proposal.tokens for proposal in proposals]),
        _per_thousand([proposal.output_tokens for proposal in proposals]),
        _per_thousand([proposal.seconds for proposal in proposals]),
        _per_thousand(priced),
        sum(proposal.truncated > 0 for proposal in proposals) / len(proposals) if proposals else None,
    )


def price_of(proposal: Proposal, price: Price | None) -> float | None:
    """What a proposal cost: what it says itself, else tokens and seconds by ``price``; None without either."""
    if proposal.price is not None or price is None:
        return proposal.price
    words = (proposal.tokens * price.input + proposal.output_tokens * price.output) / 1_000_000
    return words + proposal.seconds * price.device_hour / 3600


def _per_thousand(values: Sequence[float]) -> float | None:
    return PER * sum(values) / len(values) if values else None
