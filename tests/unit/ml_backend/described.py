"""Whether what the application answers is what openapi.yaml says."""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from ml_backend.openapi import description


def validator(*path: str) -> Draft202012Validator:
    """A validator for the schema at this place of the description, with its references."""
    schema: Any = description()
    for step in path:
        schema = schema[step]
    return Draft202012Validator({**schema, "components": description()["components"]})


def path_of(url_path: str) -> str:
    """The description's path that an address belongs to."""
    return next(p for p in description()["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", p), url_path))


def conforms(answer: TestResponse) -> None:
    """Fails where the answer's status or body is not described."""
    path, method = path_of(answer.request.path), answer.request.method.lower()
    place: tuple[str, ...] = ("paths", path, method, "responses", str(answer.status_code))
    described: Any = description()
    for step in place:
        assert step in described, f"{method} {path} -> {answer.status_code} is not described"
        described = described[step]
    if "$ref" in described:
        place = tuple(described["$ref"].removeprefix("#/").split("/"))
        described = description()["components"]["responses"][place[-1]]
    content = described.get("content")
    if content is None:
        assert answer.data == b""
    elif "application/json" in content:
        assert answer.content_type == "application/json"
        validator(*place, "content", "application/json", "schema").validate(answer.get_json())
    else:
        assert answer.mimetype in content
    for header in described.get("headers", {}):
        assert header in answer.headers
