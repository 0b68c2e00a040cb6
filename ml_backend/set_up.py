"""Fit a Label Studio project to an experiment: label config, webhook, ML backend, registration."""

from __future__ import annotations

import logging

from label_configs.codebook import Codebook
from label_configs.errors import CodebookError, LabelConfigError
from label_configs.render import ReviewForm, check_label_config, default_form, read_label_config, render_label_config
from ml_backend.experiment import Experiment, Project, register
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.settings import Settings, with_secrets

log = logging.getLogger(__name__)


def set_up_project(
    settings: Settings,
    client: LabelStudioClient,
    experiment: Experiment,
    codebook: Codebook,
    *,
    project_id: int | None = None,
    title: str = "",
    replace_label_config: bool = False,
) -> Project:
    """Create a project, or fit one that exists; register it; connect webhook and backend. Twice is the same as once.

    The web process must be running, since Label Studio calls it while connecting. An existing label config is kept when
    it is Winnow's form for the same codes; any other is replaced only on request, and never once there are annotations.
    Raises CodebookError or LabelConfigError with the codes that do not match.
    """
    form = experiment.review.form or default_form(codebook)
    config = render_label_config(codebook, form, text_key=experiment.text)
    if project_id is None:
        project_id = client.create_project(title or codebook.name, config, codebook.instruction)
        log.info("created project %s", project_id)
    else:
        _fit_label_config(client, project_id, codebook, form, config, experiment.text, replace_label_config)
    project = register(settings.home, project_id, experiment, codebook)
    connect(settings, client, project_id)
    return project


def _fit_label_config(
    client: LabelStudioClient,
    project_id: int,
    codebook: Codebook,
    form: ReviewForm,
    config: str,
    text_key: str,
    replace: bool,
) -> None:
    found = client.label_config(project_id)
    try:
        check_label_config(found, codebook, form)
        shown = read_label_config(found).text_key
        if shown != text_key:
            raise LabelConfigError(f"its text is ${shown}, winnow.yaml says `text: {text_key}`; make them the same")
    except (CodebookError, LabelConfigError) as error:
        if not replace:
            raise type(error)(
                f"project {project_id}: {error}; --replace-label-config writes Winnow's form instead, "
                "while nothing is annotated"
            ) from None
        if client.annotated_tasks(project_id):
            raise type(error)(
                f"project {project_id}: {error}; it has annotations, so its label config is not replaced: "
                "make a new project"
            ) from None
        client.set_label_config(project_id, config)
        log.info("project %s: label config replaced", project_id)


def connect(settings: Settings, client: LabelStudioClient, project_id: int) -> None:
    """Connect the webhook, then the backend: a backend without a webhook of its URL would get one without a token."""
    settings = with_secrets(settings)
    assert settings.password
    assert settings.webhook_token
    url = settings.backend_url
    client.connect_webhook(project_id, f"{url}/webhook", settings.webhook_token.get_secret_value())
    client.connect_backend(project_id, url, settings.username, settings.password.get_secret_value())
    log.info("project %s: connected to %s", project_id, url)
