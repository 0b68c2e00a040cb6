"""Classification for other programs: ``POST /classify``, and the job that it may leave to ask for.

| route | answers |
|---|---|
| POST /classify | 200 and the results when they are ready before ``wait`` is over, else 202 and a job |
| GET /classify/<job> | 200: how far the job is, with the results when it is done |
| DELETE /classify/<job> | 204, having removed the job with its documents and results |
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, current_app, jsonify, request, url_for
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from redis import Redis
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType

from label_configs.codebook import Codebook, load_codebook, read_codebook, shipped_codebooks
from label_configs.errors import AdapterError, ConfigError
from label_configs.records import Document, Proposal, chosen_labels
from label_configs.strictyaml import nearest
from ml_backend import proposal_cache
from ml_backend.classify_batch import Batch, Standing
from ml_backend.classify_queue import ClassifyQueue, State
from ml_backend.classifying import ClassifySpec, resolve
from ml_backend.experiment import Priority, Project
from ml_backend.heartbeat import live_workers
from ml_backend.registered_projects import is_registered, load_project
from ml_backend.settings import Settings

CLASSIFY = Blueprint("classify", __name__, url_prefix="/classify")

MAX_DOCUMENTS = 1000
MAX_WAIT = 60.0  # seconds
WAITING = threading.BoundedSemaphore(4)  # calls that wait at once in a process, so that others find a free thread
RETRY_SECONDS = 5
TOLD = 5  # problems of a request in one message


@dataclass(frozen=True)
class _DocumentBody:
    id: Annotated[str, Field(min_length=1, max_length=500)]
    text: str


@dataclass(frozen=True)
class _ClassifyBody:
    documents: Annotated[tuple[_DocumentBody, ...], Field(min_length=1, max_length=MAX_DOCUMENTS)]
    project: int | None = None
    codebook: Any = None
    sources: tuple[str, ...] = ()
    wait: Annotated[float, Field(ge=0, le=MAX_WAIT)] = 30.0


_BODY = TypeAdapter(_ClassifyBody)
_WAIT: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(ge=0, le=MAX_WAIT)])


def _parts() -> tuple[Settings, Redis, ClassifyQueue]:
    settings, redis = current_app.extensions["winnow"]
    return settings, redis, current_app.extensions["winnow-classify"]


@CLASSIFY.post("")
def classify() -> Response:
    """Proposals for the documents in the body; what was proposed before is not computed again."""
    settings, redis, line = _parts()
    body = _body()
    project = _project(settings, body)
    spec = _spec(settings, body, project)
    documents = [Document(d.id, d.text) for d in body.documents]
    kept = proposal_cache.get_proposals(redis, spec.codebook.fingerprint, documents, spec.names)
    if all(len(row) == len(spec.sources) for row in kept):
        return jsonify(_results(spec, [[row[name] for name, _ in spec.names] for row in kept]))
    priority = project.experiment.priority if project else Priority.NORMAL
    batch = Batch.send(line, spec, documents, chunk=settings.chunk_documents, at_front=body.wait > 0, priority=priority)
    standing = _waited(batch, body.wait)
    if standing.state not in (State.DONE, State.FAILED):
        answer = jsonify(_status(batch, standing))
        answer.status_code = 202
        answer.headers["Location"] = _url(batch)
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer
    batch.delete(line)
    if standing.failure is not None:
        raise standing.failure.error()
    return jsonify(_results(spec, standing.proposals))


@CLASSIFY.get("/<job>")
def status(job: str) -> Response:
    """How far a job is; ``?wait=`` seconds for it to end."""
    try:
        wait = _WAIT.validate_python(request.args.get("wait", 0.0))
    except ValidationError as error:
        raise BadRequest(f"wait: {error.errors()[0]['msg']}; give seconds from 0 to {MAX_WAIT:.0f}") from None
    batch = _batch(job)
    return jsonify(_status(batch, _waited(batch, wait)))


@CLASSIFY.delete("/<job>")
def delete(job: str) -> Response:
    """Removes a job with its documents and results."""
    _, _, line = _parts()
    _batch(job).delete(line)
    return Response(status=204)


def _waited(batch: Batch, seconds: float) -> Standing:
    """How the batch stands after the wait: none where no worker would come, or too many wait already."""
    _, redis, line = _parts()
    if seconds > 0 and live_workers(redis) and WAITING.acquire(blocking=False):
        try:
            batch.wait(line, seconds)
        finally:
            WAITING.release()
    standing = batch.standing(line)
    if standing is None:
        raise _unknown(batch.id)
    return standing


def _batch(job: str) -> Batch:
    batch = Batch.find(_parts()[2], job)
    if batch is None:
        raise _unknown(job)
    return batch


def _unknown(job: str) -> NotFound:
    return NotFound(f"job {job[:40]!r}: unknown, deleted or expired; send the documents again")


def _url(batch: Batch) -> str:
    return url_for("classify.status", job=batch.id)


def _status(batch: Batch, standing: Standing) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "job": batch.id,
        "status_url": _url(batch),
        "state": standing.state.value,
        "documents": sum(batch.sizes),
        "done": standing.done,
        "workers": len(live_workers(_parts()[1])),
    }
    if standing.failure is not None:
        answer["error"] = {"code": standing.failure.code, "message": standing.failure.reason}
    return answer | (_results(batch.spec, standing.proposals) if standing.state is State.DONE else {})


def _results(spec: ClassifySpec, proposals: Sequence[list[Proposal]]) -> dict[str, Any]:
    return {
        "results": [_result(spec, proposal) for of_document in proposals for proposal in of_document],
        "manifest": {
            "codebook": {"name": spec.codebook.name, "fingerprint": spec.codebook.fingerprint},
            "sources": [{"name": name, "version": version} for name, version in spec.names],
            "digest": spec.digest,
        },
    }


def _result(spec: ClassifySpec, proposal: Proposal) -> dict[str, Any]:
    return {
        "id": proposal.document_id,
        "source": proposal.source,
        "version": proposal.version,
        "codes": [{"code": scored.label, "probability": scored.probability} for scored in proposal.labels],
        "chosen": list(chosen_labels(proposal, kind=spec.codebook.kind)),
        "tokens": proposal.tokens,
        "truncated": proposal.truncated,
    }


def _body() -> _ClassifyBody:
    if not request.is_json:
        raise UnsupportedMediaType("send JSON, with the header Content-Type: application/json")
    try:
        body = _BODY.validate_json(request.get_data(), strict=True, extra="forbid")
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        if any(problem["type"] == "too_long" and problem["loc"] == ("documents",) for problem in problems):
            raise RequestEntityTooLarge(f"documents: more than {MAX_DOCUMENTS}; send them in several calls") from None
        raise BadRequest(_told([_sentence(problem) for problem in problems])) from None
    times = Counter(document.id for document in body.documents)
    told = [f"documents[{i}].text: is empty" for i, d in enumerate(body.documents) if not d.text.strip()]
    told += [
        f"documents[{i}].id: occurs {times[d.id]} times, give each document its own"
        for i, d in enumerate(body.documents)
        if times[d.id] > 1
    ]
    if told:
        raise BadRequest(_told(told))
    return body


def _told(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - TOLD} more" if len(problems) > TOLD else ""
    return "; ".join(problems[:TOLD]) + more


def _sentence(problem: ErrorDetails) -> str:
    """One of pydantic's errors as ``documents[3].text: what is wrong``."""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem["loc"]).lstrip(".")
    if problem["type"] == "json_invalid":
        return f"the body is not JSON ({problem['ctx']['error']})"
    if problem["type"] == "unexpected_keyword_argument":
        known = ("id", "text") if place.startswith("documents[") else _ClassifyBody.__dataclass_fields__
        return f"{place[:80]}: unknown key, remove or rename it {nearest(str(problem['loc'][-1])[:80], known)}"
    if problem["type"] in ("dataclass_type", "dataclass_exact_type"):
        return f"{place or 'the body'}: must be a JSON object"
    return f"{place[:80]}: {'is missing' if 'missing' in problem['type'] else problem['msg']}"


def _project(settings: Settings, body: _ClassifyBody) -> Project | None:
    if body.project is None:
        return None
    if not is_registered(settings.home, body.project):
        raise NotFound(f"project {body.project}: not known to Winnow; run `winnow init --project {body.project}`")
    return load_project(settings.home, body.project)


def _spec(settings: Settings, body: _ClassifyBody, project: Project | None) -> ClassifySpec:
    try:
        return resolve(settings.home, codebook=_codebook(body.codebook), project=project, names=body.sources)
    except (ConfigError, AdapterError) as error:
        raise BadRequest(str(error)) from None


def _codebook(value: Any) -> Codebook | None:
    """A codebook by the name of a shipped one, never by a path, or in full."""
    if isinstance(value, str):
        if value not in shipped_codebooks():
            hint = nearest(value[:80], shipped_codebooks()).replace("valid key", "codebook")
            raise BadRequest(f"codebook: is not the name of one that comes with Winnow {hint}; or send it in full")
        return load_codebook(value)
    return None if value is None else read_codebook(value)
