"""What an operator may change of rounds: start one by hand, stop the one at hand. Confirmed as adapters are."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Response, g, make_response, redirect, render_template, request, url_for
from rich.console import Console
from werkzeug.exceptions import Conflict, Forbidden

from ml_backend.experiment import Project
from ml_backend.log_events import LogEvent, tell
from trainer.dashboard import csrf
from trainer.dashboard.live import Live
from trainer.dashboard.pages import operates, parts, project_of

log = logging.getLogger(__name__)

ROUND_RULE = "/projects/<int:project_id>/round/<any(start, stop):change>"


def confirm_round(project_id: int, change: str) -> Response:
    """What would begin or end, and a form to do it."""
    settings, redis = parts()
    project = _permitted(project_id, change)
    token, session = csrf.token_for(settings, request, g.role.value)
    live = Live.of(redis, project)
    page = make_response(
        render_template("dashboard/confirm_round.html", project=project, live=live, change=change, token=token)
    )
    csrf.keep(page, request, session)
    return page


def carry_out_round(project_id: int, change: str) -> Response:
    """Start or stop as `winnow train` does, and go back to the project's page, which tells what the round is doing."""
    settings, redis = parts()
    project = _permitted(project_id, change)
    csrf.check(settings, request, g.role.value)
    # With it comes what the command line needs, and no other request.
    from trainer.round_watch import RoundWatch

    watch = RoundWatch(redis, project)
    if change == "start":
        watch.start(Console(quiet=True))
    elif Live.of(redis, project).round is None:
        raise Conflict(f"project {project_id}: no round is queued or running by now; look again")
    else:
        watch.stop(Console(quiet=True), wait=False)
    tell(log, LogEvent.ROUND_CHANGED, project=project_id, change=change, by=g.role.value)
    back = url_for("dashboard.project_page", project_id=project_id, _anchor="rounds")
    return make_response(redirect(back, HTTPStatus.SEE_OTHER))


def _permitted(project_id: int, change: str) -> Project:
    if not operates():
        raise Forbidden(f"user viewer may read the dashboard; log in as operator to {change} a round")
    project = project_of(project_id)
    if project.experiment.training is None:
        raise Conflict(f"project {project_id}: trains nothing; add `training` to winnow.yaml and run `winnow init`")
    return project
