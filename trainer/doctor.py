"""`winnow doctor`: looks at everything that Winnow needs, changes nothing, and says what to mend."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from label_configs.codebook import Codebook
from label_configs.errors import EnvironmentFault, LabelConfigError, LabelStudioError, WinnowError
from label_configs.render import check_label_config, default_form, read_label_config
from label_configs.team_form import FORMS, check_team_config
from ml_backend import adapters, embedded_redis, queue
from ml_backend.experiment import Experiment, Project, load_experiment, load_project, registered
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prompts import Prompt
from ml_backend.settings import SECRETS_FILE, Settings, load_settings, with_secrets
from ml_backend.training_config import Training
from ml_backend.versions import active_sources
from trainer.jobs import recipe_of
from trainer.model_files import check_model, models_of
from trainer.python_version import check_python
from trainer.up import check_port, embedded_redis_answers, local_url, web_answers

PACKAGES = ("torch", "transformers", "peft")
IMPORT_SECONDS = 300.0  # a cold disk takes its time over torch
IMPORTER = """\
import importlib, sys
for name in sys.argv[1:]:
    sys.stdout.write(f"{name} {importlib.import_module(name).__version__}\\n")
"""
OLDEST_LABEL_STUDIO = (1, 20)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, in one line, and what to do about it (empty where there is nothing to do)."""

    name: str
    ok: bool
    what: str
    remedy: str = ""


def examine(config: Path | None, project_id: int | None) -> list[Finding]:
    """Check the installation, all registered projects, and what is named besides. No failure hinders another check.

    What depends on settings that cannot be read, or on a Label Studio that does not answer, is left out.
    """
    findings = [look("python", check_python), look("packages", check_packages)]
    experiment: tuple[Experiment, Codebook] | None = None
    if config is not None:
        findings.append(look("winnow.yaml", partial(_check_config, config)))
        if findings[-1].ok:
            experiment = load_experiment(config)
            findings += _examine_experiment("winnow.yaml", *experiment, config.parent)
    findings.append(look("settings", lambda: f"home folder {load_settings().home}"))
    if findings[-1].ok:
        findings += _examine_installation(load_settings(), project_id, experiment)
    return findings


def look(name: str, check: Callable[[], str]) -> Finding:
    """Run one check: what it returns or raises is a line whose part after the last semicolon is the remedy."""
    try:
        line, ok = check(), True
    except WinnowError as error:
        line, ok = str(error), False
    what, _, remedy = line.rpartition("; ")
    return Finding(name, ok, what, remedy) if what else Finding(name, ok, line)


