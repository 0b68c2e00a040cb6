"""`winnow report`: everything that can be said of a project, as a page, as JSON, as CSV files."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from trainer.logs import settings_and_log

PATH = click.Path(path_type=Path)
STDOUT = "-"


@click.command()
@click.option("--project", "project_id", type=int, required=True, help="Label Studio's project id.")
@click.option("--offline", is_flag=True, help="Use what was read last, without Label Studio.")
@click.option("--html", "page", type=PATH, help="Write one HTML file: plots, tables, methods; prints well.")
@click.option("--json", "data", is_flag=False, flag_value=STDOUT, metavar="[OUT]",
              help="Print the report as JSON instead, or write it to a file.")  # fmt: skip
@click.option("--csv", "csv_folder", type=PATH, help="Write each table and plot to this folder, as CSV.")
@click.option("--gold", type=PATH, help="Truth from a file with columns id and labels, not the coders' consensus.")
@click.option("--by", multiple=True, help="Compare groups of documents by this metadata column; may be repeated.")
@click.option("--samples", type=click.IntRange(100), default=1000, show_default=True, help="Samples of the bootstrap.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
def report(
    project_id: int, offline: bool, page: Path | None, data: str | None, csv_folder: Path | None, gold: Path | None,
    by: tuple[str, ...], samples: int, seed: int,
) -> None:  # fmt: skip
    """Performance, agreement, effort, audits and costs in one report, with a summary in plain words.

    Without --html, --json or --csv only the summary is printed. The same project gives the same report but for the time
    on it. Coders are named where review.show_coder_names is set, else they have pseudonyms. No document's text is
    in it.

    \b
    Example:
      winnow report --project 3 --html report.html
      winnow report --project 3 --offline --json report.json --csv figures
    """
    from ml_backend.atomic import write_atomically
    from trainer.evaluation.console import show_findings
    from trainer.evaluation.options import ReportOptions
    from trainer.evaluation.plain import write_csv
    from trainer.evaluation.study_reading import open_study
    from trainer.evaluation.whole_report import make_report

    settings = settings_and_log()
    study = open_study(settings, project_id, offline=offline, gold=gold)
    options = ReportOptions(samples, seed, settings.home / "projects" / str(project_id), by)
    made = make_report(study, options)
    written: list[str] = []
    if page is not None:
        from trainer.evaluation.page import page_html

        write_atomically(page, page_html(made))
        written.append(str(page))
    if csv_folder is not None:
        files = write_csv(csv_folder, made.sections)
        written.append(f"{csv_folder} ({len(files)} files)")
    if data is not None:
        text = json.dumps(made.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
        if data == STDOUT:
            click.echo(text)
            return
        write_atomically(Path(data), f"{text}\n")
        written.append(data)
    console = Console()
    show_findings(console, made.summary.findings)
    for note in made.summary.notes:
        console.print(note, markup=False)
    if written:
        console.print(f"Written: {', '.join(written)}.", markup=False, soft_wrap=True)
