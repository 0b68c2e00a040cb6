"""The dashboard of a made-up project, served as ``winnow serve`` does, and what is looked at in each of its pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page
from pydantic import SecretStr
from redis import Redis
from werkzeug.serving import make_server

from label_configs.render import render_label_config
from ml_backend import queue
from ml_backend.app import create_app
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.settings import Settings, with_secrets
from tests.made_project import CODEBOOK, FORM, MadeProject, round_name, train
from trainer.dashboard.blueprint import DASHBOARD_PAGES
from trainer.demo.label_studio import LabelStudioServer
from trainer.rounds import RoundState

PASSWORDS = {"winnow": "account-password", "operator": "operator-password", "viewer": "viewer-password"}

FAULTS = """() => {
  const faults = [];
  const all = (what) => [...document.querySelectorAll(what)];
  const text = (id) => document.getElementById(id)?.textContent;
  const name = (e) => (e.getAttribute("aria-label")
    || (e.getAttribute("aria-labelledby") || "").split(" ").map(text).join(" ")
    || (e.labels && e.labels[0]?.textContent) || e.textContent || "").trim();
  for (const e of all("table")) if (!e.caption?.textContent.trim()) faults.push("table without a caption");
  for (const e of all("th")) if (!e.scope) faults.push("header cell without a scope: " + e.textContent);
  for (const e of all("a, button, summary, progress, input:not([type=hidden]), section, nav, [role=region]"))
    if (!name(e)) faults.push("no name: " + e.outerHTML.slice(0, 80));
  for (const e of all("svg")) if (e.getAttribute("aria-hidden") !== "true" && !(e.querySelector("title") || name(e)))
    faults.push("svg without a title");
  for (const what of ["main", "h1", "header"]) if (all("body > .report > " + what + ", " + what).length < 1)
    faults.push("no " + what);
  if (all("main").length !== 1 || all("h1").length !== 1) faults.push("not one main and one h1");
  let level = 0;
  for (const e of all("h1, h2, h3, h4")) {
    const now = Number(e.tagName[1]);
    if (now > level + 1) faults.push("heading skips a level: " + e.textContent);
    level = now;
  }
  const ids = all("[id]").map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) faults.push("id twice: " + id);
  for (const e of all("a[href^='#']")) if (!document.getElementById(decodeURIComponent(e.hash.slice(1))))
    faults.push("link to nowhere: " + e.hash);
  for (const e of all("[aria-labelledby]")) for (const id of e.getAttribute("aria-labelledby").split(" "))
    if (!document.getElementById(id)) faults.push("labelled by nothing: " + id);
  if (!document.documentElement.lang || !document.title) faults.push("no language or no title");
  return [...new Set(faults)];
}"""
"""What a screen reader's user would stumble over."""

FAINT = """() => {
  const part = (value) => { const v = value / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const found = numbers(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] > 0.99) return found;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll("body *:not(svg *):not(script)")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest("details:not([open])") && e.tagName !== "SUMMARY") continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faint.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${e.textContent.trim().slice(0, 30)}`);
  }
  return [...new Set(faint)].slice(0, 10);
}"""
"""Texts of a contrast below 4.5 (WCAG 2.2, success criterion 1.4.3)."""


@dataclass(frozen=True)
class Served:
    """A project and the address of its dashboard."""

    settings: Settings
    redis: Redis
    client: LabelStudioClient
    project: Project
    adapters: tuple[str, ...]
    first_round: str

    @property
    def url(self) -> str:
        """Of the dashboard."""
        return f"{self.settings.backend_url}/dashboard"

    @property
    def page(self) -> str:
        """Of the project."""
        return f"{self.url}/projects/{self.project.id}"


@contextmanager
def served(label_studio: LabelStudioServer, home: Path, redis_url: str, made: MadeProject) -> Iterator[Served]:
    """A project with three rounds and their adapters, of which the second is current, and its pages."""
    settings = with_secrets(
        Settings(
            home=home, redis_url=SecretStr(redis_url), label_studio_url=label_studio.url,
            label_studio_token=SecretStr(label_studio.token()), password=SecretStr(PASSWORDS["winnow"]),
            operator_password=SecretStr(PASSWORDS["operator"]), viewer_password=SecretStr(PASSWORDS["viewer"]),
        )
    )  # fmt: skip
    client = LabelStudioClient(settings)
    made.id = client.create_project("Reuters", render_label_config(CODEBOOK, FORM), CODEBOOK.instruction)
    project = made.make()
    first, second, third = (made.coded * share // 100 for share in (25, 55, 65))
    rounds = ((first, RoundState.PROMOTED, 0.783, 0.412), (second, RoundState.PROMOTED, 0.861, 0.783),
              (third, RoundState.KEPT, 0.866, 0.861))  # fmt: skip
    ids = tuple(
        train(project, home / f"work-{verified}", verified, state, new=new, before=before)
        for verified, state, new, before in rounds
    )
    made.count(project)
    with queue.client(settings) as redis:
        server = make_server("127.0.0.1", 0, create_app(settings, redis, [DASHBOARD_PAGES]), threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        at = settings.model_copy(update={"port": server.server_port})
        yield Served(at, redis, client, project, ids, round_name(first))
        server.shutdown()
        thread.join()


@contextmanager
def logged_in(browser: Browser, user: str, **options: Any) -> Iterator[Page]:
    """A page of a user; nothing that it says on the console is let pass."""
    login = {"username": user, "password": PASSWORDS[user], "send": "always"}
    size = {"viewport": {"width": 1280, "height": 720}} | options
    with browser.new_context(http_credentials=login, **size) as context:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page
        assert not [one for one in said if "ERR_CONNECTION_REFUSED" not in one]
