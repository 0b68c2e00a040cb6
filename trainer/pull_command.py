"""`winnow pull`: a project as Parquet files, for work without Label Studio."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trainer.logs import settings_and_log, stderr


@click.command()
@click.option("--project", "project_id", type=int, required=True, help="Label Studio's project id.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: the project's own]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
def pull(project_id: int, out: Path | None, as_json: bool) -> None:
    """Mirror a project's documents, annotations, decisions, predictions and proposals into Parquet files.

    Only what changed since the last pull is read and written. Stopped by whatever, the folder is as it was before, and
    the same command goes on where it was. A Label Studio that goes away meanwhile is waited for. Commands that judge
    read the project's own folder with --offline; pandas and others read each table with its folder's name. The folder
    holds documents and coders' ids: keep it as you keep them.

    \b
    Example:
      winnow pull --project 3
      winnow pull --project 3 --out stories
    """
    from ml_backend.labelstudio import LabelStudioClient
    from ml_backend.registered_projects import load_project
    from trainer.pull import Pull
    from trainer.pulled_folder import PULLED

    settings = settings_and_log()
    project = load_project(settings.home, project_id)
    client = LabelStudioClient(settings, patient=True)
    done = Pull(project, out or project.folder / PULLED, stderr).run(client)
    if as_json:
        told = {"folder": str(done.folder), "counts": done.counts, "blocks": done.blocks, "written": done.written}
        click.echo(json.dumps(told, indent=2))
        return
    numbers = ", ".join(f"{number:,} {name}" for name, number in done.counts.items())
    click.echo(f"Project {project_id} is in {done.folder}: {numbers}.")
    click.echo(f"{done.written} of {done.blocks} blocks of tasks were written anew.")
