"""A project's configuration: label config, adapter, recipe, prompts."""

from __future__ import annotations

from pathlib import Path

from label_configs.codebook import Codebook
from label_configs.errors import LabelConfigError
from label_configs.render import check_label_config, default_form, read_label_config
from label_configs.team_form import FORMS, check_team_config
from ml_backend import adapters, promotions
from ml_backend.experiment import Experiment, Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prompts import Prompt
from ml_backend.training_config import Training
from ml_backend.versions import active_sources
from trainer.doctor.memory import Characters
from trainer.jobs import recipe_of
from trainer.model_files import check_model


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
    current = promotions.current(project.folder)
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
        _ = Prompt(name, codebook, Characters()).tails
    return ", ".join(Path(name).stem for name in names)
