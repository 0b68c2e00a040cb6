"""`winnow curve`: what more verified documents would bring."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from rich.console import Console

from trainer.bulk.commands import ENCODING
from trainer.logs import settings_and_log, stderr

if TYPE_CHECKING:
    from ml_backend.settings import Settings
    from trainer.curve_run import Wanted
    from trainer.evaluation.curve_file import Curve
    from trainer.offline import PreparedTraining

FILE = click.Path(path_type=Path)
METRICS = ("accuracy", "macro_f1", "micro_f1", "balanced_accuracy")
OF_BOTH = {"examples", "project_id", "shares", "seeds", "metric", "threshold", "as_json"}


class Shares(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """Whole percents from 1 to 100, separated by commas."""

    name = "percents"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> tuple[int, ...]:
        """The shares, each once, ascending."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() and 1 <= int(part) <= 100 for part in parts):
            self.fail(f"{value!r} are no shares; write whole percents from 1 to 100, such as 10,50,100", param, context)
        return tuple(sorted({int(part) for part in parts}))


@click.command()
@click.option("--project", "project_id", type=int, help="Label Studio's project id; its verified documents are read.")
@click.option("--shares", type=Shares(), default="5,10,25,50,75,100", show_default=True,
              help="Percents of the training documents to train on.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 50), default=3, show_default=True,
              help="Trainings on each share, on other documents and from another start.")  # fmt: skip
@click.option("--metric", type=click.Choice(METRICS), default="macro_f1", show_default=True,
              help="The figure on the holdout that the curve is of.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 100, min_open=True), default=0.5, show_default=True,
              help="Points that 100 documents must bring for coding to go on.")  # fmt: skip
@click.option("--examples", type=FILE, help="Measure on this file of verified documents instead of a project.")
@click.option("--codebook", help="With --examples: a codebook file, or the name of a shipped one.")
@click.option("--text-column", default="text", show_default=True, help="With --examples: column or key of the text.")
@click.option("--code-column", default="code", show_default=True, help="With --examples: column or key of the codes.")
@click.option("--id-column", help="With --examples: column or key of the identifier.")
@click.option("--base", help="With --examples: model to train, a folder or a hub name.")
@click.option("--recipe", default="cpu-small", show_default=True, help="With --examples: a recipe, or a YAML file.")
@click.option("--holdout-share", type=float, default=0.2, show_default=True,
              help="With --examples: share of the documents that is never trained on, to judge on.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the measured curve as JSON.")
@ENCODING
@click.pass_context
def curve(
    context: click.Context, project_id: int | None, shares: tuple[int, ...], seeds: int, metric: str, threshold: float,
    examples: Path | None, codebook: str | None, text_column: str, code_column: str, id_column: str | None,
    base: str | None, recipe: str, holdout_share: float, as_json: bool, encoding: str | None,
) -> None:  # fmt: skip
    """Train on shares of the verified documents, and say what the next 100 would bring and when to stop coding.

    The trainings of a project are jobs of its train workers, after all rounds that wait. All are judged on the same
    holdout, none is published. A training that is done is kept: after Ctrl-C the same command goes on, and further
    shares or seeds train only what is missing.

    \b
    Example:
      winnow curve --project 3
      winnow curve --project 3 --shares 25,50,100 --seeds 5 --metric accuracy
      winnow curve --examples verified.csv --codebook codebook.yaml
    """
    _check_together(context, project_id, examples)
    from trainer.curve_run import Wanted

    settings, wanted = settings_and_log(), Wanted(shares, seeds)
    if examples is None:
        assert project_id is not None
        measured = _of_project(settings, project_id, wanted, metric, threshold / 100)
    else:
        from trainer.offline import OfflineTraining, prepare
        from trainer.verified_file import VerifiedFile

        file = VerifiedFile(examples, text_column, code_column, id_column, encoding)
        training = prepare(settings, OfflineTraining(file, codebook, base, recipe, holdout_share))
        measured = _of_file(settings, training, wanted, metric, threshold / 100)
    _show(measured, as_json=as_json)


def _of_project(settings: Settings, project_id: int, wanted: Wanted, metric: str, threshold: float) -> Curve:
    from ml_backend import queue
    from ml_backend.adapters import store_of
    from ml_backend.registered_projects import load_project
    from trainer.curve_run import QueuedCurve, plan_of_project

    load_project(settings.home, project_id)  # what is unknown is said before anything is asked of others
    redis = queue.connect(settings)
    project, plan = plan_of_project(settings, project_id)
    plan.check()
    plan.begin(store_of(settings.home), metric, threshold)
    return QueuedCurve(redis, project, plan).run(wanted, stderr)


def _of_file(settings: Settings, training: PreparedTraining, wanted: Wanted, metric: str, threshold: float) -> Curve:
    from ml_backend.adapters import store_of
    from trainer.curve_cells import CurvePlan
    from trainer.curve_run import run_here

    plan, store = CurvePlan(training.tuning, training.folder), store_of(settings.home)
    plan.check()
    plan.begin(store, metric, threshold)
    return run_here(plan, wanted, store, stderr)


def _check_together(context: click.Context, project_id: int | None, examples: Path | None) -> None:
    """Raise UsageError unless there is one of --project and --examples, the latter alone with its own options."""
    if (project_id is None) == (examples is None):
        raise click.UsageError("give --project or --examples, one of them: what to train on")
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if examples is None and given and parameter.name not in OF_BOTH:
            raise click.UsageError(f"{parameter.opts[0]} goes with --examples only")


def _show(measured: Curve, *, as_json: bool) -> None:
    from trainer.evaluation.blocks import Table
    from trainer.evaluation.console import show
    from trainer.evaluation.curve import section_of
    from trainer.evaluation.plain import sections_json
    from trainer.evaluation.resampling import SAMPLES

    section = section_of(measured, samples=SAMPLES)
    if as_json:
        click.echo(json.dumps(sections_json([section]), indent=2, ensure_ascii=False))
    else:  # the plot's points stand in the table
        show(Console(), [replace(section, blocks=tuple(one for one in section.blocks if isinstance(one, Table)))])
