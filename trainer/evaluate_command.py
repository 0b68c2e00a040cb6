"""`winnow evaluate`: how good sources, adapters and coders are, in a project or in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from trainer.bulk.commands import ENCODING
from trainer.logs import settings_and_log, stderr

if TYPE_CHECKING:
    from trainer.evaluation.blocks import Section
    from trainer.evaluation.options import ReportOptions
    from trainer.evaluation.predictions_file import Columns
    from trainer.evaluation.study import Study

console = Console()

FILE = click.Path(path_type=Path)
OF_PROJECT = ("offline", "gold", "stability", "documents")
OF_FILE = ("truth_column", "prediction_columns", "id_column", "text_column", "separator", "levels", "encoding")
LONG = ("performance_codes", "confusion", "definitions")  # sections that --codes and --explain ask for
PROJECT_TEXT = "Label Studio's project id."


@click.command()
@click.option("--project", "project_id", type=int, help=PROJECT_TEXT)
@click.option("--offline", is_flag=True, help="With --project: from what was pulled, without Label Studio.")
@click.option("--gold", type=FILE, help="With --project: truth from a file with columns id and labels, not consensus.")
@click.option("--stability", is_flag=True, help="With --project: ask the sources about changed texts as well (slow).")
@click.option("--documents", type=click.IntRange(1), default=100, show_default=True,
              help="With --stability: ask about so many documents.")  # fmt: skip
@click.option("--predictions", type=FILE, help="Instead of a project: a file with truths and predictions.")
@click.option("--truth-column", default="truth", show_default=True, help="With --predictions: column of the truth.")
@click.option("--prediction-column", "prediction_columns", multiple=True, default=("predicted",), show_default=True,
              help="With --predictions: column of predictions; several are compared.")  # fmt: skip
@click.option("--id-column", help="With --predictions: column of ids; by default id where there is one.")
@click.option("--text-column", help="With --predictions: column of texts, which are no metadata.")
@click.option("--separator", default="", help="With --predictions: between several codes in a cell, such as '|'.")
@click.option("--levels", default="", help="With --predictions: levels of code:level from low to high, with commas.")
@click.option("--by", multiple=True, help="Compare groups of documents by this metadata column; may be repeated.")
@click.option("--codes", is_flag=True, help="Print the figures of every code, and what is confused, as well.")
@click.option("--explain", is_flag=True, help="Print what each figure is, and whose it is, as well.")
@click.option("--samples", type=click.IntRange(0), default=1000, show_default=True,
              help="Samples of the bootstrap; 0 for no intervals.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--csv", "csv_folder", type=FILE, help="Write every table to this folder as well, as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@ENCODING
@click.pass_context
def evaluate(
    context: click.Context, project_id: int | None, offline: bool, gold: Path | None, stability: bool, documents: int,
    predictions: Path | None, truth_column: str, prediction_columns: tuple[str, ...], id_column: str | None,
    text_column: str | None, separator: str, levels: str, by: tuple[str, ...], codes: bool, explain: bool,
    samples: int, seed: int, csv_folder: Path | None, as_json: bool, encoding: str | None,
) -> None:  # fmt: skip
    """Measure every source, adapter and coder against the truth, each figure with n and a 95 % interval.

    In a project sources are judged on the verified holdout, coders by the other coders. In a file, a row is a document.

    \b
    Example:
      winnow evaluate --predictions coded.csv --truth-column truth --prediction-column model --json
      winnow evaluate --project 3 --by language --csv figures
    """
    _check_together(context, project_id, predictions, explain=explain)
    from trainer.evaluation.options import ReportOptions

    options = ReportOptions(samples=samples, seed=seed, by=by)
    if project_id is not None:
        found, data = _of_project(
            project_id, options, offline=offline, gold=gold, stability=documents if stability else 0, show=not as_json
        )
    elif predictions is not None:
        from trainer.evaluation.predictions_file import Columns

        chosen = tuple(one.strip() for one in levels.split(",") if one.strip())
        columns = Columns(truth_column, prediction_columns, id_column, text_column, separator, chosen)
        found, data = _of_file(predictions, columns, encoding, options)
    else:
        found, data = [], {}
    _tell(found, data, codes=codes, explain=explain, csv_folder=csv_folder, as_json=as_json)


def _of_project(
    project_id: int, options: ReportOptions, *, offline: bool, gold: Path | None, stability: int, show: bool
) -> tuple[list[Section], dict[str, Any]]:
    """Sections, and the JSON; the table of sources on the holdout is printed where ``show``.

    ``stability`` is the number of documents that sources are asked about with changed texts.
    """
    from dataclasses import replace

    from ml_backend.registered_projects import load_project
    from trainer.evaluation.calibration_plot import calibration_section
    from trainer.evaluation.comparing import comparison_section
    from trainer.evaluation.performance import performance_sections
    from trainer.evaluation.plain import sections_json
    from trainer.evaluation.stability import stability_section
    from trainer.evaluation.study_reading import open_study
    from trainer.evaluation.tables import tables
    from trainer.work import evaluate_study

    settings = settings_and_log()
    project = load_project(settings.home, project_id)
    study = open_study(settings, project_id, offline=offline, gold=gold)
    options = replace(options, folder=project.folder)
    evaluation = evaluate_study(project, study)
    overall, *others = performance_sections(study, options)
    found = [overall, comparison_section(study, options), calibration_section(study, options), *others]
    if stability:
        from trainer.stability_run import measure_stability

        measure_stability(settings, project, study, stderr, documents=stability, seed=options.seed)
        found.append(stability_section(study, options))
    found += _by_group(study, options)
    if show:
        console.print(tables(evaluation))
    return found, evaluation.as_json() | {"sections": sections_json(found)}


def _of_file(
    path: Path, columns: Columns, encoding: str | None, options: ReportOptions
) -> tuple[list[Section], dict[str, Any]]:
    from trainer.evaluation.definitions import definitions_section
    from trainer.evaluation.plain import sections_json
    from trainer.evaluation.predictions_file import read_predictions
    from trainer.evaluation.predictions_report import file_json, file_sections, study_of_file

    file = read_predictions(path, columns, encoding)
    groups = _by_group(study_of_file(file), options) if options.by else []
    found = [*file_sections(file, options), *groups, definitions_section()]
    return found, file_json(file, options) | sections_json(groups)


def _by_group(study: Study, options: ReportOptions) -> list[Section]:
    if not options.by:
        return []
    from trainer.evaluation.subgroups import subgroup_section

    return [subgroup_section(study, options)]


def _tell(
    found: Sequence[Section], data: dict[str, Any], *, codes: bool, explain: bool, csv_folder: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    from trainer.evaluation.console import show
    from trainer.evaluation.definitions import definitions_section
    from trainer.evaluation.plain import write_csv

    if csv_folder is not None:
        written = write_csv(csv_folder, found)
        stderr.print(f"{len(written)} tables are in {csv_folder}.", soft_wrap=True)
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return
    asked = {name for name, on in zip(LONG, (codes, codes, explain), strict=True) if on}
    show(console, [one for one in found if one.key not in LONG or one.key in asked])
    if explain and not found:
        show(console, [definitions_section()])
    if found and not codes:
        stderr.print("--codes prints the figures of every code, --explain what each figure is.")


def _check_together(context: click.Context, project_id: int | None, predictions: Path | None, *, explain: bool) -> None:
    """Raise UsageError unless there is one of --project and --predictions, with its own options alone."""
    if project_id is not None and predictions is not None:
        raise click.UsageError("--project and --predictions exclude each other; give one")
    if project_id is None and predictions is None and not explain:
        raise click.UsageError("give --project, or --predictions with a file: what to evaluate")
    wrong = (() if project_id is not None else OF_PROJECT, () if predictions is not None else OF_FILE)
    for names, needed in zip(wrong, ("--project", "--predictions"), strict=True):
        for parameter in context.command.params:
            name = parameter.name or ""
            if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{parameter.opts[0]} goes with {needed} only")
