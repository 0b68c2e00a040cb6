"""The dashboard in a browser: read by eye and by ear, by mouse and by keyboard, while the project goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Page, expect

from ml_backend import promotions
from ml_backend.round_queue import enqueue_round, put_round_progress, round_queued
from tests.browser.dashboard import FAINT, FAULTS, Served, logged_in, served
from tests.made_project import MadeProject, working
from trainer.dashboard.disagreements import disagreement_section
from trainer.dashboard.kept_report import KeptReport, save_report
from trainer.dashboard.making import kept_sections
from trainer.dashboard.next_round import counted
from trainer.dashboard.source_table import kept_rates, source_section
from trainer.demo.label_studio import LabelStudioServer
from trainer.evaluation.agreement import agreement_sections
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.study_reading import mirrored_study
from trainer.finishing import Finishing
from trainer.owed_refresh import is_owed
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round

pytestmark = [pytest.mark.browser, pytest.mark.label_studio]

OPTIONS = ReportOptions(samples=20)
PAGES = (
    "", "/projects/{id}", "/projects/{id}/rounds/{round}", "/projects/{id}/adapters/base/rollback",
    "/projects/{id}/round/start",
)  # fmt: skip
ROUND = "00000000000000a0"
SOON = 12_000  # milliseconds; a part is looked at every five seconds


@pytest.fixture(scope="module")
def site(label_studio: LabelStudioServer, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A project of 200 tasks with a report of what is quick to compute."""
    made = MadeProject(tmp_path_factory.mktemp("dashboard"), 200, 180)
    with served(label_studio, made.home, redis_url, made) as site:
        study, found = mirrored_study(site.project), counted(site.project.folder)
        assert found is not None
        sections = [disagreement_section(study, OPTIONS), source_section(study, kept_rates(study, OPTIONS)),
                    *agreement_sections(study, OPTIONS)]  # fmt: skip
        shown = kept_sections(sections)
        save_report(site.project.folder, KeptReport(study.title, datetime.now(UTC), 3.0, found.revision, shown))
        yield site


def addresses(site: Served) -> list[str]:
    return [site.url + one.format(id=site.project.id, round=site.first_round) for one in (PAGES[0] + "/", *PAGES[1:])]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read_by_eye_and_by_ear(site: Served, browser: Browser, scheme: str) -> None:
    with logged_in(browser, "operator", color_scheme=scheme) as page:
        for address in addresses(site):
            page.goto(address)
            assert page.evaluate(FAULTS) == [], address
            assert page.evaluate(FAINT) == [], address
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, ground[4:-1].split(","))) > 380) == (scheme == "light")


@pytest.mark.parametrize("width", [400, 1280])
def test_no_page_is_wider_than_the_window(site: Served, browser: Browser, width: int) -> None:
    with logged_in(browser, "operator", viewport={"width": width, "height": 800}) as page:
        for address in addresses(site):
            page.goto(address)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def test_it_shows_what_managers_ask_for(site: Served, browser: Browser) -> None:
    with logged_in(browser, "viewer") as page:
        page.goto(site.page)
        for heading in ("Next round", "Rounds", "Adapters", "Codes that coders disagree on", "Sources", "Agreement"):
            expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
        link = page.locator("#report-disagreements td a").first
        assert f"/projects/{site.project.id}/data?task=" in str(link.get_attribute("href"))
        assert page.locator("figure svg").count() > 0, "the matrix as a heat map"
        assert page.get_by_role("link", name="Promote").count() == 0
        page.get_by_role("link", name="details and log").last.click()
        expect(page.locator("pre")).to_contain_text("step 1 of 90")


def test_the_contents_lead_to_their_sections(site: Served, browser: Browser) -> None:
    with logged_in(browser, "viewer") as page:
        page.goto(site.page)
        for name in ("report-agreement-pairs", "report-sources", "rounds", "report-disagreements"):
            page.locator(f"nav a[href='#{name}']").click()
            page.wait_for_function(
                "name => Math.abs(document.getElementById(name).getBoundingClientRect().top) < 100", arg=name
            )


