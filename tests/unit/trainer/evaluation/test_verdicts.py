"""`winnow evaluate` says what the gate found and who leads."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from label_configs.codebook import Code, Codebook, Kind
from ml_backend.experiment import Experiment, Project
from ml_backend.leading import Judged, Standing, identity_of, save_standing
from ml_backend.mixing import Evidence, MixingWeights
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from ml_backend.versions import ActiveSource
from ml_backend.weights_file import taking_over
from trainer.evaluation.report import evaluate
from trainer.evaluation.tables import tables
from trainer.evaluation.verdicts import GateReport, gate_report
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round

BOOK = Codebook("two", Kind.EXCLUSIVE, (Code("s", "Ships", "d", "ship"), Code("g", "Corn", "d", "corn")))
PROBE = ActiveSource(SourceConfig("probe", SourceKind.PROBE, "org/mini"), "mini/probe-abc@base")
ADAPTER = ActiveSource(SourceConfig("adapter", SourceKind.ADAPTER, "org/small"), "org/small/definitions@0a", "0a")
SOURCES = (PROBE, ADAPTER)
AT = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    experiment = Experiment("two", (PROBE.config,), training=Training("m"))
    return Project(7, experiment, BOOK, tmp_path / "projects" / "7")


def ended(project: Project, number: int, state: RoundState = RoundState.KEPT) -> None:
    times = {"started_at": AT.replace(hour=number), "ended_at": AT.replace(hour=number, minute=9)}
    record = RoundRecord(f"r{number}", 7, state, 200, 160, 40, f"0{number}", f"Reason {number}.", **times)  # type: ignore[arg-type]
    save_round(rounds_folder(project.home, 7), record)


def standing(project: Project) -> None:
    judged = (Judged("probe", identity_of(PROBE.config), 0.86), Judged("adapter", "0a", 0.80))
    save_standing(project.folder, Standing("r5", "macro_f1", 40, AT, BOOK.fingerprint, judged))


def shown(report: GateReport | None) -> tuple[str, dict[str, object]]:
    result = evaluate([], [], [], codebook=BOOK, gate=report)
    console = Console(file=io.StringIO(), width=160, color_system=None)
    console.print(tables(result))
    return console.file.getvalue(), json.loads(json.dumps(result.as_json()))  # type: ignore[attr-defined]


def test_before_the_first_round_there_is_nothing_to_say(project: Project) -> None:
    assert gate_report(project, SOURCES) is None
    save_round(rounds_folder(project.home, 7), RoundRecord("r1", 7, RoundState.RUNNING, 9, 8, 1, started_at=AT))
    assert gate_report(project, SOURCES) is None
    text, data = shown(None)
    assert "leads" not in text
    assert data["gate"] is None


def test_the_last_verdicts_and_the_lead_are_told_as_table_and_json(project: Project) -> None:
    for number in range(1, 6):
        ended(project, number)
    standing(project)
    text, data = shown(gate_report(project, SOURCES))
    assert "Who leads the candidates, by the 40 holdout documents of round r5" in text
    assert "Gate, round r5: kept. Reason 5." in text
    assert "Gate, round r3: kept. Reason 3." in text
    assert "Reason 2." not in text, "the last three"
    assert "Probe leads the candidates: 0.860 against 0.800 of adapter, by macro-F1 on 40 holdout documents." in text
    gate = data["gate"]
    assert isinstance(gate, dict)
    assert [one["round"] for one in gate["verdicts"]] == ["r5", "r4", "r3"]
    assert (gate["lead"]["source"], gate["lead"]["n"]) == ("probe", 40)
    assert [row["value"] for row in gate["lead"]["rates"]] == [0.86, 0.80]
    assert gate["lead"]["why"].startswith("probe leads the candidates")


def test_what_coders_said_since_is_told(project: Project) -> None:
    ended(project, 5)
    standing(project)
    firsts = {"probe": Evidence(10, 20), "adapter": Evidence(19, 20)}
    weights = MixingWeights({("probe", "1", "s"): Evidence(1, 2)}, ("d1",), firsts, "r5")
    with taking_over(project.folder, weights):
        pass
    text, _ = shown(gate_report(project, SOURCES))
    assert "19/20" in text
    assert (
        "Adapter leads the candidates: 0.850 against 0.740 of probe, by macro-F1 on 40 holdout documents and what "
        "coders kept of 20 documents since."
    ) in text


def test_nobody_leads_where_there_is_nothing_to_compare(project: Project) -> None:
    ended(project, 5)
    standing(project)
    text, _ = shown(gate_report(project, (PROBE, replace(ADAPTER, adapter_id="ff"))))
    assert "No source leads the candidates: fewer than two of those that propose now were judged." in text
