"""The dashboard under gunicorn, with the report that the scheduler has made of a real project."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from label_studio_sdk import LabelStudio

from label_configs.forms import ReviewForm
from label_configs.render import render_label_config
from ml_backend.experiment import Experiment, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from tests.integration.coded import CODEBOOK, code
from tests.integration.conftest import Running
from tests.integration.running import until
from trainer.dashboard.kept_report import FOLDER

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(180)]


def test_the_scheduler_makes_the_report_that_the_page_shows(winnow: Running, sdk: LabelStudio) -> None:
    client = LabelStudioClient(winnow.settings)
    project_id = client.create_project("Things", render_label_config(CODEBOOK, ReviewForm.WHOLE), "")
    experiment = Experiment(
        "things", (SourceConfig("words", SourceKind.FAKE),), review=Review(ReviewForm.WHOLE),
        training=Training("no-model", thresholds=(500,)),
    )  # fmt: skip
    project = register(winnow.settings.home, project_id, experiment, CODEBOOK)
    code(sdk, project_id, range(30))
    assert winnow.settings.password
    login = (winnow.settings.username, winnow.settings.password.get_secret_value())
    with httpx.Client(base_url=winnow.settings.backend_url, auth=login, trust_env=False, timeout=20) as web:

        def told() -> dict[str, Any]:
            found: dict[str, Any] = web.get(f"/dashboard/api/projects/{project_id}").raise_for_status().json()
            return found

        until(lambda: told()["report"]["made_at"] or told()["report"]["fault"], 120)
        found = told()
        assert found["report"]["fault"] == ""
        assert found["title"] == "Things"
        assert found["next_round"]["to_next"] == 470
        assert {"summary", "coders", "sources", "disagreements"} <= set(found["sections"])
        page = web.get(f"/dashboard/projects/{project_id}").raise_for_status()
        assert 'id="report-coders"' in page.text
        assert page.headers["Content-Security-Policy"]
        assert "winnow_verified_documents" in web.get("/metrics").text
        assert web.get("/dashboard").status_code == 308
    assert (project.folder / FOLDER / "dashboard.log").exists()
