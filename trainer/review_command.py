"""`winnow review`: what waits for an adjudicator, here and as views of Label Studio's Data Manager."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from label_configs.errors import ConfigError
from trainer.logs import settings_and_log

if TYPE_CHECKING:
    from trainer.adjudication import Adjudication

Row = dict[str, Any]


@click.command()
@click.option("--project", "project_id", type=int, required=True, help="Label Studio's project id.")
@click.option("--unresolved", is_flag=True, help="Only decisions that cannot be used, with the reason.")
@click.option("--ties", is_flag=True, help="Only documents whose coders do not agree.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option(
    "--views/--no-views",
    default=True,
    show_default=True,
    help="Show both lists as tabs in Label Studio: Winnow: ties and Winnow: unresolved.",
)
@click.option(
    "--adjudicator",
    metavar="EMAIL",
    help="Settle first: what this person coded of documents that are undecided otherwise becomes ground truth.",
)
def review(
    project_id: int, unresolved: bool, ties: bool, as_json: bool, views: bool, adjudicator: str | None
) -> None:  # fmt: skip
    """List what waits for an adjudicator: unresolved decisions and ties. None of it is trained on.

    The adjudicator opens the task by its link, or by its tab in Label Studio, duplicates an annotation (or creates
    one), corrects and submits it. With --adjudicator it then counts alone, as ground truth.

    \b
    Example:
      winnow review --project 3 --ties
      winnow review --project 3 --adjudicator lead@example.com
    """
    from ml_backend.labelstudio import LabelStudioClient
    from ml_backend.registered_projects import load_project
    from trainer.adjudication import Adjudication, rulings, show_in_label_studio
    from trainer.verified import read_project

    settings = settings_and_log()
    project = load_project(settings.home, project_id)
    client = LabelStudioClient(settings)
    emails, rule = client.coders(), project.experiment.review.consensus
    decisions = read_project(client, project, annotated_only=True).decisions
    if adjudicator is not None:
        settled = rulings(decisions, project.codebook, rule, coder_of(adjudicator, emails))
        for annotation_id in settled:
            client.set_ground_truth(annotation_id)
        click.echo(f"{len(settled)} of {adjudicator}'s annotations became ground truth.", err=True)
        decisions = [replace(one, ground_truth=one.ground_truth or one.annotation_id in settled) for one in decisions]
    found = Adjudication.of(decisions, project.codebook, rule)
    if views:
        show_in_label_studio(client, project_id, found)
    lists = as_rows(found, f"{client.url}/projects/{project_id}/data?task=", emails)
    if unresolved != ties:
        lists.pop("ties" if unresolved else "unresolved")
    if as_json:
        click.echo(json.dumps(lists, indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(_text(name, rows) for name, rows in lists.items()))


def coder_of(email: str, emails: Mapping[str, str]) -> str:
    """The coder with this email. Raises ConfigError where there is none."""
    for coder, known in emails.items():
        if known.casefold() == email.casefold():
            return coder
    raise ConfigError(f"--adjudicator {email}: Label Studio has no such user; use one of {', '.join(emails.values())}")


def as_rows(found: Adjudication, link: str, emails: Mapping[str, str]) -> dict[str, list[Row]]:
    """Both lists as plain data; ``link`` and a task's id make its address. ``email`` is null where nobody knows it."""

    def coder(name: str) -> Row:
        return {"coder": name, "email": emails.get(name)}

    return {
        "unresolved": [
            {"document": one.document_id, "task": one.task_id, "link": f"{link}{one.task_id}", **coder(one.coder),
             "why": one.why, "repeat": one.repeat}
            for one in found.unresolved
        ],
        "ties": [
            {"document": tie.document_id, "task": tie.task_id, "link": f"{link}{tie.task_id}", "why": tie.why,
             "coders": [{**coder(name), "labels": list(labels)} for name, labels in tie.labels.items()]}
            for tie in found.ties
        ],
    }  # fmt: skip


def _text(name: str, rows: Sequence[Row]) -> str:
    """One list for a terminal. No table: it would break the links."""
    count = f"{len(rows)} " + {
        "unresolved": "decision is unresolved" if len(rows) == 1 else "decisions are unresolved",
        "ties": "document is tied" if len(rows) == 1 else "documents are tied",
    }[name]  # fmt: skip
    lines = [f"{count}{':' if rows else '.'}"]
    for row in rows:
        again = " (shown again)" if row.get("repeat") else ""
        lines += [f"  {row['document']}{again}  {row['link']}", f"    {_said(row)}"]
    return "\n".join(lines)


def _said(row: Row) -> str:
    if "coders" not in row:
        return f"{_name(row)}: {row['why']}"
    said = [f"{_name(one)}: {', '.join(one['labels']) or 'no code'}" for one in row["coders"]]
    return f"{row['why']}: {'; '.join(said)}"


def _name(row: Row) -> str:
    return str(row["email"] or f"coder {row['coder']}")
