"""Whether a project's label config is the team's own and stays, and what Winnow adds to it."""

from __future__ import annotations

from label_configs.codebook import Codebook
from label_configs.errors import CodebookError, LabelConfigError
from label_configs.forms import SHOWN_NAME
from label_configs.render import read_label_config
from label_configs.team_form import FORMS, TeamForm, team_form, with_record
from ml_backend.experiment import Project, Review
from ml_backend.labelstudio_projects import ProjectState

ADDED = (
    f"stays; a hidden TextArea '{SHOWN_NAME}' is added: the record of what coders were shown, without which nobody can "
    "say what they rejected"
)


def own_form(state: ProjectState, known: Project | None, review: Review, codebook: Codebook) -> TeamForm | None:
    """How a label config of the team's own names things, None where Winnow's takes its place.

    It stays where something is annotated, where it stayed before, or where ``review.form`` is one that it can stand
    for. Raises LabelConfigError for annotations under a label config that Winnow cannot fit.
    """
    stays = review.form is not None or state.annotations or (known is not None and known.team is not None)
    if not stays or is_empty(state.label_config) or (review.form is not None and review.form not in FORMS):
        return None
    try:
        read = read_label_config(state.label_config)
        if read.form is not None:
            return None
        with_record(state.label_config)
        return team_form(read, codebook)
    except (CodebookError, LabelConfigError) as error:
        if not state.annotations:
            return None
        why = str(error).removeprefix("label config: ")
        raise LabelConfigError(
            f"project {state.id}: has {state.annotations} annotations under a label config of the team's own that "
            f"Winnow cannot fit: {why}; or make a new project (`winnow init` without --project)"
        ) from None


def is_empty(label_config: str) -> bool:
    """Whether a project has no label config yet: Label Studio gives it an empty view."""
    return label_config.strip().replace(" ", "") in ("", "<View></View>", "<View/>")
