"""The web process: a Flask application that never loads torch.

| route | called by | answers |
|---|---|---|
| GET /health | anyone | that the process is up |
| POST /setup | Label Studio | the review prediction's version |
| POST /predict | Label Studio | review predictions, as far as they are ready before the deadline |
| POST /webhook | Label Studio | at once, having noted that something changed |
| GET /versions | Label Studio | versions in force, per project |
| GET /metrics | Prometheus | queues and progress |
| GET /projects/<id>/prelabel | programs, operators | how far pushing predictions is, per task |
| POST /classify | programs | proposals for documents, or a job to ask for: see ``classify_routes`` |
| GET /openapi.json | anyone | the description of this interface, ``openapi.yaml`` |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from prometheus_client.registry import Collector
from redis import Redis
from werkzeug.exceptions import BadRequest, HTTPException, NotFound
from werkzeug.middleware.proxy_fix import ProxyFix

from label_configs.errors import LabelConfigError, LabelStudioError, QueueError, WinnowError, WireError
from ml_backend import changed_projects
from ml_backend.authentication import ask_for_logins
from ml_backend.classify_queue import ClassifyQueue
from ml_backend.classify_routes import CLASSIFY
from ml_backend.config_check import require, state_of
from ml_backend.events import Change, parse_event, parse_project_id
from ml_backend.exchange import exchange_of
from ml_backend.experiment import Project
from ml_backend.json_body import MAX_BODY, json_object, limit_body
from ml_backend.log_events import LogEvent, tell
from ml_backend.metrics import render_metrics
from ml_backend.openapi import description
from ml_backend.predicting import predict
from ml_backend.prelabel_progress import TaskState
from ml_backend.prelabel_status import PrelabelStatus
from ml_backend.proposing import Plan
from ml_backend.registered_projects import is_registered, load_project, registered
from ml_backend.request_header import carry_request_ids
from ml_backend.round_queue import enqueue_round
from ml_backend.settings import Settings

log = logging.getLogger(__name__)

MAX_TASKS = 5000  # of one /predict; Label Studio sends some hundreds
MAX_MESSAGE = 1500  # characters; a codebook with many mistakes has a long one
HEADERS = {  # where a page has not set its own
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STATUS = {WireError: 400, LabelConfigError: 409, QueueError: 503, LabelStudioError: 502}


def create_app(
    settings: Settings, redis: Redis, blueprints: Iterable[Blueprint] = (), collectors: Sequence[Collector] = ()
) -> Flask:
    """The application. ``settings`` must hold the secrets (``with_secrets``); ``blueprints`` are further pages.

    ``collectors`` give further figures for /metrics.
    """
    app = Flask("winnow", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.extensions["winnow"] = (settings, redis)
    app.extensions["winnow-collectors"] = tuple(collectors)
    if settings.trusted_proxies:
        proxies = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=0)  # type: ignore[method-assign]
    carry_request_ids(app)
    ask_for_logins(app, settings, redis)
    app.before_request(lambda: limit_body(request))
    app.after_request(with_headers)
    app.register_error_handler(Exception, error_answer)
    for rule, view, methods in ROUTES:
        app.add_url_rule(rule, view_func=view, methods=methods)
    app.extensions["winnow-classify"] = ClassifyQueue(redis, exchange_of(settings), settings.home)
    for blueprint in (CLASSIFY, *blueprints):
        app.register_blueprint(blueprint)
    return app


def _parts() -> tuple[Settings, Redis]:
    settings, redis = current_app.extensions["winnow"]
    return settings, redis


def with_headers(answer: Response) -> Response:
    """The answer with what tells browsers to keep nothing of it and to take it for nothing else."""
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


def error_answer(error: Exception) -> Response:
    """Every error in one JSON shape, without a traceback; unexpected ones are logged with theirs."""
    if isinstance(error, HTTPException):
        status, code, message = error.code or 500, error.name.lower().replace(" ", "-"), error.description or ""
    elif isinstance(error, WinnowError):
        status = next((s for kind, s in STATUS.items() if isinstance(error, kind)), 500)
        code, message = error.code, str(error)
    else:
        tell(log, LogEvent.REQUEST_FAILED, method=request.method, path=request.path, error=error)
        status, code, message = 500, "internal", "an unexpected error; the log of the web process has it"
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]} ..."
    answer = jsonify({"error": {"code": code, "message": message}})
    answer.status_code = status
    if isinstance(error, HTTPException):  # such as Allow, Location and Retry-After
        kept = [(name, value) for name, value in error.get_headers(request.environ) if name != "Content-Type"]
        answer.headers.extend(kept)
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Basic realm="Winnow"'
    return answer


def _project(settings: Settings, value: Any, where: str) -> Project:
    project_id = parse_project_id(value, where)
    if not is_registered(settings.home, project_id):
        raise NotFound(f"project {project_id}: not known to Winnow; run `winnow init --project {project_id}`")
    return load_project(settings.home, project_id)


def health() -> Response:
    """That the process is up; nothing about it."""
    return jsonify({"status": "UP", "model_class": "Winnow"})


def setup() -> Response:
    """The version that a prediction must have for Label Studio not to ask again. Loads nothing."""
    settings, _ = _parts()
    return jsonify({"model_version": Plan.of(_project(settings, json_object(request).get("project"), "setup")).version})


def predict_route() -> Response:
    """Review predictions for the tasks in the body, one list for each task."""
    settings, redis = _parts()
    body = json_object(request)
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(t, dict) for t in tasks):
        raise WireError("predict: field 'tasks' must be a list of tasks")
    if len(tasks) > MAX_TASKS:
        raise WireError(f"predict: {len(tasks)} tasks, more than {MAX_TASKS}; ask in several calls")
    xml = body.get("label_config")
    if not isinstance(xml, str | None):
        raise WireError("predict: field 'label_config' must be a text")
    project = _project(settings, body.get("project"), "predict")
    if xml is not None:
        require(project, state_of(project, xml))  # what no longer fits is not sent
    made = predict(redis, project, tasks, chunk=settings.chunk_documents, deadline=settings.predict_deadline_seconds)
    return jsonify({"results": made.results, "model_version": made.version})


def webhook() -> Response:
    """Notes the change and answers; counting happens elsewhere, from Label Studio itself."""
    settings, redis = _parts()
    event = parse_event(json_object(request))
    tell(log, LogEvent.WEBHOOK_RECEIVED, project=event.project_id, change=event.change.value)
    if event.change is Change.CHECK:
        changed_projects.note_check(redis)
    elif is_registered(settings.home, event.project_id):
        if event.change is Change.TRAIN:
            enqueue_round(redis, load_project(settings.home, event.project_id))
        elif event.change is Change.ANNOTATIONS:
            changed_projects.mark_changed(redis, event.project_id)
    return jsonify({"status": "noted"})


def versions() -> Response:
    """Versions in force: the review prediction's and each source's, per registered project."""
    settings, _ = _parts()
    plans = [Plan.of(load_project(settings.home, i)) for i in registered(settings.home)]
    projects = {str(p.project.id): {"review": p.version, "sources": dict(p.names)} for p in plans}
    return jsonify({"versions": [p.version for p in plans], "projects": projects})


def metrics() -> Response:
    """Prometheus' text format."""
    settings, redis = _parts()
    further = current_app.extensions["winnow-collectors"]
    text, content_type = render_metrics(redis, registered(settings.home), further)
    return Response(text, content_type=content_type)


def prelabel_route(project_id: int) -> Response:
    """How far the project's last prelabelling is; ``?state=failed``, repeatable, asks for the tasks in these states."""
    settings, redis = _parts()
    asked = request.args.getlist("state")
    if unknown := set(asked) - set(TaskState):
        raise BadRequest(f"state {', '.join(sorted(unknown))}: unknown; use {', '.join(TaskState)}")
    project = _project(settings, project_id, "prelabel")
    states = [state for state in TaskState if not asked or state in asked]
    return jsonify(PrelabelStatus.of(redis, project.id, states).as_json())


def openapi() -> Response:
    """The OpenAPI description of this interface."""
    return jsonify(description())


ROUTES: Sequence[tuple[str, Callable[..., Response], list[str]]] = (
    ("/health", health, ["GET"]),
    ("/setup", setup, ["POST"]),
    ("/predict", predict_route, ["POST"]),
    ("/webhook", webhook, ["POST"]),
    ("/versions", versions, ["GET"]),
    ("/metrics", metrics, ["GET"]),
    ("/projects/<int:project_id>/prelabel", prelabel_route, ["GET"]),
    ("/openapi.json", openapi, ["GET"]),
)
