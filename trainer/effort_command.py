"""`winnow effort`: what coding takes, whether reviewing saves time, and what 1,000 documents cost."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from trainer.logs import settings_and_log


@click.command()
@click.option("--project", "project_id", type=int, required=True, help="Label Studio's project id.")
@click.option("--offline", is_flag=True, help="Use what was read last, without Label Studio.")
@click.option("--samples", type=click.IntRange(100), default=1000, show_default=True,
              help="Bootstrap samples and permutations.")  # fmt: skip
@click.option("--csv", "csv_folder", type=click.Path(path_type=Path), help="Write each table to this folder as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def effort(project_id: int, offline: bool, samples: int, csv_folder: Path | None, as_json: bool) -> None:
    """Seconds and keys per document, rejecting against choosing, rubber-stamping, coders, and costs.

    Times are Label Studio's lead times, outliers trimmed. Label Studio records no keys: shown are the fewest that each
    decision takes. Coders are named where review.show_coder_names is set, else they have pseudonyms.

    \b
    Example:
      winnow effort --project 3
      winnow effort --project 3 --offline --csv effort
    """
    from trainer.evaluation.coder_table import coder_section
    from trainer.evaluation.console import show
    from trainer.evaluation.options import ReportOptions
    from trainer.evaluation.plain import sections_json, write_csv
    from trainer.evaluation.spending_table import cost_section
    from trainer.evaluation.study_reading import open_study
    from trainer.evaluation.working import effort_sections

    settings = settings_and_log()
    study = open_study(settings, project_id, offline=offline)
    options = ReportOptions(samples=samples, folder=settings.home / "projects" / str(project_id))
    sections = (*effort_sections(study, options), coder_section(study, options), cost_section(study, options))
    paths = write_csv(csv_folder, sections) if csv_folder is not None else []
    if as_json:
        click.echo(json.dumps(sections_json(sections), indent=2, ensure_ascii=False, allow_nan=False))
        return
    show(Console(), sections)
    if paths:
        click.echo(f"{len(paths)} tables are in {csv_folder}.")
