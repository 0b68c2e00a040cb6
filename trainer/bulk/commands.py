"""The commands for plain files: `winnow classify`, `winnow codebook from-data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ml_backend.row_report import OnError
from trainer.logs import settings_and_log, stderr

if TYPE_CHECKING:
    from ml_backend.classifying import ClassifySpec
    from ml_backend.experiment import Priority
    from ml_backend.settings import Settings
    from trainer.bulk.job import BulkJob

FILE = click.Path(path_type=Path)
CHUNKS_AT_ONCE = 4  # sources sort what they are given at once by its length: more documents leave less padding
ENCODING = click.option(
    "--encoding", help="Encoding of a text file, such as latin-1; by default UTF-8, or as its byte order mark says."
)
ON_ERROR = click.option(
    "--on-error",
    type=click.Choice([one.value for one in OnError]),
    default=OnError.STOP.value,
    show_default=True,
    help="What to do about a malformed row: stop before anything is done, or skip it and list it in a table.",
)


@click.command()
@click.argument("file", type=FILE)
@click.option("--out", type=FILE, required=True, help="File to write; its suffix says in which form.")
@click.option("--codebook", help="A codebook file, or the name of a shipped one.")
@click.option(
    "--source", "names", multiple=True, help="adapter:<id>, or a source of --config or --project; repeatable."
)
@click.option("--config", type=FILE, help="A winnow.yaml with codebook and sources.")
@click.option("--project", "project_id", type=int, help="Classify as this project does: its codebook and sources.")
@click.option("--id-column", default="id", show_default=True, help="Column or key of a document's identifier.")
@click.option("--text-column", default="text", show_default=True, help="Column or key of its text.")
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="Most probable codes to write.")
@ON_ERROR
@ENCODING
@click.option("--workers", "--queue", "use_workers", is_flag=True, help="Have the propose workers do it.")
@click.option("--restart", is_flag=True, help="Begin anew, whatever was done before, and replace the output.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def classify(
    file: Path, out: Path, codebook: str | None, names: tuple[str, ...], config: Path | None, project_id: int | None,
    id_column: str, text_column: str, top: int, on_error: str, encoding: str | None, use_workers: bool, restart: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Classify the documents in FILE (.csv, .tsv, .json, .jsonl, .parquet): one row for each document and source.

    Stopped by whatever, the same command goes on where it was. A manifest beside the output says what was done by what.

    \b
    Example:
      winnow classify new.csv --codebook codebook.yaml --source adapter:3f2a9c41d07be865 --out out.csv
    """
    from trainer.bulk.classify import classify as classify_job
    from trainer.bulk.classify import finished
    from trainer.bulk.engine import Engine, local_engine, queue_engine
    from trainer.bulk.job import BulkJob

    settings = settings_and_log()
    spec = _spec(settings, codebook, names, config, project_id)
    job = BulkJob(
        file, out, spec, id_column=id_column, text_column=text_column, encoding=encoding, on_error=OnError(on_error),
        top=top,
    )  # fmt: skip
    if not restart and (manifest := finished(job)) is not None:
        told = f"{out} is finished: nothing to do. --restart classifies anew."
    else:

        def engine() -> Engine:
            if use_workers:
                return queue_engine(settings, spec, _priority(settings, project_id))
            return local_engine(settings, spec)

        size = settings.chunk_documents * (1 if use_workers else CHUNKS_AT_ONCE)
        manifest = classify_job(job, engine, stderr, chunk_documents=size, restart=restart)
        told = _told(job, manifest["input"]["classified"], manifest["documents_per_second"])
    click.echo(json.dumps(manifest, indent=2, ensure_ascii=False) if as_json else told)


def _spec(
    settings: Settings, codebook: str | None, names: tuple[str, ...], config: Path | None, project_id: int | None
) -> ClassifySpec:
    from label_configs.codebook import load_codebook
    from ml_backend.classifying import resolve
    from ml_backend.experiment import load_experiment
    from ml_backend.registered_projects import load_project

    if config is not None and project_id is not None:
        raise click.UsageError("--config and --project both name sources; give one of them")
    experiment, book = load_experiment(config) if config else (None, None)
    if codebook is not None:
        book = load_codebook(codebook)
    project = None if project_id is None else load_project(settings.home, project_id)
    return resolve(settings.home, codebook=book, experiment=experiment, project=project, names=names)


def _priority(settings: Settings, project_id: int | None) -> Priority:
    """Whose turn the documents have: the project's, else the usual one."""
    from ml_backend.experiment import Priority
    from ml_backend.registered_projects import load_project

    return Priority.NORMAL if project_id is None else load_project(settings.home, project_id).experiment.priority


def _told(job: BulkJob, documents: int, rate: float | None) -> str:
    from trainer.bulk.meter import rate_text

    many = f" by {len(job.spec.sources)} sources" if len(job.spec.sources) > 1 else ""
    speed = f", {rate_text(rate)}" if rate else ""
    return f"Classified {documents} documents{many} into {job.out}{speed}. What was done by what: {job.manifest_path}"


@click.group()
def codebook() -> None:
    """Draft a codebook.

    \b
    Example:
      winnow codebook from-data verified.csv --code-column topic
    """


@codebook.command(name="from-data")
@click.argument("file", type=FILE)
@click.option("--code-column", default="code", show_default=True, help="Column or key of a document's codes.")
@click.option("--text-column", default="text", show_default=True, help="Column or key of its text.")
@click.option("--out", type=FILE, default=Path("codebook.yaml"), show_default=True, help="File to write.")
@click.option("--name", help="Name of the codebook; by default that of the file to write.")
@ON_ERROR
@ENCODING
def from_data(
    file: Path, code_column: str, text_column: str, out: Path, name: str | None, on_error: str, encoding: str | None
) -> None:
    """Draft a codebook from verified documents in FILE: one code for each value of the column, to be edited.

    Where a row has several codes, split at |, several may hold for a document. Definitions are for a person to write;
    the draft says which words are typical of each code's documents.

    \b
    Example:
      winnow codebook from-data verified.csv --code-column topic --out codebook.yaml
    """
    from trainer.bulk.draft import draft_codebook

    settings_and_log()
    draft = draft_codebook(
        file, out, code_column=code_column, text_column=text_column, name=name, encoding=encoding,
        on_error=OnError(on_error),
    )  # fmt: skip
    for warning in draft.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"Drafted {len(draft.codebook.codes)} codes ({draft.codebook.kind}) from {draft.documents} documents into "
        f"{out}. Write their definitions before you use it."
    )
