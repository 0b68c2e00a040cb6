"""``winnow doctor``: what is wrong, what to do about it, and where documents can go."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from label_configs.errors import EnvironmentFault

console = Console()


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="A winnow.yaml to check as well, models included.")
@click.option("--project", "project_id", type=int, help="A project to check as well.")
@click.option("--json", "as_json", is_flag=True, help="Print findings and places as one JSON object.")
def doctor(config: Path | None, project_id: int | None, as_json: bool) -> None:
    """Check this machine, the installation, Label Studio and all projects; say what to do, and where documents go.

    That is: versions, GPU and driver, free disk and memory for the recipe, Redis, the web process and a webhook sent to
    it, clocks, Label Studio's release and connections, configuration, prompts and model files. Nothing is changed, and
    nothing is loaded. What is left out depends on something that is wrong or does not run.

    \b
    Example:
      winnow doctor --config winnow.yaml
    """
    from trainer.doctor.destinations import destinations_table
    from trainer.doctor.examine import examine
    from trainer.doctor.finding import findings_table

    found = examine(config, project_id)
    if as_json:
        parts = {
            "findings": [asdict(finding) for finding in found.findings],
            "documents_can_go_to": [asdict(place) for place in found.destinations],
        }
        click.echo(json.dumps(parts, indent=2))
    else:
        console.print(findings_table(found.findings))
        if found.destinations:
            console.print(destinations_table(found.destinations))
    if found.wrong:
        names = ", ".join(f.name for f in found.wrong)
        raise EnvironmentFault(
            f"{len(found.wrong)} of {len(found.findings)} checks failed ({names}); do what the table says"
        )