def findings_table(findings: list[Finding]) -> Table:
    """The findings, wrong ones marked."""
    table = Table()
    for heading in ("check", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")  # a path or a setting's name must stay whole
    for f in findings:
        mark = Text("ok", "green") if f.ok else Text("wrong", "bold red")
        table.add_row(Text(f.name), mark, Text(f.what), Text(f.remedy))
    return table


def _examine_installation(
    settings: Settings, project_id: int | None, experiment: tuple[Experiment, Codebook] | None
) -> Iterator[Finding]:
    yield look("home", partial(check_home, settings))
    yield look("redis", partial(check_redis, settings))
    yield look("web", partial(check_web, settings))
    label_studio = look("label studio", partial(check_label_studio, settings))
    yield label_studio
    client = LabelStudioClient(settings) if label_studio.ok else None
    known = registered(settings.home)
    for identifier in known:
        yield from _examine_project(settings, identifier, client)
    if project_id is not None and project_id not in known and client is not None:
        yield look(f"project {project_id}: label config", partial(check_project, client, project_id, experiment))


def _examine_project(settings: Settings, project_id: int, client: LabelStudioClient | None) -> Iterator[Finding]:
    name = f"project {project_id}"
    yield look(name, lambda: f"codebook {load_project(settings.home, project_id).codebook.name}")
    try:
        project = load_project(settings.home, project_id)
    except WinnowError:
        return  # said above
    yield from _examine_experiment(name, project.experiment, project.codebook, project.folder)
    yield look(f"{name}: adapter", partial(check_adapter, project))
    if client is not None:
        expected = (project.experiment, project.codebook)
        yield look(f"{name}: label config", partial(check_project, client, project_id, expected))


def _examine_experiment(name: str, experiment: Experiment, codebook: Codebook, folder: Path) -> Iterator[Finding]:
    if experiment.training:
        yield look(f"{name}: recipe", partial(check_recipe, experiment.training))
    yield look(f"{name}: prompts", partial(check_prompts, experiment, codebook))
    for model in models_of(experiment):
        yield look(f"{name}: model {Path(model).name}", partial(check_model, model, folder))


def check_packages(names: tuple[str, ...] = PACKAGES) -> str:
    """Import the model libraries in a process of their own, where a broken one does no harm; their versions."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", IMPORTER, *names], capture_output=True, text=True, timeout=IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired:
        told = f"{', '.join(names)}: not imported within {IMPORT_SECONDS:.0f} s"
        raise EnvironmentFault(f"{told}; see whether the disk or a network folder is slow") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        raise EnvironmentFault(f"{lines[-1]}; install Winnow's dependencies again (`make venv`)")
    return ", ".join(done.stdout.splitlines())


def check_home(settings: Settings) -> str:
    """That the home folder can be written, or made, and that its secrets can be read."""
    home = settings.home
    place = next(p for p in (home, *home.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        exists = (home / SECRETS_FILE).exists()
    except OSError as error:
        raise EnvironmentFault(
            f"{place}: cannot be written ({error.strerror}); set WINNOW_HOME to a folder of yours"
        ) from None
    if exists:
        with_secrets(settings)
    return str(home) if home.exists() else f"{home}: will be made"


def check_redis(settings: Settings) -> str:
    """That the configured Redis answers; where none is configured, that the embedded one runs on this machine."""
    if settings.redis_url is not None:
        queue.connect(settings).close()
        return "WINNOW_REDIS_URL answers"
    server = " ".join(embedded_redis.version().split()[:3])
    if embedded_redis_answers(settings):
        return f"embedded {server}, running"
    return f"embedded {server}, not running; start with `winnow up`"


def check_web(settings: Settings) -> str:
    """That Winnow's web process answers under its address, or that its port is free."""
    local = local_url(settings)
    if not web_answers(local):
        check_port(settings.host, settings.port)
        return f"not running, {settings.host}:{settings.port} is free; start with `winnow up`"
    if settings.public_url is not None and not web_answers(settings.public_url):
        raise EnvironmentFault(
            f"runs at {local}, but no answer at {settings.public_url}; set WINNOW_PUBLIC_URL to an address under which "
            "Label Studio reaches it"
        )
    return f"running at {settings.backend_url}"


def check_label_studio(settings: Settings) -> str:
    """That Label Studio answers, accepts the token, and is new enough."""
    version = LabelStudioClient(settings).version()
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or tuple(map(int, found.groups())) < OLDEST_LABEL_STUDIO:
        oldest = ".".join(map(str, OLDEST_LABEL_STUDIO))
        raise LabelStudioError(f"{settings.label_studio_url}: is release {version}; upgrade it to {oldest} or newer")
    return f"{settings.label_studio_url}: release {version}"


def check_project(client: LabelStudioClient, project_id: int, expected: tuple[Experiment, Codebook] | None) -> str:
    """That the project's label config can be read, and asks for the expected codebook where there is one."""
    xml = client.label_config(project_id)
    read = read_label_config(xml)
    if expected is not None:
        experiment, codebook = expected
        if read.form is None and experiment.review.form in FORMS:
            check_team_config(xml, codebook)
        else:
            check_label_config(xml, codebook, experiment.review.form or default_form(codebook))
        if read.text_key != experiment.text:
            raise LabelConfigError(
                f"label config: shows the task key {read.text_key!r}, winnow.yaml says {experiment.text!r}; "
                f"write `text: {read.text_key}`"
            )
    return f"{len(read.codebook.labels)} labels, text under {read.text_key!r}"


def check_adapter(project: Project) -> str:
    """That the project's current adapter is intact, fits its codebook, and has its base model."""
    current = adapters.current(project.folder)
    if current is None:
        return "none promoted yet"
    adapter = adapters.store_of(project.home).get(current)
    check_model(active_sources(project, adapter)[-1].config.model)
    return f"{current} is intact"


def check_recipe(training: Training) -> str:
    """That the recipe exists and its overrides can be."""
    return f"{Path(training.recipe).stem}, digest {recipe_of(training).digest}"


def check_prompts(experiment: Experiment, codebook: Codebook) -> str:
    """That every prompt in use exists and can be written for the codebook."""
    names = [s.prompt for s in experiment.sources]
    if experiment.training:
        names.append(recipe_of(experiment.training).prompt)
    names = list(dict.fromkeys(names))
    for name in names:
        _ = Prompt(name, codebook, _Characters()).tails
    return ", ".join(Path(name).stem for name in names)


class _Characters:
    """A tokenizer that stands in for any model's: a prompt is written, and nothing has to be loaded for it."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) for character in text]}


def _check_config(config: Path) -> str:
    experiment, codebook = load_experiment(config)
    return f"{len(experiment.sources)} sources, codebook {codebook.name} with {len(codebook.labels)} labels"
