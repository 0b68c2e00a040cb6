"""A small codebook, and tasks of Label Studio that are coded in it already."""

from __future__ import annotations

import random
from collections.abc import Iterable

from label_studio_sdk import LabelStudio

from label_configs.codebook import Code, Codebook, Kind
from label_configs.forms import ReviewForm
from label_configs.records import CandidateSet
from label_configs.wire import JsonObject, coder_result

CODEBOOK = Codebook(
    "things", Kind.EXCLUSIVE, (Code("s", "Ships", "About ships.", "ship"), Code("g", "Corn", "About corn.", "corn"))
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def coded_task(number: int) -> JsonObject:
    """A coded task; no two texts are alike."""
    rng = random.Random(number)
    words = ["".join(rng.choices(LETTERS, k=6)) for _ in range(4)]
    result = coder_result(
        CODEBOOK, CandidateSet(f"d{number}", "v", ()), ReviewForm.WHOLE, rejected=[], missed=["sg"[number % 2]]
    )
    data = {"document_id": f"d{number}", "text": " ".join(words)}
    return {"data": data, "annotations": [{"result": result, "was_cancelled": False}]}


def code(sdk: LabelStudio, project_id: int, numbers: Iterable[int]) -> None:
    """Have these documents coded in the project."""
    sdk.projects.import_tasks(id=project_id, request=[coded_task(n) for n in numbers])
