"""The ``winnow`` command. Composes everything; each command loads only what it needs."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from label_configs.errors import WinnowError
from ml_backend.log_events import LogEvent, tell
from ml_backend.log_format import logs_json
from trainer.adapters_command import adapters
from trainer.agreement_command import agreement
from trainer.bulk.commands import classify, codebook
from trainer.candidates_command import candidates
from trainer.curve_command import curve
from trainer.doctor.command import doctor
from trainer.effort_command import effort
from trainer.evaluate_command import evaluate
from trainer.import_command import import_
from trainer.init_command import init
from trainer.logs import settings_and_log
from trainer.password_command import password
from trainer.prelabel_command import prelabel, status
from trainer.pull_command import pull
from trainer.python_version import check_python
from trainer.report_command import report
from trainer.reproduce_command import reproduce
from trainer.review_command import review
from trainer.train_command import train

log = logging.getLogger(__name__)
console = Console()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="label-studio-winnow", prog_name="winnow")
def cli() -> None:
    """Language models propose codes in Label Studio, coders reject the wrong ones, and what they verified trains the
    next model.

    Deployment is set by WINNOW_* environment variables (see ml_backend/docs/settings.md), the experiment by one
    winnow.yaml.

    \b
    Example:
      winnow demo
    """


@cli.command()
def up() -> None:
    """Start Redis, web, workers and scheduler, and stop them together with Ctrl-C.

    One that crashes is started again, after a pause of a second to a minute.

    \b
    Example:
      export WINNOW_LABEL_STUDIO_URL=http://127.0.0.1:8080 WINNOW_LABEL_STUDIO_TOKEN=...
      winnow up
    """
    from ml_backend.labelstudio import LabelStudioClient
    from trainer.first_passwords import first_passwords
    from trainer.up import Installation, check_port, embedded_redis_answers

    settings = settings_and_log()
    LabelStudioClient(settings)  # without a token the workers could do nothing
    if not embedded_redis_answers(settings):  # else it is this folder that is in use, which is told below
        check_port(settings.host, settings.port)
    with Installation(first_passwords(settings, console)) as installation:
        console.print(f"Winnow is up at {settings.backend_url}. Logs: {settings.logs_folder}. Stop with Ctrl-C.")
        installation.wait()
    console.print("Stopped.")


@cli.command()
def serve() -> None:
    """Run the web process alone: what Label Studio calls.

    \b
    Example:
      WINNOW_REDIS_URL=redis://127.0.0.1:6379/0 winnow serve
    """
    from trainer.first_passwords import first_passwords
    from trainer.serving import run_web
    from trainer.up import check_port

    settings = settings_and_log()
    check_port(settings.host, settings.port)  # before anything is written
    run_web(first_passwords(settings, console))


@cli.command()
@click.argument("kind", type=click.Choice(["propose", "train", "scheduler"]))
@click.option("--burst", is_flag=True, help="Stop when the queue is empty (propose, train).")
def worker(kind: str, burst: bool) -> None:
    """Run one worker: propose holds the models, train fine-tunes, scheduler starts rounds that are due.

    \b
    Example:
      winnow worker propose
    """
    settings = settings_and_log()
    if kind == "propose":
        from ml_backend.worker import run_propose_worker

        run_propose_worker(settings, burst=burst)
    elif kind == "train":
        from trainer.worker import run_train_worker

        run_train_worker(settings, burst=burst)
    else:
        from trainer.scheduler import run_until_told

        run_until_told(settings)


cli.add_command(init)


cli.add_command(import_)
cli.add_command(pull)
cli.add_command(password)
cli.add_command(prelabel)
cli.add_command(status)
cli.add_command(train)
cli.add_command(review)
cli.add_command(adapters)
cli.add_command(agreement)
cli.add_command(evaluate)
cli.add_command(effort)
cli.add_command(report)
cli.add_command(reproduce)


cli.add_command(doctor)


@cli.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True,
              help="Where models, documents and servers keep their files.")  # fmt: skip
@click.option("--label-studio", "executable", type=click.Path(path_type=Path),
              default=Path(".venv-label-studio/bin/label-studio"), show_default=True,
              help="The label-studio program to start.")  # fmt: skip
@click.option("--oneshot", is_flag=True, help="Stop by itself at the end.")
def demo(folder: Path, executable: Path, oneshot: bool) -> None:
    """Walk the whole loop with real models, real newswire and a real Label Studio, started here.

    \b
    Example:
      winnow demo --oneshot
    """
    from trainer.demo.walk import run_demo

    settings_and_log()
    run_demo(console, folder, executable, oneshot=oneshot)


cli.add_command(candidates)
cli.add_command(classify)
cli.add_command(codebook)
cli.add_command(curve)


def _fail(message: str) -> NoReturn:
    told = " ".join(line.strip() for line in message.splitlines() if line.strip())
    if logs_json():
        tell(log, LogEvent.COMMAND_FAILED, reason=told)
    else:
        click.echo(f"winnow: {told}", err=True)
    sys.exit(2)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry of the console script: errors are one line on standard error and exit code 2."""
    try:
        check_python()
        code = cli.main(args=arguments, prog_name="winnow", standalone_mode=False)
    except WinnowError as error:
        _fail(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "winnow"
        _fail(f"{error.format_message().rstrip('.')}; see `{path} --help`")
    except click.ClickException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        click.echo("winnow: stopped", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
