from __future__ import annotations

import pytest

from label_configs.records import Proposal
from ml_backend.source_config import Price
from trainer.evaluation.costs import Costs, costs_of, price_of


def proposal(**fields: float | None) -> Proposal:
    return Proposal("d", "s", "v", (), **fields)  # type: ignore[arg-type]


def test_a_price_by_hand() -> None:
    price = Price(input=2.0, output=8.0, device_hour=1.8)
    # 1500 tokens at 2 and 250 at 8 a million, 6 seconds at 1.8 an hour.
    assert price_of(proposal(tokens=1500, output_tokens=250, seconds=6.0), price) == pytest.approx(
        0.003 + 0.002 + 0.003
    )


def test_what_a_proposal_says_itself_goes_before_the_price_list() -> None:
    assert price_of(proposal(tokens=1500, price=0.5), Price(input=2.0)) == 0.5
    assert price_of(proposal(tokens=1500, price=0.0), Price(input=2.0)) == 0.0, "free is a price"


def test_unknown_is_not_free() -> None:
    assert price_of(proposal(tokens=1500, seconds=3.0), None) is None
    assert costs_of([proposal(tokens=10), proposal(tokens=20)], None).price is None


def test_a_mean_price_is_over_those_that_have_one() -> None:
    assert costs_of([proposal(price=0.002), proposal(), proposal(price=0.004)], None).price == pytest.approx(3.0)


def test_per_thousand_documents() -> None:
    made = [proposal(tokens=100, output_tokens=2, seconds=0.25), proposal(tokens=200, seconds=0.75, truncated=40)]
    assert costs_of(made, None) == Costs(2, 150_000, 1000, 500, None, 0.5)


def test_without_documents_nothing_is_known() -> None:
    assert costs_of([], Price(input=1.0)) == Costs(0, None, None, None, None, None)
