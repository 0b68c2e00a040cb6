"""The pages, handed to ``create_app`` by ``winnow serve``. Reading is for everyone who may log in to the dashboard.

| route, below /dashboard | shows |
|---|---|
| / | the projects |
| /projects/<id> | one project, all of it |
| /projects/<id>/live, /report; /list | parts of these pages, for their script to look again |
| /projects/<id>/rounds/<round> | a round and the end of its log |
| /projects/<id>/adapters/<adapter or base>/<promote or rollback> | asks an operator to confirm; POST does it |
| /projects/<id>/round/<start or stop> | asks an operator to confirm; POST does it |
| /api/projects, /api/projects/<id> | the same as data |

Addresses that are looked at again and again answer 304 where nothing is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, make_response, render_template, request, send_file
from redis import Redis
from werkzeug.exceptions import NotFound

from label_configs.errors import WinnowError
from ml_backend.access import DASHBOARD
from ml_backend.app import error_answer
from ml_backend.experiment import Project
from ml_backend.registered_projects import is_registered, load_project
from ml_backend.settings import Settings
from trainer import evaluation
from trainer.adapter_list import figure
from trainer.dashboard.kept_report import load_report, report_stamp
from trainer.dashboard.live import Live, all_projects
from trainer.dashboard.round_log import log_tail, round_of
from trainer.round_status import duration

HEADERS = {
    # Plots and heat maps are drawn with style attributes; no script but our own file runs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

STYLESHEET = Path(evaluation.__file__ or "").parent / "page.css"
PAGES = Blueprint(DASHBOARD, __name__, url_prefix=f"/{DASHBOARD}", template_folder="templates", static_folder="static")


def parts() -> tuple[Settings, Redis]:
    """Settings and Redis of the application that answers."""
    settings, redis = current_app.extensions["winnow"]
    return settings, redis


def project_of(project_id: int) -> Project:
    """The project. Raises NotFound."""
    settings, _ = parts()
    if not is_registered(settings.home, project_id):
        raise NotFound(f"project {project_id}: not known to Winnow; see the list of projects")
    return load_project(settings.home, project_id)


def operates() -> bool:
    """Whether who asks may start and stop rounds and change which adapter proposes."""
    return bool(g.role.operates)


@PAGES.after_request
def _with_headers(answer: Response) -> Response:
    answer.headers.update(HEADERS)
    return answer


@PAGES.errorhandler(Exception)
def _error(error: Exception) -> Response:
    """A page for a person, the JSON of every other error for programs."""
    told = error_answer(error)
    if request.path.startswith(f"/{DASHBOARD}/api/") or not _wants_page() or told.status_code == 401:
        return told
    page = make_response(render_template("dashboard/error.html", error=told.get_json()["error"]), told.status_code)
    page.headers.extend((name, value) for name, value in told.headers if name in ("Allow", "Location", "Retry-After"))
    return page


def _wants_page() -> bool:
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


@PAGES.app_template_filter("moment")
def _moment(value: datetime | str | None) -> str:
    """A time to the minute in UTC."""
    time = datetime.fromisoformat(value) if isinstance(value, str) and value else value
    return f"{time:%Y-%m-%d %H:%M} UTC" if isinstance(time, datetime) else "–"


PAGES.add_app_template_filter(figure, "figure")
PAGES.add_app_template_filter(duration, "duration")


@PAGES.get("/")
def index() -> Response:
    """The projects."""
    return make_response(render_template("dashboard/index.html", projects=_all()))


@PAGES.get("/report.css")
def stylesheet() -> Response:
    """The style of a report, which the dashboard has as well."""
    return send_file(STYLESHEET, "text/css", conditional=True, etag=True)


@PAGES.get("/list")
def listed() -> Response:
    """The table of projects alone."""
    lives = _all()
    tag = [one.as_json() for one in lives]
    return _unless_known(tag, lambda: render_template("dashboard/_projects.html", projects=lives))


@PAGES.get("/projects/<int:project_id>")
def project_page(project_id: int) -> Response:
    """One project."""
    settings, redis = parts()
    project = project_of(project_id)
    live = Live.of(redis, project)
    report, done = _report(project), request.args.get("done", "")
    return make_response(
        render_template(
            "dashboard/project.html", live=live, report=report, operates=operates(), url=settings.label_studio_url,
            done=done if done and done == (live.adapter or "base") else "",
        )
    )  # fmt: skip


@PAGES.get("/projects/<int:project_id>/live")
def live_part(project_id: int) -> Response:
    """What a project does now."""
    live = Live.of(parts()[1], project_of(project_id))
    tag = [live.as_json(), g.role.value]
    return _unless_known(tag, lambda: render_template("dashboard/_live.html", live=live, operates=operates()))


@PAGES.get("/projects/<int:project_id>/report")
def report_part(project_id: int) -> Response:
    """The sections of the kept report."""
    project = project_of(project_id)
    tag = report_stamp(project.folder)
    return _unless_known(tag, lambda: render_template("dashboard/_report.html", report=_report(project)))


@PAGES.get("/projects/<int:project_id>/rounds/<round_id>")
def round_page(project_id: int, round_id: str) -> Response:
    """A round and the end of its log."""
    project = project_of(project_id)
    record = round_of(project, round_id)
    if record is None:
        raise NotFound(f"round {round_id}: project {project_id} has none of this id; see its list of rounds")
    return make_response(
        render_template("dashboard/round.html", project=project, round=record, log=log_tail(project, record.id))
    )


@PAGES.get("/api/projects")
def projects_data() -> Response:
    """The projects, for programs."""
    told = [
        {name: one.as_json()[name] for name in ("project", "title", "codebook", "adapter", "next_round", "round")}
        for one in _all()
    ]
    return _unless_known(told, lambda: jsonify({"projects": told}))


@PAGES.get("/api/projects/<int:project_id>")
def project_data(project_id: int) -> Response:
    """One project, for programs, with what its report found."""
    project = project_of(project_id)
    told = Live.of(parts()[1], project).as_json()
    stamp = report_stamp(project.folder)

    def whole() -> Response:
        report = _report(project)
        return jsonify(told | {"sections": report.data if report else {}})

    return _unless_known([told, stamp], whole)


def _all() -> Sequence[Live]:
    settings, redis = parts()
    return [Live.of(redis, project) for project in all_projects(settings.home)]


def _report(project: Project) -> Any:
    try:
        return load_report(project.folder)
    except WinnowError:  # ``Live.report`` says what is wrong
        return None


def _unless_known(state: object, answer: Callable[[], str | Response]) -> Response:
    """The answer, or 304 where the browser has that of this state."""
    tag = hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()[:24]
    found = Response(status=304) if tag in request.if_none_match else make_response(answer())
    found.set_etag(tag)
    return found
