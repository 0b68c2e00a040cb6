"""`winnow train`: a round of a project, or on a plain file of verified documents."""

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
    from trainer.example_report import ExampleReport
    from trainer.offline import PreparedTraining, Result

FILE = click.Path(path_type=Path)
ALWAYS, ROUNDS = {"examples", "project_id", "dry_run"}, {"wait", "stop"}


@click.command()
@click.option("--project", "project_id", type=int, help="Label Studio's project id; its verified documents are read.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Show progress until the round has ended.")
@click.option("--stop", is_flag=True, help="With --project: have its round end at its next step, to go on later.")
@click.option("--examples", type=FILE, help="Train on this file of verified documents instead of a project.")
@click.option("--codebook", help="With --examples: a codebook file, or the name of a shipped one.")
@click.option("--text-column", default="text", show_default=True, help="With --examples: column or key of the text.")
@click.option(
    "--code-column",
    default="code",
    show_default=True,
    help="With --examples: column or key of the codes, split at | where several may hold, code:level where graded.",
)
@click.option(
    "--id-column",
    help="With --examples: column or key of the identifier; by default id where there is one, else the text's digest.",
)
@click.option(
    "--base",
    help="With --examples: model to train, a folder or a hub name; by default WINNOW_BASE_MODEL, else SmolLM2 (135M).",
)
@click.option(
    "--recipe", default="cpu-small", show_default=True, help="With --examples: a shipped recipe, or a YAML file."
)
@click.option(
    "--holdout-share",
    type=float,
    default=0.2,
    show_default=True,
    help="With --examples: share of the documents that is never trained on, to judge on.",
)
@click.option("--again", is_flag=True, help="With --examples: train anew what was trained before.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Train nothing: show documents per label and side, rare codes, leaks and silver of what would be trained on.",
)
@click.option("--json", "as_json", is_flag=True, help="With --examples or --dry-run: print the result as JSON.")
@ENCODING
@click.pass_context
def train(
    context: click.Context, project_id: int | None, wait: bool, stop: bool, examples: Path | None, codebook: str | None,
    text_column: str, code_column: str, id_column: str | None, base: str | None, recipe: str, holdout_share: float,
    again: bool, dry_run: bool, as_json: bool, encoding: str | None,
) -> None:  # fmt: skip
    """Fine-tune now: a round of a project, or with --examples on a file of verified documents.

    A project's round starts whatever the thresholds say, and goes on where it was stopped. With --examples (.csv, .tsv,
    .json, .jsonl or .parquet) neither Label Studio nor Redis is needed: the adapter is compared with the base model and
    published, whatever the verdict, for `winnow classify --source adapter:<id>`. After Ctrl-C or a crash the same
    command goes on from the last checkpoint.

    \b
    Example:
      winnow train --project 3
      winnow train --project 3 --stop
      winnow train --project 3 --dry-run
      winnow train --examples verified.csv --codebook codebook.yaml --text-column text --code-column code --json
    """
    _check_together(context, project_id, examples)
    if examples is None:
        assert project_id is not None
        if dry_run:
            from trainer.round_examples import RoundExamples

            _show(RoundExamples.of_now(settings_and_log(), project_id).report, as_json=as_json)
            return
        from trainer.work import Work

        work = Work.open(settings_and_log(), project_id, to_train=True)
        if stop:
            work.round.stop(Console(), wait=wait)
        else:
            work.train(Console(), wait=wait)
        return
    from trainer.offline import OfflineTraining, prepare, report
    from trainer.verified_file import VerifiedFile

    file = VerifiedFile(examples, text_column, code_column, id_column, encoding)
    training = prepare(settings_and_log(), OfflineTraining(file, codebook, base, recipe, holdout_share))
    if dry_run:
        _show(training.examples, as_json=as_json)
        return
    result = (None if again else training.earlier()) or _trained(training, again)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        Console().print(report(result))


def _show(report: ExampleReport, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        Console().print(report.as_text())


def _trained(training: PreparedTraining, again: bool) -> Result:
    from trainer.training_bar import TrainingBar

    try:
        with TrainingBar(stderr, "start") as bar:
            result = training.train(bar.update, again=again)
            bar.end("done")
    except KeyboardInterrupt:
        click.echo("Nothing was published. The same command goes on from where it was.", err=True)
        raise
    return result


def _check_together(context: click.Context, project_id: int | None, examples: Path | None) -> None:
    """Raise UsageError unless there is one of --project and --examples, with its own options alone."""
    if (project_id is None) == (examples is None):
        raise click.UsageError("give --project or --examples, one of them: what to train on")
    for parameter in context.command.params:
        name = parameter.name or ""
        if (
            name in ALWAYS
            or (name == "as_json" and context.params["dry_run"])
            or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE
        ):
            continue
        if (name in ROUNDS) != (examples is None):
            other = "--project" if examples else "--examples"
            raise click.UsageError(f"{parameter.opts[0]} goes with {other} only")
