"""The dashboard as ``create_app`` takes it: the pages that show, and those that change something."""

from __future__ import annotations

from trainer.dashboard.changing import RULE, carry_out, confirm
from trainer.dashboard.pages import PAGES
from trainer.dashboard.round_changes import ROUND_RULE, carry_out_round, confirm_round

DASHBOARD_PAGES = PAGES
DASHBOARD_PAGES.add_url_rule(RULE, view_func=confirm, methods=["GET"])
DASHBOARD_PAGES.add_url_rule(RULE, view_func=carry_out, methods=["POST"])
DASHBOARD_PAGES.add_url_rule(ROUND_RULE, view_func=confirm_round, methods=["GET"])
DASHBOARD_PAGES.add_url_rule(ROUND_RULE, view_func=carry_out_round, methods=["POST"])
