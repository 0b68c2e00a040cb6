"""The dashboard as ``create_app`` takes it: the pages that show, and those that change something."""

from __future__ import annotations

from trainer.dashboard.changing import RULE, carry_out, confirm
from trainer.dashboard.pages import PAGES

DASHBOARD_PAGES = PAGES
DASHBOARD_PAGES.add_url_rule(RULE, view_func=confirm, methods=["GET"])
DASHBOARD_PAGES.add_url_rule(RULE, view_func=carry_out, methods=["POST"])
