"""What a task's data says of its document beside the text: the columns that the team imported with it."""

from __future__ import annotations

from label_configs.forms import CANDIDATES_KEY
from label_configs.wire.writing import JsonObject

OWN_KEYS = ("document_id", CANDIDATES_KEY, "repeat")
"""Keys of the task's data that are Winnow's, whatever the form."""


def metadata(task: JsonObject, *, text_key: str = "text") -> dict[str, str]:
    """Every other value of a task's data that is a text, a number or true or false, as text; by its key.

    Empty values are left out, and so are lists and objects. Whole numbers have no decimals, as ``2020`` for 2020.0.
    """
    data = task.get("data")
    if not isinstance(data, dict):
        return {}
    found = {_whole(key): _text(value) for key, value in data.items() if key != text_key and key not in OWN_KEYS}
    return {key: text for key, text in found.items() if text}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    return _whole(value).strip() if isinstance(value, str | int) else ""


def _whole(value: object) -> str:
    """JSON can hold half of a surrogate pair, which is no character."""
    return str(value).encode(errors="replace").decode()
