"""Who leads: the better one on the holdout, until coders' decisions make up for its lead."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import TrainingError
from ml_backend.leading import (
    ENOUGH,
    Judged,
    Standing,
    identity_of,
    leader,
    leader_of,
    rates,
    save_standing,
    standing_in_force,
)
from ml_backend.mixing import EQUAL, Evidence, MixingWeights
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.versions import ActiveSource

BOOK = Codebook("two", Kind.EXCLUSIVE, (Code("s", "Ships", "d", "ship"), Code("g", "Corn", "d", "corn")))
AT = datetime(2026, 5, 1, tzinfo=UTC)
PROBE = ActiveSource(SourceConfig("probe", SourceKind.PROBE, "org/mini"), "mini/probe-abc@base")
CHAT = ActiveSource(SourceConfig("chat", SourceKind.CAUSAL, "org/big"), "org/big/zero_shot@base")
ADAPTER = ActiveSource(SourceConfig("adapter", SourceKind.ADAPTER, "org/small"), "org/small/definitions@0a1b", "0a1b")
ALL = (CHAT, PROBE, ADAPTER)


def standing(adapter: float = 0.80, probe: float = 0.86, **changes: object) -> Standing:
    judged = (Judged("adapter", "0a1b", adapter), Judged("probe", identity_of(PROBE.config), probe))
    made = Standing("r1", "macro_f1", 100, AT, BOOK.fingerprint, judged)
    return replace(made, **changes)  # type: ignore[arg-type]


def counted(since: str = "r1", **firsts: tuple[float, float]) -> MixingWeights:
    return MixingWeights({}, (), {name: Evidence(*found) for name, found in firsts.items()}, since)


def leads(found: Standing, weights: MixingWeights = EQUAL, sources: tuple[ActiveSource, ...] = ALL) -> str:
    return leader_of(rates(found, sources, weights), sources)


def test_the_better_one_on_the_holdout_leads() -> None:
    assert leads(standing()) == "probe"
    assert leads(standing(adapter=0.9)) == "adapter"
    assert leads(standing(adapter=0.86)) == "adapter", "an equal rate goes to the adapter"


def test_its_lead_in_documents_is_what_decisions_have_to_make_up_for() -> None:
    # 0.06 of 100 documents: with 50 decisions on each, six more kept of the adapter are level, which is the adapter's.
    assert leads(standing(), counted(adapter=(45, 50), probe=(40, 50))) == "probe"
    assert leads(standing(), counted(adapter=(46, 50), probe=(40, 50))) == "adapter"
    chat, probe, adapter = rates(standing(), ALL, counted(adapter=(46, 50), probe=(40, 50)))
    assert (chat.value, chat.rate) == (None, None)
    assert adapter.rate == pytest.approx((80 + 46) / 150) == probe.rate


def test_decisions_of_before_the_round_say_nothing() -> None:
    assert leads(standing(), counted("r0", adapter=(50, 50), probe=(0, 50))) == "probe"


def test_a_source_that_was_not_judged_takes_part_when_coders_judged_it() -> None:
    assert leads(standing(), counted(chat=(ENOUGH - 1, ENOUGH - 1))) == "probe"
    assert leads(standing(), counted(chat=(ENOUGH, ENOUGH))) == "chat"


def test_another_make_was_not_judged() -> None:
    other = replace(ADAPTER, adapter_id="ffff")
    assert leads(standing(), sources=(CHAT, PROBE, other)) == "", "there is nothing to compare with"
    larger = replace(PROBE, config=replace(PROBE.config, model="org/maxi"))
    assert leads(standing(), sources=(larger, ADAPTER)) == ""
    tempered = replace(PROBE, config=replace(PROBE.config, temperature=2.0), version="mini/probe-t2-def@base")
    assert leads(standing(), sources=(tempered, ADAPTER)) == "probe", "what it chooses is the same"


def test_it_is_kept_in_the_project_and_ends_with_the_codebook(tmp_path: Path) -> None:
    assert standing_in_force(tmp_path, BOOK) is None
    assert leader(tmp_path, BOOK, ALL, EQUAL) == ""
    save_standing(tmp_path, standing())
    assert standing_in_force(tmp_path, BOOK) == standing()
    assert leader(tmp_path, BOOK, ALL, EQUAL) == "probe"
    assert leader(tmp_path, replace(BOOK, instruction="Why?"), ALL, EQUAL) == ""


@pytest.mark.parametrize("text", ["{", "[]", '{"round": "r"}', '{"sources": 3}'])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "standing.json").write_text(text)
    with pytest.raises(TrainingError, match=r"standing.json: damaged; delete it, the next round writes it anew"):
        standing_in_force(tmp_path, BOOK)
