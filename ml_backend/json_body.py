"""A request's JSON, taken only as far as it is of a size and shape that the route can want."""

from __future__ import annotations

from typing import Any

from flask import Request
from werkzeug.exceptions import BadRequest

MIB = 1024 * 1024
MAX_BODY = 64 * MIB  # bytes; 2,000 whole tasks were seen in 4 MB
SMALLER = {"/setup": 4 * MIB, "/webhook": 16 * MIB}  # a label config; an annotation with its task
MAX_DEPTH = 100  # lists and objects in each other; an annotation has 8
TOO_DEEP = f"the JSON is nested too deeply: more than {MAX_DEPTH} lists or objects in each other"


def limit_body(request: Request) -> None:
    """Have the request's body refused with 413, unread, where it is larger than its route can want."""
    allowed = request.max_content_length or MAX_BODY
    request.max_content_length = min(allowed, SMALLER.get(request.path, MAX_BODY))


def json_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises BadRequest, RequestEntityTooLarge or UnsupportedMediaType."""
    try:
        body = request.get_json()
    except RecursionError:
        raise BadRequest(TOO_DEEP) from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if is_deeper(body, MAX_DEPTH):
        raise BadRequest(TOO_DEEP)
    return body


def is_deeper(value: object, most: int) -> bool:
    """Whether more than ``most`` lists and objects are in each other."""
    level = [value]
    for _ in range(most):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return False
    return True


def _parts(value: object) -> list[object]:
    """The lists and objects right inside of it."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [one for one in inside if isinstance(one, dict | list)]
