from __future__ import annotations

import pytest

from trainer.evaluation.blocks import Cell, Format, Link
from trainer.evaluation.cells import text_of
from trainer.evaluation.figure import Figure, undefined


@pytest.mark.parametrize(
    ("cell", "how", "text"),
    [
        (Figure(0.852, 212, 0.81, 0.889), Format.PERCENT, "85.2 % [81.0, 88.9]  n = 212"),
        (Figure(0.852, 1212), Format.PERCENT, "85.2 %  n = 1,212"),
        (Figure(0.852, 212, 0.81, 1.0), Format.SHARE, ".852 [.810, 1.000]  n = 212"),
        (Figure(-0.0504, 9, -0.1, 0.0), Format.SHARE, "-.050 [-.100, .000]  n = 9"),
        (undefined("no document has it"), Format.PERCENT, "– (no document has it)"),
        (Figure(float("nan"), 3), Format.SHARE, "–"),
        (-0.00001, Format.SHARE, ".000"),
        (-0.0001, Format.PERCENT, "0.0 %"),
        (12.345, Format.SECONDS, "12.3 s"),
        (1234567, Format.PLAIN, "1,234,567"),
        (12345.6, Format.AMOUNT, "12,346"),
        (0.00123456, Format.AMOUNT, "0.001235"),
        (3.0, Format.AMOUNT, "3"),
        (float("nan"), Format.AMOUNT, "–"),
        (None, Format.PLAIN, "–"),
        (True, Format.PLAIN, "yes"),
        ("text", Format.PERCENT, "text"),
        (Link("task 7", "http://x"), Format.PLAIN, "task 7"),
    ],
)
def test_a_cell_in_words(cell: Cell, how: Format, text: str) -> None:
    assert text_of(cell, how) == text
