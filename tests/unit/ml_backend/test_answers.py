"""Log-probabilities of a server's answer become probabilities of all answers, whatever its tokens are."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.answers import Position, answer_probabilities

END = "<|im_end|>"


def positions(*told: tuple[str, dict[str, float]]) -> list[Position]:
    """Each token as it was written, with the probabilities of what could have stood there."""
    return [
        Position(token.encode(), {text.encode(): math.log(p) if p else -9999.0 for text, p in others.items()})
        for token, others in told
    ]


def probabilities(words: list[str], written: str | None, *told: tuple[str, dict[str, float]]) -> list[float] | None:
    index = words.index(written) if written else None
    found = answer_probabilities([word.encode() for word in words], index, positions(*told))
    return None if found is None else [round(float(p), 9) for p in found]


def test_the_first_token_decides_and_what_continues_no_answer_does_not_count() -> None:
    told = ("ea", {"ea": 0.3, "ac": 0.1, "The": 0.5, "gr": 0.0})
    assert probabilities(["earn", "acq", "grain"], "earn", told) == [0.75, 0.25, 0]


def test_a_branch_within_a_word_is_decided_where_it_lies() -> None:
    first = ("gr", {"gr": 0.8, "sh": 0.2})
    second = ("ain", {"ain": 0.3, "een": 0.1, "ow": 0.6})
    assert probabilities(["grain", "green", "ship"], "grain", first, second) == [0.6, 0.2, 0.2]


@pytest.mark.parametrize("end", [END, "\n", ".", ""])
def test_a_word_that_goes_on_as_another_one_ends_with_what_does_not_go_on(end: str) -> None:
    first = ("ship", {"ship": 0.9, "gr": 0.1})
    second = (end, {end: 0.6, "ping": 0.2, "yard": 0.2})
    assert probabilities(["ship", "shipping", "grain"], "ship", first, second) == [0.675, 0.225, 0.1]


def test_where_no_end_is_told_the_text_decides() -> None:
    first = ("ship", {"ship": 0.9, "gr": 0.1})
    assert probabilities(["ship", "shipping", "grain"], "ship", first) == [0.9, 0, 0.1]


def test_other_spellings_of_the_answered_beginning_go_the_same_way() -> None:
    first = ("gr", {"gr": 0.5, "g": 0.3, "s": 0.2})
    second = ("ain", {"ain": 0.75, "een": 0.25})
    assert probabilities(["grain", "green", "ship"], "grain", first, second) == [0.6, 0.2, 0.2]


def test_a_token_off_the_path_that_could_be_several_answers_is_split() -> None:
    first = ("ship", {"ship": 0.6, "gr": 0.4})
    assert probabilities(["grain", "green", "ship"], "ship", first) == [0.2, 0.2, 0.6]


def test_white_space_before_the_word_decides_nothing() -> None:
    assert probabilities(["earn", "acq"], "earn", (" earn", {" earn": 0.6, "acq": 0.2, " ": 0.2})) == [0.75, 0.25]
    blank = ("\n", {"\n": 0.8, "acq": 0.2})
    assert probabilities(["earn", "acq"], "earn", blank, ("earn", {"earn": 0.5, "acq": 0.5})) == [0.4, 0.6]


def test_an_answer_that_is_none_is_resolved_by_what_else_could_have_stood_there() -> None:
    told = ("The", {"The": 0.7, "earn": 0.2, "acq": 0.1})
    assert probabilities(["earn", "acq"], None, told) == pytest.approx([2 / 3, 1 / 3])


def test_tokens_that_lead_nowhere_settle_nothing() -> None:
    assert probabilities(["earn", "acq"], None, ("The", {"The": 0.7, "A": 0.3})) is None
    assert probabilities(["earn", "acq"], None) is None
    assert probabilities(["grain", "green"], None, ("gr", {"gr": 1.0}), ("ow", {"ow": 1.0})) is None


def test_the_text_counts_where_the_tokens_do_not_spell_it() -> None:
    thought = ("<think>", {"<think>": 0.9, "acq": 0.1})
    assert probabilities(["earn", "acq"], "earn", thought) == [1, 0]
    assert probabilities(["earn", "acq"], "acq") == [0, 1]


def test_a_frame_of_json_decides_nothing_and_its_quotation_mark_ends_a_word() -> None:
    words = ["ship", "shipping", "grain"]
    texts = [f'{{\n "answer": {json.dumps(word)}'.encode() for word in words]
    told = positions(
        ("{", {"{": 0.5, '{"': 0.5}),
        ("\n ", {"\n ": 0.4, "\n": 0.3, " ": 0.3}),
        ('"answer": "', {'"answer": "': 0.9, ' "': 0.1}),
        ("ship", {"ship": 0.75, "gr": 0.25}),
        ('"}', {'"}': 0.5, "ping": 0.25, '"': 0.25}),
    )
    found = answer_probabilities(texts, 0, told)
    assert found is not None
    assert found.tolist() == pytest.approx([0.5625, 0.1875, 0.25])


TOKENS = st.sampled_from(["a", "b", "ab", "ba", "aa", "", " ", "\n", "c", END])
TABLE = st.dictionaries(TOKENS, st.floats(0.001, 1), min_size=1, max_size=6)


@given(
    words=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5, unique=True),
    tables=st.lists(TABLE, max_size=6),
    data=st.data(),
)
def test_probabilities_add_up_to_one_whatever_a_server_says(
    words: list[str], tables: list[dict[str, float]], data: st.DataObject
) -> None:
    told = [(data.draw(st.sampled_from(sorted(table))), table) for table in tables]
    written = data.draw(st.sampled_from([None, *words]))
    found = probabilities(words, written, *told)
    if found is None:
        assert written is None, "a text that is an answer is always understood"
    else:
        assert sum(found) == pytest.approx(1)
        assert min(found) >= 0


@given(st.lists(st.sampled_from(["aa", "ab", "ba", "bb", "b"]), min_size=2, max_size=5, unique=True), st.data())
def test_single_characters_give_the_product_along_the_path(words: list[str], data: st.DataObject) -> None:
    """With one character per token nothing is split unequally: the written answer's probability is exact."""
    chance = {prefix: data.draw(st.floats(0.01, 0.99), label=f"a after {prefix!r}") for prefix in ("", "a", "b")}
    written = data.draw(st.sampled_from(words))
    told, exact = [], 1.0
    for n in range(len(written) + 1):
        prefix = written[:n]
        following = {word[n : n + 1] or END for word in words if word.startswith(prefix)}
        a = chance.get(prefix, 0.5)
        table = {"a": a, "b": 1 - a, END: 0.3}
        token = written[n : n + 1] or END
        told.append((token, table))
        exact *= table[token] / sum(table[t] for t in following)
    found = probabilities(words, written, *told)
    assert found is not None
    assert found[words.index(written)] == pytest.approx(exact, abs=1e-8)
