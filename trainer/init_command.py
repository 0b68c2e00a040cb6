"""``winnow init``: create a project, or fit one that exists; what would change is shown first."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from label_configs.errors import ConfigError, EnvironmentFault, LabelConfigError
from label_configs.strictyaml import load_yaml
from ml_backend.settings import Settings
from trainer.logs import settings_and_log

if TYPE_CHECKING:
    from label_configs.codebook import Codebook
    from ml_backend.labelstudio import LabelStudioClient
    from ml_backend.set_up import SetUp

console = Console()


def _renames(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = (part.strip() for part in pair.partition("="))
        if not (old and equals):
            raise click.BadParameter(f"{pair!r} is no OLD=NEW; write the code's key, =, and the key that it has now")
        if names.setdefault(old, new) != new:
            raise click.BadParameter(f"{old} is mapped to {names[old]} and to {new}; leave one")
    return names


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--project", "project_id", type=int, help="Fit this project; without it, one is created.")
@click.option(
    "--codebook", "codebook_file", type=click.Path(path_type=Path),
    help="Codebook instead of the one that CONFIG names; with neither, it is read from the project.",
)  # fmt: skip
@click.option("--title", default="", help="Title of a new project; by default the codebook's name.")
@click.option(
    "--map", "renames", multiple=True, metavar="OLD=NEW", callback=_renames,
    help="A code that has another key in the new codebook; repeatable. OLD= drops one that never holds.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Agree to what would change.")
def init(
    config: Path, project_id: int | None, codebook_file: Path | None, title: str, renames: dict[str, str],
    dry_run: bool, yes: bool,
) -> None:  # fmt: skip
    """Create a project from CONFIG (a winnow.yaml), or fit an existing one, and connect it while `winnow up` runs.

    What would change is shown first. What is not Winnow's own, or was coded, is changed only when you agree. Run again,
    it changes only what has changed, and finds the project that it created from the same CONFIG and title.

    A label config of the team's own stays where something is annotated, or CONFIG says `review: {form: whole}`:
    proposals are ticked in its Choices, and only a hidden record of what was shown is added. Old annotations count.

    \b
    Example:
      winnow init winnow.yaml --title "Newswire, first wave"
      winnow init winnow.yaml --project 3 --map earn=profit --dry-run
    """
    from label_configs.codebook import load_codebook
    from ml_backend.experiment import load_experiment
    from ml_backend.labelstudio import LabelStudioClient
    from ml_backend.plugin_check import checked_plugins
    from ml_backend.set_up import carry_out, not_agreed, plan_set_up
    from trainer.jobs import recipe_of
    from trainer.model_files import check_models, models_of

    settings = settings_and_log()
    given = load_codebook(codebook_file) if codebook_file else None
    if given or project_id is None or _names_codebook(config):
        experiment, codebook = load_experiment(config, given)
        client = LabelStudioClient(settings)
    else:
        client = LabelStudioClient(settings)
        experiment, codebook = load_experiment(config, _codebook_of(client, project_id))
    check_models(models_of(experiment), config.parent)  # what cannot be is said now, not by a worker's log
    checked_plugins(experiment, config)
    if experiment.training:
        recipe_of(experiment.training)
    client.version()
    plan = plan_set_up(settings, client, experiment, codebook, project_id=project_id, title=title, renames=renames,
                       origin=config.resolve())  # fmt: skip
    if project_id is None and plan.project_id is not None:
        console.print(f"Project {plan.project_id} was created from this file before; --title would create another.")
    if dry_run:
        _show(plan)
        return
    if plan.own and not yes and not sys.stdin.isatty():
        raise ConfigError(not_agreed(plan))
    _check_web(settings)
    _show(plan)
    if plan.own and not yes:
        click.confirm("Change this?", abort=True)
    project = carry_out(settings, client, plan, console.print)
    console.print(f"Project {project.id} is connected: {settings.label_studio_url}/projects/{project.id}/data")
    if plan.project_id is not None and (plan.new_codebook or plan.label_config is not None):
        console.print(f"Open tasks are proposed anew by `winnow prelabel --project {project.id}`.")


def _check_web(settings: Settings) -> None:
    """Label Studio would refuse to connect a Winnow that is down, and a half-made project would be left behind."""
    from trainer.up import local_url, web_answers

    if settings.public_url is None and not web_answers(local_url(settings)):
        raise EnvironmentFault(f"no Winnow answers at {settings.backend_url}; start it with `winnow up` first")


def _names_codebook(config: Path) -> bool:
    data = load_yaml(config).data
    return not isinstance(data, dict) or bool(data.get("codebook"))


def _codebook_of(client: LabelStudioClient, project_id: int) -> Codebook:
    from label_configs.render import read_label_config

    try:
        return read_label_config(client.label_config(project_id)).codebook
    except LabelConfigError as error:
        raise LabelConfigError(f"project {project_id}: {error}; or name a codebook with --codebook") from None


def _show(plan: SetUp) -> None:
    """The changes as a table, and the label config's line by line."""
    if not plan.changes:
        console.print("Nothing changes.")
        return
    table = Table(title=f"Project {plan.project_id or '(new)'}", title_justify="left")
    for heading in ("what", "now", "then"):
        table.add_column(heading, overflow="fold")
    for change in plan.changes:
        mark = " (asks first)" if change.own else ""
        table.add_row(
            Text(change.what + mark, "bold yellow" if change.own else ""), Text(change.before), Text(change.after)
        )
    console.print(table)
    for change in plan.changes:
        for line in change.lines:
            console.print(Text(line, {"+": "green", "-": "red"}.get(line[:1], "dim")))
