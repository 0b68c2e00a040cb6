"""Documents to measure with: European Parliament questions where they lie beside the checkout, else synthetic ones."""

from __future__ import annotations

import csv
import random
from pathlib import Path

REAL = Path(__file__).parents[3] / "shared" / "data" / "ep_questions.csv"

SUBJECTS = (
    "fishing quotas in the Baltic", "the safety of toys", "regional airports", "milk prices", "rail freight",
    "pesticide residues", "asylum procedures", "bank supervision", "the protection of wetlands", "school exchanges",
    "offshore wind farms", "organ donation", "film archives", "customs duties", "broadband in rural areas",
)  # fmt: skip
CLAUSES = (
    "According to reports in the press, the Member State concerned has not yet applied the directive on {}.",
    "Several associations have drawn attention to the consequences of the present rules for {}.",
    "In its answer of last year the Commission announced a study of {}, which has not been published since.",
    "What measures does the Commission intend to take with regard to {}, and by when?",
    "Can the Commission say how much was spent from the budget on {} in each of the last {} years?",
    "Does the Commission agree that {} should be treated in the same way in all Member States?",
)


def synthetic(number: int, seed: int = 0) -> list[str]:
    """Questions of the length and tone of parliamentary ones, the same for the same seed."""
    draw = random.Random(seed)
    texts = []
    for _ in range(number):
        subjects = draw.sample(SUBJECTS, 2)
        sentences = [
            draw.choice(CLAUSES).replace("{}", draw.choice(subjects), 1).replace("{}", str(draw.randint(2, 9)))
            for _ in range(draw.randint(6, 14))
        ]
        texts.append(" ".join(sentences))
    return texts


def questions(number: int) -> tuple[list[str], str]:
    """``number`` texts, and where they come from."""
    if REAL.exists():
        with REAL.open(encoding="utf-8", newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file) if row["text"].strip()]
        return texts[:number], "European Parliament questions"
    return synthetic(number), "synthetic questions"