def test_the_keyboard_reaches_everything_in_order(site: Served, browser: Browser) -> None:
    with logged_in(browser, "operator") as page:
        page.goto(site.page)
        reached = []
        for _ in range(12):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent.trim()"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", reached[-1]
        assert reached[:4] == ["Skip to the content", "All projects", "Open it in Label Studio", "Next round"]
        order = page.evaluate(
            "[...document.querySelectorAll('a, button, summary, [tabindex=\"0\"]')].map(e => e.tabIndex)"
        )
        assert set(order) == {0}, "the order of the page is the order of the keyboard"
        page.goto(site.page)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def press_on(page: Page, selector: str) -> None:
    """By the keyboard alone, as far as a test need go: focus by script, then Enter."""
    page.locator(selector).focus()
    page.keyboard.press("Enter")


def test_an_operator_promotes_and_rolls_back_by_keyboard(site: Served, browser: Browser) -> None:
    first, second, third = site.adapters
    with logged_in(browser, "operator") as page:
        page.goto(site.page)
        press_on(page, f"#promote-{third}")
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Promote adapter {third}?")
        press_on(page, "#cancel")
        expect(page.locator("#adapters")).to_contain_text(f"Adapter {second} proposes")
        assert promotions.current(site.project.folder) == second

        press_on(page, f"#promote-{third}")
        press_on(page, "#confirm")
        done = page.locator("#done")
        expect(done).to_contain_text(f"Done: adapter {third} proposes from now on")
        expect(done).to_be_focused()
        assert promotions.history(site.project.folder) == [first, second, third]
        assert is_owed(site.project)
        expect(page.locator("#adapters")).to_contain_text("New proposals are asked for at the scheduler’s next look")
        assert Finishing(site.redis, site.client, chunk=16).look(site.project)
        assert not is_owed(site.project)

        page.goto(site.page)
        expect(page.locator("#rollback")).to_have_text(f"Roll back to {second}")
        press_on(page, "#rollback")
        press_on(page, "#confirm")
        expect(done).to_contain_text(f"adapter {second} proposes")
        assert promotions.history(site.project.folder) == [first, second]
        page.goto(f"{site.page}?done={third}")
        assert done.count() == 0, "an address alone claims nothing"


def test_an_operator_starts_and_stops_a_round_by_keyboard(site: Served, browser: Browser) -> None:
    with logged_in(browser, "operator") as page:
        page.goto(site.page)
        press_on(page, "#round-start")
        expect(page.locator("main")).to_contain_text("documents are verified")
        press_on(page, "#confirm")
        expect(page.locator("#rounds")).to_contain_text("A round waits for a train worker")
        assert round_queued(site.redis, site.project.id)
        press_on(page, "#round-stop")
        expect(page.locator("main")).to_contain_text("has not begun")
        press_on(page, "#cancel")
        assert round_queued(site.redis, site.project.id)
        press_on(page, "#round-stop")
        press_on(page, "#confirm")
        expect(page.locator("#round-start")).to_be_visible()
        assert not round_queued(site.redis, site.project.id)


def look(page: Page) -> None:
    """As when a person comes back to the page: it looks at once."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_what_changes_is_shown_and_said_without_a_reload(site: Served, browser: Browser) -> None:
    record = RoundRecord(ROUND, site.project.id, RoundState.RUNNING, 160, 128, 32, started_at=datetime.now(UTC))
    with logged_in(browser, "operator") as page:
        page.goto(site.page)
        page.evaluate("window.loaded = true")
        page.locator("#rollback").focus()
        save_round(rounds_folder(site.project.home, site.project.id), record)
        enqueue_round(site.redis, site.project)
        with working(site.redis):
            put_round_progress(site.redis, site.project.id, {"stage": "train", "step": 3, "steps": 90, "loss": 0.25})
            expect(page.locator("#rounds")).to_contain_text("Step 3 of 90, loss 0.25", timeout=SOON)
            expect(page.locator("#news")).to_contain_text("round train")
            put_round_progress(site.redis, site.project.id, {"stage": "train", "step": 4, "steps": 90, "loss": 0.24})
            look(page)
            expect(page.locator("#rounds")).to_contain_text("Step 4 of 90", timeout=SOON)
        assert page.evaluate("window.loaded") is True
        assert page.evaluate("document.activeElement.id") == "rollback"
        assert page.evaluate(FAULTS) == []


def test_a_server_that_is_away_is_told(site: Served, browser: Browser) -> None:
    with logged_in(browser, "viewer") as page:
        page.goto(site.page)
        page.route("**/live", lambda route: route.abort("connectionrefused"))
        look(page)
        expect(page.locator("#connection")).to_contain_text("Winnow does not answer since", timeout=SOON)
        page.unroute("**/live")
        look(page)
        expect(page.locator("#connection")).to_be_hidden(timeout=SOON)
