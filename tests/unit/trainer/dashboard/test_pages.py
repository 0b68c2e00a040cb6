"""The dashboard's pages: who sees them, what they say, that no text in them becomes a program."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from redis import Redis

from ml_backend.experiment import Project
from ml_backend.round_queue import enqueue_round, put_round_progress
from tests.made_project import working
from tests.unit.ml_backend.described import conforms
from tests.unit.trainer.dashboard.conftest import EVIL, ROUND, login, save
from trainer.dashboard.kept_report import KeptReport, report_path, save_report
from trainer.dashboard.making import kept_sections
from trainer.dashboard.round_log import TAIL
from trainer.evaluation.blocks import Column, Finding, Link, Section, Table, Tone
from trainer.rounds import RoundState, rounds_folder

PAGES = ("/dashboard/", "/dashboard/projects/7", f"/dashboard/projects/7/rounds/{ROUND}")
PARTS = ("/dashboard/list", "/dashboard/projects/7/live", "/dashboard/projects/7/report")
DATA = ("/dashboard/api/projects", "/dashboard/api/projects/7")
FILES = ("/dashboard/report.css", "/dashboard/static/dashboard.css", "/dashboard/static/dashboard.js")
CONFIRM = "/dashboard/projects/7/adapters/base/rollback"
ELSEWHERE = (("POST", "/setup"), ("POST", "/predict"), ("POST", "/webhook"), ("GET", "/versions"), ("GET", "/metrics"),
             ("GET", "/projects/7/prelabel"), ("POST", "/classify"), ("GET", "/no-such-page"))  # fmt: skip
USERS = ("viewer", "operator", "winnow")


def report(revision: str = "b-3") -> KeptReport:
    table = Table("t", EVIL, (Column("c", EVIL),), ((EVIL,), (Link(EVIL, "javascript:alert(1)"),)), EVIL)
    section = Section("coders", EVIL, (Finding(EVIL, Tone.BAD),), (table,), (EVIL,))
    made_at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return KeptReport(EVIL, made_at, 12.0, revision, kept_sections([section]), {"coders": {"title": EVIL}}, {})


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("path", [*PAGES, *PARTS, *DATA, *FILES])
def test_all_three_users_may_read(client: FlaskClient, user: str, path: str) -> None:
    assert client.get(path, headers=login(user)).status_code == 200
    assert client.get(path, headers=login(user, "wrong")).status_code == 401
    assert client.get(path).status_code == 401


@pytest.mark.parametrize("user", ["viewer", "operator"])
@pytest.mark.parametrize(("method", "path"), ELSEWHERE)
def test_viewer_and_operator_may_go_nowhere_else(client: FlaskClient, user: str, method: str, path: str) -> None:
    answer = client.open(path, method=method, headers=login(user))
    assert answer.status_code == 403
    assert answer.get_json()["error"]["code"] == "forbidden"
    assert client.open(path, method=method, headers=login("winnow")).status_code not in (401, 403)


@pytest.mark.parametrize("path", [*PAGES, *PARTS, *DATA])
def test_nobody_writes_where_pages_are_read(client: FlaskClient, path: str) -> None:
    assert client.post(path, headers=login("viewer")).status_code == 403
    assert client.post(path, headers=login("winnow")).status_code == 405


def test_a_viewer_sees_no_way_to_change_anything(client: FlaskClient, project: Project) -> None:
    (project.folder / "current.json").write_text(json.dumps({"adapters": ["aaaabbbbccccdddd"]}), encoding="utf-8")
    assert "rollback" in client.get("/dashboard/projects/7", headers=login("operator")).text
    assert "rollback" not in client.get("/dashboard/projects/7", headers=login("viewer")).text
    assert client.get(CONFIRM, headers=login("viewer")).status_code == 403


@pytest.mark.parametrize("path", [*PAGES, *PARTS, CONFIRM, "/dashboard/projects/99"])
def test_every_answer_has_the_headers_of_safety(client: FlaskClient, path: str) -> None:
    headers = client.get(path, headers=login("winnow")).headers
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_hostile_texts_are_shown_as_texts(client: FlaskClient, project: Project) -> None:
    save_report(project.folder, report())
    seen = ""
    for path in (*PAGES, *PARTS):
        text = client.get(path, headers=login("operator")).text
        assert "<script>alert" not in text
        assert 'href="javascript' not in text
        seen += text
    assert seen.count("&lt;script&gt;alert(") >= 8
    assert "{{7*7}}" in seen


def test_a_log_is_shown_from_its_end(client: FlaskClient, project: Project) -> None:
    path = rounds_folder(project.home, 7) / ROUND / "fit.log"
    path.write_text("".join(f"line {number}\n" for number in range(20_000)), encoding="utf-8")
    text = client.get(f"/dashboard/projects/7/rounds/{ROUND}", headers=login("viewer")).text
    log = text.partition("<pre")[2].partition(">")[2].partition("</pre>")[0]
    assert log.endswith("line 19999\n")
    assert log.startswith("line ")
    assert len(log) <= TAIL


@pytest.mark.parametrize("round_id", ["..", "%2e%2e", "0" * 16, "seen.json", "ABCDEF0123456789"])
def test_a_round_is_named_by_its_id_alone(client: FlaskClient, round_id: str) -> None:
    assert client.get(f"/dashboard/projects/7/rounds/{round_id}", headers=login("viewer")).status_code == 404


def test_what_is_wrong_is_a_page_for_people_and_data_for_programs(client: FlaskClient) -> None:
    page = client.get("/dashboard/projects/99", headers={**login("viewer"), "Accept": "text/html,*/*;q=0.8"})
    assert page.status_code == 404
    assert page.mimetype == "text/html"
    assert "project 99: not known to Winnow" in page.text
    data = client.get("/dashboard/api/projects/99", headers={**login("viewer"), "Accept": "text/html"})
    assert data.status_code == 404
    assert data.get_json()["error"]["code"] == "not-found"


@pytest.mark.parametrize("path", [*PARTS, *DATA])
def test_what_is_the_same_is_not_sent_again(client: FlaskClient, path: str) -> None:
    first = client.get(path, headers=login("viewer"))
    again = client.get(path, headers={**login("viewer"), "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""


@pytest.mark.parametrize("path", ["/dashboard/list", "/dashboard/projects/7/live", *DATA])
def test_what_is_another_is_sent(client: FlaskClient, project: Project, path: str) -> None:
    known = client.get(path, headers=login("viewer")).headers["ETag"]
    save(project, RoundState.KEPT)
    if "/api/" not in path or path.endswith("7"):
        assert client.get(path, headers={**login("viewer"), "If-None-Match": known}).status_code == 200


def test_a_part_with_buttons_is_not_taken_for_one_without(client: FlaskClient) -> None:
    path = "/dashboard/projects/7/live"
    known = client.get(path, headers=login("operator")).headers["ETag"]
    assert client.get(path, headers={**login("viewer"), "If-None-Match": known}).status_code == 200


def test_a_new_report_is_another_part(client: FlaskClient, project: Project) -> None:
    path = "/dashboard/projects/7/report"
    known = client.get(path, headers=login("viewer")).headers["ETag"]
    save_report(project.folder, report())
    fresh = client.get(path, headers={**login("viewer"), "If-None-Match": known})
    assert fresh.status_code == 200
    assert 'id="report-coders"' in fresh.text


def test_the_page_says_how_old_its_report_is(client: FlaskClient, project: Project) -> None:
    def text() -> str:
        return client.get("/dashboard/projects/7", headers=login("viewer")).text

    assert "No report yet" in text()
    save_report(project.folder, report())
    assert "2026-01-02 03:04 UTC" in text()
    assert "Nothing was decided since" in text()
    save_report(project.folder, report("b-2"))
    assert "Decisions are newer" in text()
    report_path(project.folder).write_text("{", encoding="utf-8")
    assert "not a report" in text()


def test_progress_and_the_round_at_hand_are_told(client: FlaskClient, project: Project, redis: Redis) -> None:
    told = client.get("/dashboard/api/projects/7", headers=login("viewer")).get_json()
    assert told["next_round"] == {
        "trains": True, "tasks": 200, "verified": 88, "new": 28, "goal": 100, "to_next": 12,
    }  # fmt: skip
    assert told["round"] is None
    save(project, RoundState.RUNNING)
    put_round_progress(
        redis, 7, {"stage": "train", "step": 3, "steps": 9, "loss": 0.5, "log": "/a/secret/place/fit.log"}
    )
    answer = client.get("/dashboard/api/projects/7", headers=login("viewer"))
    assert answer.get_json()["round"] == {
        "stage": "cut off", "id": ROUND, "step": 3, "steps": 9, "loss": 0.5,
    }  # fmt: skip
    assert "/a/secret/place" not in answer.text
    conforms(answer)
    assert "The round was cut off" in client.get("/dashboard/projects/7", headers=login("viewer")).text


def test_a_round_at_work_shows_its_steps(client: FlaskClient, project: Project, redis: Redis) -> None:
    save(project, RoundState.RUNNING)
    enqueue_round(redis, project)
    with working(redis):
        put_round_progress(redis, 7, {"stage": "train", "step": 3, "steps": 9, "loss": 0.5, "seconds_left": 130})
        text = client.get("/dashboard/projects/7", headers=login("viewer")).text
    assert "A round is at work: train" in text
    assert "Step 3 of 9, loss 0.5, about 2 min left" in text
    assert 'value="3" max="9"' in text


def test_programs_get_what_is_described(client: FlaskClient, project: Project) -> None:
    save_report(project.folder, report())
    for path in DATA:
        answer = client.get(path, headers=login("viewer"))
        conforms(answer)
    assert answer.get_json()["sections"] == {"coders": {"title": EVIL}}


def test_a_project_that_was_never_read_has_a_page(client: FlaskClient, project: Project) -> None:
    (project.folder / "mirror.sqlite").unlink()
    text = client.get("/dashboard/projects/7", headers=login("viewer")).text
    assert "Nothing was read of this project yet" in text
    assert not (project.folder / "mirror.sqlite").exists(), "looking makes no mirror"


def test_a_damaged_mirror_or_adapter_leaves_the_page(client: FlaskClient, project: Project) -> None:
    (project.folder / "mirror.sqlite").write_bytes(b"no database" * 1000)
    (project.folder / "current.json").write_text(json.dumps({"adapters": ["aaaabbbbccccdddd"]}), encoding="utf-8")
    answer = client.get("/dashboard/projects/7", headers=login("operator"))
    assert answer.status_code == 200
    assert "aaaabbbbccccdddd" in answer.text


def test_only_the_scripts_of_the_package_are_served(client: FlaskClient) -> None:
    for name in ("../pages.py", "..%2fpages.py", "dashboard.py"):
        assert client.get(f"/dashboard/static/{name}", headers=login("viewer")).status_code == 404


def test_pages_hold_no_script_of_their_own() -> None:
    for path in (Path(__file__).parents[4] / "trainer/dashboard/templates/dashboard").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert text.count("<script") == text.count("<script src=")
        assert not re.search(r"\son\w+=", text)
        assert "|safe" not in text


def test_too_many_failed_log_ins_are_a_page_for_a_person(client: FlaskClient) -> None:
    wrong = login("viewer", "wrong") | {"Accept": "text/html"}
    told = [client.get("/dashboard/", headers=wrong) for _ in range(11)]
    assert [answer.status_code for answer in told] == [401] * 10 + [429]
    page = told[-1]
    assert page.content_type.startswith("text/html")
    assert "too many failed log-ins; wait " in page.text
    assert 0 < int(page.headers["Retry-After"]) <= 300
    assert client.get("/dashboard/api/projects", headers=wrong).get_json()["error"]["code"] == "too-many-requests"
