"""What the pages have in common on which an operator confirms a change."""

from __future__ import annotations

from typing import Any

from flask import Response, g, make_response, render_template, request
from werkzeug.exceptions import Forbidden

from ml_backend.experiment import Project
from trainer.dashboard import csrf
from trainer.dashboard.pages import operates, parts, project_of


def operated_project(project_id: int, change: str) -> Project:
    """The project, for an operator; ``change`` says what is asked for. Raises Forbidden, NotFound."""
    if not operates():
        raise Forbidden(f"user viewer may read the dashboard; log in as operator to {change}")
    return project_of(project_id)


def form_page(template: str, **shown: Any) -> Response:
    """A page whose form carries the change out, with the token that ``check_form`` asks for."""
    settings, _ = parts()
    token, session = csrf.token_for(settings, request, g.role.value)
    page = make_response(render_template(template, token=token, **shown))
    csrf.keep(page, request, session)
    return page


def check_form() -> None:
    """Raise Forbidden unless the request is such a page's form, sent by who opened the page."""
    settings, _ = parts()
    csrf.check(settings, request, g.role.value)
