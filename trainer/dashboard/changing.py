"""What an operator may change: which adapter proposes. Asked for on one page, confirmed there, done by its form."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus

from flask import Response, g, make_response, redirect, request, url_for
from werkzeug.exceptions import Conflict, NotFound

from ml_backend import adapters, promotions
from ml_backend.experiment import Project
from ml_backend.log_events import LogEvent, tell
from trainer.adapter_list import adapter_row
from trainer.dashboard.confirming import check_form, form_page, operated_project
from trainer.dashboard.pages import parts

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{16}")
RULE = "/projects/<int:project_id>/adapters/<adapter_id>/<any(promote, rollback):change>"


def confirm(project_id: int, adapter_id: str, change: str) -> Response:
    """What would change, and a form to do it."""
    project = _permitted(project_id, adapter_id, change)
    store, now = adapters.store_of(project.home), promotions.current(project.folder)
    row = None if adapter_id == promotions.BASE else adapter_row(store, adapter_id, {})
    return form_page("dashboard/confirm.html", project=project, adapter_id=adapter_id, change=change, row=row, now=now)


def carry_out(project_id: int, adapter_id: str, change: str) -> Response:
    """Promote or roll back, and go back to the project's page; the scheduler asks for new proposals."""
    project = _permitted(project_id, adapter_id, change)
    check_form()
    now = promotions.current(project.folder) or promotions.BASE
    if request.form.get("current") != now:
        raise Conflict(f"project {project_id}: {now} proposes by now, not what the page said; look again and decide")
    # With it come the analyses of the command line, which no other request needs.
    from trainer.work import Work

    settings, _ = parts()
    work = Work.open(settings, project_id)
    if change == "promote":
        work.promote(adapter_id, later=True)
    else:
        work.roll_back(adapter_id, later=True)
    tell(log, LogEvent.ADAPTER_CHANGED, project=project_id, change=change, adapter=adapter_id, by=g.role.value)
    back = url_for("dashboard.project_page", project_id=project_id, done=adapter_id, _anchor="done")
    return make_response(redirect(back, HTTPStatus.SEE_OTHER))


def _permitted(project_id: int, adapter_id: str, change: str) -> Project:
    """The project, where this may be asked of it."""
    project = operated_project(project_id, "change which adapter proposes")
    if not (_ID.fullmatch(adapter_id) or (adapter_id == promotions.BASE and change == "rollback")):
        raise NotFound(f"adapter {adapter_id}: no such id; see the project's list of adapters")
    return project
