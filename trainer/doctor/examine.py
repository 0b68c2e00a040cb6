"""All checks in their order. None hinders another; what depends on one that failed is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from label_configs.codebook import Codebook
from label_configs.errors import WinnowError
from ml_backend.experiment import Experiment, Project, load_experiment
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.plugin_check import checked_plugins
from ml_backend.registered_projects import load_project, registered
from ml_backend.secrets_file import SECRETS_FILE
from ml_backend.settings import Settings, load_settings, with_secrets
from ml_backend.source_config import SourceKind
from trainer.doctor.clock import check_clock, label_studio_time, redis_time
from trainer.doctor.destinations import Destination, all_destinations
from trainer.doctor.finding import Finding, look
from trainer.doctor.installation import check_authentication, check_home, check_redis, check_web
from trainer.doctor.label_studio import check_backend, check_label_studio, check_webhook
from trainer.doctor.machine import check_disk, check_gpu, seen_gpus
from trainer.doctor.memory import check_memory
from trainer.doctor.packages import Loaded, check_versions, load_packages
from trainer.doctor.project import check_adapter, check_project, check_prompts, check_recipe
from trainer.doctor.webhook import check_own_webhook
from trainer.model_files import check_model, models_of
from trainer.python_version import check_python
from trainer.up import local_url, web_answers

Expected = tuple[Experiment, Codebook]


@dataclass(frozen=True)
class Examined:
    """What was found, and where documents can go as far as settings and projects can be read."""

    findings: list[Finding]
    destinations: list[Destination]

    @property
    def wrong(self) -> list[Finding]:
        """The findings that need something done."""
        return [finding for finding in self.findings if not finding.ok]


def examine(config: Path | None, project_id: int | None) -> Examined:
    """Check the machine, the installation, all registered projects, and what is named besides."""
    try:
        loaded: Loaded | None = load_packages()
    except WinnowError:
        loaded = None  # said below
    findings = [look("python", check_python), look("versions", check_versions),
                look("packages", lambda: (loaded or load_packages()).told)]  # fmt: skip
    if loaded is not None:
        findings.append(look("gpu", lambda: check_gpu(loaded, seen_gpus())))
    expected: Expected | None = None
    if config is not None:
        findings.append(look("winnow.yaml", partial(_check_config, config)))
        if findings[-1].ok:
            expected = load_experiment(config)
            findings += _examine_experiment("winnow.yaml", *expected, config.parent, loaded)
            findings += _examine_plugins("winnow.yaml", expected[0], config)
    findings.append(look("settings", lambda: f"home folder {load_settings().home}"))
    if not findings[-1].ok:
        return Examined(findings, [])
    settings = load_settings()
    findings += _examine_installation(settings, project_id, expected, loaded)
    named = [("winnow.yaml", expected[0])] if expected else []
    projects = [(str(one.id), one.experiment) for i in registered(settings.home) if (one := _readable(settings, i))]
    return Examined(findings, all_destinations(settings, [*named, *projects]))


def _examine_installation(
    settings: Settings, project_id: int | None, expected: Expected | None, loaded: Loaded | None
) -> Iterator[Finding]:
    yield (home := look("home", partial(check_home, settings)))
    yield look("disk", partial(check_disk, settings))
    yield (redis := look("redis", partial(check_redis, settings)))
    redis_runs = redis.ok and not redis.remedy
    yield (web := look("web", partial(check_web, settings)))
    yield look("authentication", partial(check_authentication, settings))
    secret = _with_known_secrets(settings) if home.ok else None
    runs = web.ok and web_answers(local_url(settings))
    if runs and redis_runs and secret is not None:
        yield look("webhook", partial(check_own_webhook, secret))
    if redis_runs:
        yield look("clock of redis", partial(check_clock, partial(redis_time, settings), "Redis"))
    yield (label_studio := look("label studio", partial(check_label_studio, settings)))
    client = LabelStudioClient(settings) if label_studio.ok else None
    if client is not None:
        ask = partial(label_studio_time, client)
        yield look("clock of label studio", partial(check_clock, ask, "Label Studio"))
    known = registered(settings.home)
    for identifier in known:
        yield from _examine_project(settings, identifier, client, loaded)
        if client is not None and runs and secret is not None:
            yield from _examine_connection(secret, client, identifier)
    if project_id is not None and project_id not in known and client is not None:
        yield look(f"project {project_id}: label config", partial(check_project, client, project_id, expected))


def _examine_project(
    settings: Settings, project_id: int, client: LabelStudioClient | None, loaded: Loaded | None
) -> Iterator[Finding]:
    name = f"project {project_id}"
    yield look(name, lambda: f"codebook {load_project(settings.home, project_id).codebook.name}")
    project = _readable(settings, project_id)
    if project is None:
        return  # said above
    yield from _examine_experiment(name, project.experiment, project.codebook, project.folder, loaded)
    yield from _examine_plugins(name, project.experiment, project.folder / "winnow.yaml")
    yield look(f"{name}: adapter", partial(check_adapter, project))
    if client is not None:
        expected = (project.experiment, project.codebook)
        yield look(f"{name}: label config", partial(check_project, client, project_id, expected))


def _examine_connection(settings: Settings, client: LabelStudioClient, project_id: int) -> Iterator[Finding]:
    name = f"project {project_id}"
    yield look(f"{name}: ML backend", partial(check_backend, settings, client, project_id))
    yield look(f"{name}: webhook", partial(check_webhook, settings, client, project_id))


def _examine_experiment(
    name: str, experiment: Experiment, codebook: Codebook, folder: Path, loaded: Loaded | None
) -> Iterator[Finding]:
    training = experiment.training
    if training:
        yield (recipe := look(f"{name}: recipe", partial(check_recipe, training)))
    yield (prompts := look(f"{name}: prompts", partial(check_prompts, experiment, codebook)))
    whole = True
    for model in models_of(experiment):
        yield (found := look(f"{name}: model {Path(model).name}", partial(check_model, model, folder)))
        whole &= found.ok
    if training and loaded is not None and recipe.ok and prompts.ok and whole:
        yield look(f"{name}: memory", partial(check_memory, training, codebook, loaded.gpus))


def _examine_plugins(name: str, experiment: Experiment, path: Path) -> Iterator[Finding]:
    if any(not isinstance(source.kind, SourceKind) for source in experiment.sources):
        yield look(f"{name}: plug-ins", lambda: ", ".join(map(str, checked_plugins(experiment, path))))


def _readable(settings: Settings, project_id: int) -> Project | None:
    try:
        return load_project(settings.home, project_id)
    except WinnowError:
        return None


def _with_known_secrets(settings: Settings) -> Settings | None:
    """The settings with their secrets; None where none were made yet, for nothing is made here."""
    known = (settings.home / SECRETS_FILE).exists() or (settings.password and settings.webhook_token)
    return with_secrets(settings) if known else None


def _check_config(config: Path) -> str:
    experiment, codebook = load_experiment(config)
    return f"{len(experiment.sources)} sources, codebook {codebook.name} with {len(codebook.labels)} labels"
