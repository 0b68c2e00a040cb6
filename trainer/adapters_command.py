"""`winnow adapters`: what was trained, which adapter proposes, taking one elsewhere, and making room."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console

from trainer.logs import settings_and_log
from trainer.serve_adapter_command import adapters_serve

console = Console()

PROJECT = click.option("--project", "project_id", type=int, required=True, help="Label Studio's project id.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")


@click.group()
def adapters() -> None:
    """List, show, promote, roll back, export, serve or clear away adapters.

    \b
    Example:
      winnow adapters list --project 3
    """


@adapters.command(name="list")
@click.option("--project", "project_id", type=int, help="Only those of this Label Studio project.")
@JSON
def adapters_list(project_id: int | None, as_json: bool) -> None:
    """Adapters in the store, oldest first: round, verdict, figures on the holdout, which are current.

    \b
    Example:
      winnow adapters list --project 3
    """
    from trainer.adapter_list import adapter_rows, adapter_table

    rows = adapter_rows(settings_and_log().home, project_id)
    if as_json:
        click.echo(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        console.print(adapter_table(rows, project_id))


@adapters.command(name="show")
@click.argument("adapter_id")
@JSON
def adapters_show(adapter_id: str, as_json: bool) -> None:
    """What an adapter was made from and how it was judged; all its files are checked.

    \b
    Example:
      winnow adapters show 3f2a9c41d07be865
    """
    from ml_backend.adapters import store_of
    from trainer.adapter_list import adapter_details, check_files

    adapter = store_of(settings_and_log().home).get(adapter_id)
    check_files(adapter)
    if as_json:
        click.echo(json.dumps(dict(adapter.manifest), indent=2))
    else:
        console.print(adapter_details(adapter))


@adapters.command(name="promote")
@click.argument("adapter_id")
@PROJECT
def adapters_promote(adapter_id: str, project_id: int) -> None:
    """Make an adapter the project's current one and propose anew for its open tasks.

    \b
    Example:
      winnow adapters promote 3f2a9c41d07be865 --project 3
    """
    from ml_backend.adapters import store_of
    from ml_backend.registered_projects import load_project
    from trainer.work import Work

    settings = settings_and_log()
    load_project(settings.home, project_id)  # what is unknown is said before anything is asked of Label Studio
    store_of(settings.home).get(adapter_id)
    Work.open(settings, project_id).promote(adapter_id)
    console.print(f"Adapter {adapter_id} is the current one of project {project_id}.")


@adapters.command(name="rollback")
@PROJECT
@click.option("--to", metavar="ID", help="One that was current before, or base; else the one before the current.")
def adapters_rollback(project_id: int, to: str | None) -> None:
    """Return to an adapter that was current before and propose anew for the open tasks.

    \b
    Example:
      winnow adapters rollback --project 3
      winnow adapters rollback --project 3 --to 3f2a9c41d07be865
    """
    from trainer.work import Work

    now = Work.open(settings_and_log(), project_id).roll_back(to)
    console.print(f"Project {project_id} is back at {'adapter ' + now if now else 'its base sources'}.")


@adapters.command(name="export")
@click.argument("adapter_id")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A folder, empty or not there yet.")
@click.option("--merge", is_flag=True, help="Write the base with the adapter merged into its weights.")
def adapters_export(adapter_id: str, out: Path, merge: bool) -> None:
    """Write a Hugging Face folder: the adapter, or with --merge the whole model, and a model card.

    The folder holds no document. With --merge the base is loaded, and the card says how to make a GGUF file of it.

    \b
    Example:
      winnow adapters export 3f2a9c41d07be865 --out reuters-coder --merge
    """
    from ml_backend.adapters import store_of
    from trainer.export import export

    adapter = store_of(settings_and_log().home).get(adapter_id)
    export(adapter, out, merge=merge)
    what = "merged into its base" if merge else "as an adapter"
    console.print(f"{out} holds {adapter_id} {what}; README.md says how to use it.", soft_wrap=True)


@adapters.command(name="gc")
@click.option("--days", type=click.IntRange(0), default=30, show_default=True, help="Keep what is younger.")
@click.option("--keep", type=click.IntRange(0), default=3, show_default=True,
              help="Keep so many of each project's newest, whatever their age.")  # fmt: skip
@click.option("--others", is_flag=True, help="Take those of no project, or of one not registered here, as well.")
@click.option("--yes", is_flag=True, help="Remove them; without it, only say what would go.")
@JSON
def adapters_gc(days: int, keep: int, others: bool, yes: bool, as_json: bool) -> None:
    """Remove adapters that nothing uses, and what crashes left behind for more than a day.

    In use is what any project's history of promotions names, and what any source of a project names. Only projects
    registered here are known: what was trained elsewhere, or from a file, goes with --others alone.

    \b
    Example:
      winnow adapters gc --days 90 --yes
    """
    from trainer.clearing import clear, to_clear

    home, now = settings_and_log().home, datetime.now(UTC)
    found = to_clear(home, older_than=now - timedelta(days=days), now=now, keep=keep, others=others)
    if yes:
        clear(home, found)
    if as_json:
        click.echo(json.dumps([one.as_json() | {"removed": yes} for one in found], indent=2))
        return
    for one in found:
        console.print(f"{one.name}  {one.size / 1e6:.1f} MB  {one.why}", soft_wrap=True)
    total, word = sum(one.size for one in found), "Removed" if yes else "Would remove"
    more = "" if yes or not found else "; --yes removes them"
    console.print(f"{word} {len(found)} of the store, {total / 1e6:.1f} MB{more}.", soft_wrap=True)


adapters.add_command(adapters_serve)
