"""`winnow agreement`: how far coders agree, with each other, with the sources and with themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from rich.console import Console

from trainer.bulk.commands import ENCODING
from trainer.logs import settings_and_log

if TYPE_CHECKING:
    from trainer.evaluation.blocks import Section

FILE = click.Path(path_type=Path)
OF_FILE = ("unit", "coder", "value", "source", "document", "kept", "encoding")
OF_PROJECT = ("offline", "by_week")


@click.command()
@click.option("--project", "project_id", type=int, help="Label Studio's project id.")
@click.option("--offline", is_flag=True, help="With --project: as it was read last, without a connection.")
@click.option("--by-week", is_flag=True, help="With --project: agreement week by week as well, and whether it drifts.")
@click.option("--decisions", type=FILE, help="A file of decisions (.csv, .tsv, .json, .jsonl, .parquet) instead.")
@click.option("--unit", default="id", show_default=True,
              help="With --decisions: column of what is decided on; several with commas between.")  # fmt: skip
@click.option("--coder", default="coder", show_default=True, help="With --decisions: column of who decided.")
@click.option("--value", default="value", show_default=True, help="With --decisions: column of the decision.")
@click.option("--source", help="With --decisions: column of who proposed it; llm, source or model where there is one.")
@click.option("--document", help="With --decisions: column of what intervals draw as one; an id among the units.")
@click.option("--kept", help="With --decisions: the value that means kept; by default Y, yes, true, 1, kept, accepted.")
@click.option("--samples", type=click.IntRange(0, 100_000), default=1000, show_default=True,
              help="Samples of the bootstrap for intervals; 0 for none.")  # fmt: skip
@click.option("--csv", "folder", type=FILE, help="Write every table into this folder as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@ENCODING
@click.pass_context
def agreement(
    context: click.Context, project_id: int | None, offline: bool, by_week: bool, decisions: Path | None, unit: str,
    coder: str, value: str, source: str | None, document: str | None, kept: str | None, samples: int,
    folder: Path | None, as_json: bool, encoding: str | None,
) -> None:  # fmt: skip
    """Show how far coders agree: percent, Cohen's, Fleiss' and Gwet's coefficients, Krippendorff's alpha, intervals.

    Of a project: overall, every pair of coders and sources, about each code with documents to look at, of coders with
    themselves, and where candidates were shown against where they were not; then the coders' quality, and likely label
    errors. Of a file of decisions, one in each row: the last decision of a coder on a unit counts.

    \b
    Example:
      winnow agreement --project 3
      winnow agreement --decisions decisions.csv --unit id,code --coder coder --value accepted --json
    """
    _check_together(context, project_id, decisions)
    if decisions is not None:
        from trainer.evaluation.agreement_file import file_agreement
        from trainer.evaluation.decisions_file import Columns, read_decisions

        units = tuple(dict.fromkeys(name.strip() for name in unit.split(",") if name.strip()))
        if not units:
            raise click.UsageError("--unit names no column; give one, or several with commas between")
        columns = Columns(units, coder, value, source, document, kept)
        found = file_agreement(read_decisions(decisions, columns, encoding=encoding), samples=samples)
        _show([found.section()], folder, found.as_json() if as_json else None)
        return
    assert project_id is not None
    from trainer.evaluation.agreement import agreement_sections
    from trainer.evaluation.coder_table import coder_section
    from trainer.evaluation.label_errors import label_error_section
    from trainer.evaluation.options import ReportOptions
    from trainer.evaluation.plain import sections_json
    from trainer.evaluation.study_reading import open_study

    settings = settings_and_log()
    study = open_study(settings, project_id, offline=offline)
    options = ReportOptions(samples=samples, folder=settings.home / "projects" / str(project_id))
    sections = [one for one in agreement_sections(study, options) if by_week or one.key != "agreement-time"]
    sections += [coder_section(study, options), label_error_section(study, options)]
    _show(sections, folder, sections_json(sections) if as_json else None)


def _show(sections: list[Section], folder: Path | None, data: dict[str, object] | None) -> None:
    """Print JSON where there is some, else tables; write the tables into ``folder`` where there is one."""
    from trainer.evaluation.console import show
    from trainer.evaluation.plain import write_csv

    paths = write_csv(folder, sections) if folder is not None else []
    if data is not None:
        click.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))
        return
    show(Console(), sections)
    if paths:
        click.echo(f"{len(paths)} tables are in {folder}.")


def _check_together(context: click.Context, project_id: int | None, decisions: Path | None) -> None:
    """Raise UsageError unless there is one of --project and --decisions, with its own options alone."""
    if (project_id is None) == (decisions is None):
        raise click.UsageError("give --project or --decisions: whose agreement to look at")
    names, needed = (OF_PROJECT, "--project") if project_id is None else (OF_FILE, "--decisions")
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} goes with {needed} only")
