"""`winnow prelabel` and `winnow status`: have codes proposed for open tasks, and see how far that has come."""

from __future__ import annotations

import json

import click
from rich.console import Console

from trainer.logs import settings_and_log

PROJECT = click.option("--project", "project_id", type=int, required=True, help="Label Studio's project id.")


@click.command()
@PROJECT
def prelabel(project_id: int) -> None:
    """Have all sources propose for the open tasks and push the predictions to Label Studio.

    Ctrl-C leaves the workers to go on; run again, it goes on watching, and nothing is done twice. A task that a coder
    has open is left alone.

    \b
    Example:
      winnow prelabel --project 3
    """
    from trainer.work import Work

    Work.open(settings_and_log(), project_id).prelabel(Console())


@click.command()
@PROJECT
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every task, instead of tables.")
def status(project_id: int, as_json: bool) -> None:
    """How far a project's last prelabelling and its fine-tuning are, why some of it failed, and the live workers.

    Of the prelabelling: tasks by state. Of a round that trains: step, loss, time left and its log; and the last rounds
    with their verdicts.

    \b
    Example:
      winnow status --project 3
    """
    from ml_backend import queue
    from ml_backend.prelabel_status import PrelabelStatus
    from ml_backend.registered_projects import load_project
    from trainer.prelabelling import NO_WORKER, status_tables
    from trainer.round_status import RoundStatus

    settings = settings_and_log()
    project = load_project(settings.home, project_id)
    redis = queue.connect(settings)
    found, rounds = PrelabelStatus.of(redis, project_id), RoundStatus.of(redis, project)
    if as_json:
        click.echo(json.dumps(found.as_json() | rounds.as_json(), indent=2))
        return
    console = Console()
    console.print(status_tables(found))
    workers = "1 propose worker is" if found.workers == 1 else f"{found.workers} propose workers are"
    console.print(f"{workers} alive." if found.workers else f"{NO_WORKER.capitalize()}.")
    console.print(rounds.as_text())
