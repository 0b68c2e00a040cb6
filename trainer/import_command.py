"""`winnow import`: documents of a file become tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ml_backend.row_report import OnError
from trainer.bulk.commands import ENCODING, ON_ERROR
from trainer.logs import settings_and_log, stderr

if TYPE_CHECKING:
    from trainer.importing import Checked, Imported


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--project", "project_id", type=int, required=True, help="Label Studio's project id.")
@click.option("--id-column", default="id", show_default=True, help="Column or key of a document's identifier.")
@click.option("--text-column", default="text", show_default=True, help="Column or key of its text.")
@click.option(
    "--similarity",
    type=click.FloatRange(0.3, 1.0),
    default=0.8,
    show_default=True,
    help="Similarity from which two texts are listed as near duplicates; 1 looks for exact copies alone.",
)
@click.option("--skip-duplicates", is_flag=True, help="Leave out exact copies of a text that is there already.")
@ON_ERROR
@ENCODING
@click.option("--prelabel/--no-prelabel", default=True, show_default=True, help="Have codes proposed at once.")
def import_(
    file: Path, project_id: int, id_column: str, text_column: str, similarity: float, skip_duplicates: bool,
    on_error: str, encoding: str | None, prelabel: bool,
) -> None:  # fmt: skip
    """Import the documents in FILE (.csv, .tsv, .json, .jsonl, .parquet) as tasks; those already there are left out.

    Documents are told apart by their ids. All other columns are kept in the task's data. Documents with the same text,
    or nearly so, are imported and listed. Stopped by whatever, the same command goes on where it was. A Label Studio
    that goes away meanwhile is waited for, and what was on its way is looked for before it is sent again.

    \b
    Example:
      winnow import stories.csv --project 3 --id-column story --text-column body
    """
    from ml_backend.registered_projects import load_project
    from trainer.importing import Importer, Source, check
    from trainer.work import Work

    console, settings = Console(), settings_and_log()
    source = Source(file, id_column, text_column, encoding, OnError(on_error))
    with stderr.status(f"checking {file}"):
        checked = check(source, load_project(settings.home, project_id))
    work = Work.open(settings, project_id)
    importer = Importer(work.client, work.project, similarity=similarity, skip_copies=skip_duplicates)
    for line in _told(importer.run_file(source, checked, stderr), checked, project_id):
        click.echo(line)
    if prelabel:
        work.prelabel(console)


def _told(done: Imported, checked: Checked, project_id: int) -> list[str]:
    from trainer.duplicates import Likeness

    lines = [f"Imported {done.imported} documents into project {project_id}; {done.known} were there already."]
    if checked.skipped:
        lines.append(f"{checked.skipped} rows are no documents and were skipped: {checked.skipped_path}")
    if done.pairs:
        exact, near = done.count(Likeness.EXACT), done.count(Likeness.NEAR)
        out = f" ({done.left_out} left out)" if done.left_out else ""
        lines.append(f"{exact} exact copies{out} and {near} near duplicates are listed: {done.pairs_path}")
    return lines
