"""What an operator may change of rounds: start one by hand, stop the one at hand. Confirmed as adapters are."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Response, g, make_response, redirect, url_for
from rich.console import Console
from werkzeug.exceptions import Conflict

from label_configs.errors import NoRoundError
from ml_backend.experiment import Project
from ml_backend.log_events import LogEvent, tell
from trainer.dashboard.confirming import check_form, form_page, operated_project
from trainer.dashboard.live import Live
from trainer.dashboard.pages import parts

log = logging.getLogger(__name__)

ROUND_RULE = "/projects/<int:project_id>/round/<any(start, stop):change>"


def confirm_round(project_id: int, change: str) -> Response:
    """What would begin or end, and a form to do it."""
    _, redis = parts()
    project = _permitted(project_id, change)
    return form_page("dashboard/confirm_round.html", project=project, live=Live.of(redis, project), change=change)


def carry_out_round(project_id: int, change: str) -> Response:
    """Start or stop as `winnow train` does, and go back to the project's page, which tells what the round is doing."""
    _, redis = parts()
    project = _permitted(project_id, change)
    check_form()
    # With it comes what the command line needs, and no other request.
    from trainer.round_watch import RoundWatch

    watch = RoundWatch(redis, project)
    try:
        if change == "start":
            watch.start(Console(quiet=True))
        else:
            watch.stop(Console(quiet=True), wait=False)
    except NoRoundError:
        raise Conflict(f"project {project_id}: no round is queued or running by now; look again") from None
    tell(log, LogEvent.ROUND_CHANGED, project=project_id, change=change, by=g.role.value)
    back = url_for("dashboard.project_page", project_id=project_id, _anchor="rounds")
    return make_response(redirect(back, HTTPStatus.SEE_OTHER))


def _permitted(project_id: int, change: str) -> Project:
    project = operated_project(project_id, f"{change} a round")
    if project.experiment.training is None:
        raise Conflict(f"project {project_id}: trains nothing; add `training` to winnow.yaml and run `winnow init`")
    return project
