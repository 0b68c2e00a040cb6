"""`winnow reproduce`: an adapter built again from its manifest, and compared with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from trainer.logs import settings_and_log, stderr

if TYPE_CHECKING:
    from trainer.reproduced import Reproduced
    from trainer.reproducing import Reproduction


@click.command()
@click.argument("adapter_id")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to build in; by default below WINNOW_HOME.")
@click.option("--base", help="Folder of the base model, where it does not lie where the manifest says.")
@click.option("--tolerance", type=click.FloatRange(0), default=0.0, show_default=True,
              help="Relative difference of the weights that is no failure; 0 asks for the same bits.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def reproduce(
    context: click.Context, adapter_id: str, out: Path | None, base: str | None, tolerance: float, as_json: bool
) -> None:
    """Train an adapter again from what was kept of its training, and compare the two.

    What differs from then, package versions, device, threads or the checkout, is named with what it may change; a base
    model in another state is refused. Both adapters are asked about the holdout. Nothing is published. Ends with 0
    where the weights are the same bit for bit, or within --tolerance, with 1 where they are not. After Ctrl-C the same
    command goes on from the last checkpoint.

    \b
    Example:
      winnow reproduce 3f2a9c41d07be865
    """
    from trainer.reproducing import prepare

    reproduction = prepare(settings_and_log(), adapter_id, base=base, out=out)
    for difference in reproduction.differences:
        click.echo(f"warning: {difference}", err=True)
    result = _run(reproduction, tolerance)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        Console().print(result.as_text())
    context.exit(0 if result.within else 1)


def _run(reproduction: Reproduction, tolerance: float) -> Reproduced:
    from trainer.training_bar import TrainingBar

    try:
        with TrainingBar(stderr, "start") as bar:
            result = reproduction.run(bar.update, tolerance)
            bar.end("done")
    except KeyboardInterrupt:
        click.echo("The same command goes on from where it was.", err=True)
        raise
    return result
