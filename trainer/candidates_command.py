"""`winnow candidates`: what the candidate rule costs and holds, on verified documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from rich.console import Console

from trainer.bulk.commands import ENCODING
from trainer.logs import settings_and_log, stderr

if TYPE_CHECKING:
    from trainer.candidate_sample import Sample

FILE = click.Path(path_type=Path)
OF_FILES = ("examples", "text_column", "code_column", "id_column", "encoding")
OF_CURVE = ("out",)


@click.command()
@click.option("--project", "project_id", type=int, help="Label Studio's project id; its verified documents are read.")
@click.option("--config", type=FILE, help="A winnow.yaml, whose sources propose for the documents of --examples.")
@click.option("--examples", type=FILE, help="With --config: a file of verified documents.")
@click.option("--text-column", default="text", show_default=True, help="With --examples: column or key of the text.")
@click.option(
    "--code-column",
    default="code",
    show_default=True,
    help="With --examples: column or key of the codes, split at | where several may hold, code:level where graded.",
)
@click.option("--id-column", help="With --examples: column or key of the identifier; by default id where there is one.")
@click.option("--curve", is_flag=True, help="Compare other rules (top_k, floor, max) as well, and draw them.")
@click.option("--out", type=FILE, default=Path("candidates.png"), show_default=True, help="With --curve: the plot.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@ENCODING
@click.pass_context
def candidates(
    context: click.Context, project_id: int | None, config: Path | None, examples: Path | None, text_column: str,
    code_column: str, id_column: str | None, curve: bool, out: Path, as_json: bool, encoding: str | None,
) -> None:  # fmt: skip
    """Show how often the true codes are among the candidates, and how many candidates a coder judges for it.

    Asked of a project's verified documents, holdout included, or of a file's: its documents are proposed for by the
    sources of --config, and what they propose is kept, so that the next run takes seconds.

    \b
    Example:
      winnow candidates --curve --project 3
      winnow candidates --curve --config winnow.yaml --examples verified.csv --code-column topic --out candidates.png
    """
    _check_together(context, project_id, config, examples, curve=curve)
    from trainer.candidate_curve import candidate_curve
    from trainer.candidate_sample import sample_of_file, sample_of_project
    from trainer.candidate_tables import curve_table, draw_curve, picture_form

    settings = settings_and_log()
    if curve:
        picture_form(out)  # before minutes of proposing
    if project_id is not None:
        from ml_backend.labelstudio import LabelStudioClient
        from ml_backend.registered_projects import load_project
        from trainer.verified import read_project

        project = load_project(settings.home, project_id)
        reading = read_project(LabelStudioClient(settings), project, annotated_only=True)
        sample = sample_of_project(project, reading)
    else:
        from trainer.verified_file import VerifiedFile

        assert config is not None
        assert examples is not None
        file = VerifiedFile(examples, text_column, code_column, id_column, encoding)
        sample = sample_of_file(settings, config, file, stderr)
    points = candidate_curve(sample.documents, sample.codebook, sample.rule, sample.weights, sweep=curve)
    if curve:
        draw_curve(points, out, sample.title)
    if as_json:
        click.echo(json.dumps({**_facts(sample), "points": [point.as_json() for point in points]}, indent=2))
        return
    Console().print(curve_table(points, sample.title))
    for note in [*sample.notes, *([f"The plot is in {out}."] if curve else [])]:
        click.echo(note)


def _facts(sample: Sample) -> dict[str, object]:
    return {"title": sample.title, "sources": list(sample.sources), "notes": list(sample.notes)}


def _check_together(
    context: click.Context, project_id: int | None, config: Path | None, examples: Path | None, *, curve: bool
) -> None:
    """Raise UsageError unless there is --project, or --config and --examples, with their own options alone."""
    if (project_id is None) == (config is None):
        raise click.UsageError("give --project, or --config with --examples: whose candidates to look at")
    if (config is None) != (examples is None):
        raise click.UsageError("--config and --examples go together: sources, and documents to propose for")
    wrong = (() if examples else OF_FILES, () if curve else OF_CURVE)
    for names, needed in zip(wrong, ("--examples", "--curve"), strict=True):
        for parameter in context.command.params:
            name = parameter.name or ""
            if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{parameter.opts[0]} goes with {needed} only")
