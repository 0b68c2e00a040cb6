"""What Prometheus gets, and that Grafana's dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from ml_backend.experiment import Project
from tests.unit.trainer.dashboard.conftest import login
from trainer.dashboard.kept_report import KeptReport, save_report

GRAFANA = Path(__file__).parents[4] / "docker" / "grafana-dashboard.json"
KINDS = {"stat", "timeseries", "table", "gauge", "bargauge", "text", "row"}


def scraped(client: FlaskClient) -> dict[str, dict[tuple[str, ...], float]]:
    """Metric -> values of its labels -> value."""
    text = client.get("/metrics", headers=login("winnow")).text
    return {
        family.name: {values(sample.labels): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


def values(labels: dict[str, str]) -> tuple[str, ...]:
    """The project's first."""
    return tuple(labels[name] for name in sorted(labels, key=lambda name: (name != "project", name)))


def test_projects_are_among_the_figures(client: FlaskClient, project: Project) -> None:
    (project.folder / "current.json").write_text('{"adapters": ["aaaabbbbccccdddd"]}', encoding="utf-8")
    made_at = datetime(2026, 1, 1, tzinfo=UTC)
    save_report(project.folder, KeptReport("t", made_at, 1.0, "r", (), {}, {"words": 0.75, "new": None}))
    found = scraped(client)
    assert found["winnow_verified_documents"] == {("7",): 88}
    assert found["winnow_documents_to_next_round"] == {("7",): 12}
    assert found["winnow_adapter_info"] == {("7", "aaaabbbbccccdddd"): 1}
    assert found["winnow_round_state"]["7", "failed"] == 1
    assert sum(found["winnow_round_state"].values()) == 1
    assert found["winnow_rounds"]["7", "failed"] == 1
    assert found["winnow_source_kept_ratio"] == {("7", "words"): 0.75}
    assert found["winnow_report_timestamp_seconds"] == {("7",): made_at.timestamp()}
    assert found["winnow_jobs"]


def test_a_project_that_cannot_be_read_leaves_the_others(client: FlaskClient, project: Project) -> None:
    broken = project.folder.parent / "8"
    broken.mkdir()
    (broken / "winnow.yaml").write_text("sources: [", encoding="utf-8")
    assert scraped(client)["winnow_verified_documents"] == {("7",): 88}


def queries(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (value[key] for key in ("expr", "definition") if key in value)
        for below in value.values():
            yield from queries(below)
    elif isinstance(value, list):
        for below in value:
            yield from queries(below)


def test_grafana_asks_for_metrics_that_there_are(client: FlaskClient) -> None:
    asked = [*queries(json.loads(GRAFANA.read_text(encoding="utf-8")))]
    names = {name for query in asked for name in re.findall(r"\bwinnow_\w+", query)}
    assert len(asked) > 8
    assert names
    assert names <= set(scraped(client))


def test_grafanas_file_is_as_grafana_reads_it() -> None:
    board = json.loads(GRAFANA.read_text(encoding="utf-8"))
    assert board["title"] == "Winnow"
    assert board["id"] is None, "Grafana gives the number"
    assert board["schemaVersion"] >= 36
    variables = {one["name"] for one in board["templating"]["list"]}
    assert variables == {"datasource", "project"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in KINDS
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert {target["refId"] for target in panel["targets"]}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, "panels lie over each other"
        taken |= cells


@pytest.mark.parametrize("query", [*queries(json.loads(GRAFANA.read_text(encoding="utf-8")))])
def test_the_brackets_of_each_query_are_closed(query: str) -> None:
    for opening, closing in ("()", "{}", '""'):
        assert query.count(opening) == query.count(closing)
    assert set(re.findall(r"\$(\w+)", query)) <= {"project"}
