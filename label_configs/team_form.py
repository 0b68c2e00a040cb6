"""A team's own label config, kept as it is: what it calls its controls and choices.

It asks as the form ``whole`` does: one list of choices, those proposed ticked. All that Winnow adds is its hidden
record of what a coder was shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from label_configs.codebook import Codebook
from label_configs.errors import CodebookError, LabelConfigError
from label_configs.forms import CONTROLS, RECORD_CLASS, SHOWN_NAME
from label_configs.read_config import ReadConfig, read_label_config
from label_configs.strictyaml import build, dump_yaml, load_yaml

FORMS = tuple(form for form, controls in CONTROLS.items() if controls.candidates is None)
"""The forms that a team's own label config can stand for: those that draw nothing from the task's data."""


@dataclass(frozen=True, slots=True)
class TeamForm:
    """The names of the team's text and choices; ``values`` maps each label's key to what results carry for it.

    That is a choice's alias, or its value where it has none.
    """

    text_name: str
    choices_name: str
    values: Mapping[str, str]


def team_form(read: ReadConfig, codebook: Codebook) -> TeamForm:
    """How a label config that is not Winnow's names the labels of a codebook.

    A choice is the label that has its key, else the one whose name is the choice's value. Raises LabelConfigError for a
    config of Winnow's, or one that is filled in differently from document to document; CodebookError where choices and
    labels are not the same.
    """
    if read.form is not None:
        raise LabelConfigError(f"label config: is Winnow's form {read.form}, no team's own; run `winnow init` again")
    if read.obstacle:
        raise LabelConfigError(f"label config: {read.obstacle}")
    if read.codebook.kind is not codebook.kind:
        raise CodebookError(
            f"label config: Choices '{read.choices_name}' is {read.codebook.kind}, codebook {codebook.name} "
            f"{codebook.kind}; say `kind: {read.codebook.kind}` in the codebook, or name none: then it is made of the "
            "choices"
        )
    named = {label.name.strip(): label.key for label in codebook.labels}
    values: dict[str, str] = {}
    strange: list[str] = []
    for label in read.codebook.labels:
        key = label.key if label.key in codebook.label_keys else named.get(label.name)
        if key is None or key in values:
            strange.append(label.name)
        else:
            values[key] = read.values[label.key]
    told = []
    if missing := [key for key in codebook.label_keys if key not in values]:
        told.append(f"lacks the codes {_some(missing)}")
    if strange:
        told.append(f"has the choices {_some(strange)} that the codebook has not")
    if told:
        raise CodebookError(
            f"label config: does not match codebook {codebook.name}: {' and '.join(told)}; give each choice a code "
            "with the same name, or name no codebook: then it is made of the choices"
        )
    return TeamForm(read.text_name, read.choices_name, values)


def check_team_config(xml: str, codebook: Codebook) -> TeamForm:
    """The names in a team's label config. Raises as ``team_form``, and LabelConfigError where the record is gone."""
    read = read_label_config(xml)
    found = team_form(read, codebook)
    if not read.recorded:
        raise LabelConfigError(
            f"label config: lacks the hidden TextArea '{SHOWN_NAME}', the record of what coders were shown; "
            "`winnow init` adds it"
        )
    return found


def with_record(xml: str) -> str:
    """The label config with the hidden record added at its end, all else as it was; itself where it has one.

    Raises LabelConfigError where a control of the team's has the record's name, or the end is not found.
    """
    read = read_label_config(xml)
    if read.recorded:
        return xml
    if read.record_name_taken:
        raise LabelConfigError(
            f"label config: has a control '{SHOWN_NAME}', the name of Winnow's record of what coders were shown; "
            "rename that control"
        )
    end = xml.rfind("</")
    area = f"<TextArea name={quoteattr(SHOWN_NAME)} toName={quoteattr(read.text_name)}/>"
    made = f'{xml[:end]}  <View className="{RECORD_CLASS}" style="display:none">{area}</View>\n{xml[end:]}'
    if not read_label_config(made).recorded:
        raise LabelConfigError("label config: ends in a comment with a tag; remove the comment")
    return made


def dump_team_form(team: TeamForm) -> str:
    """The names as YAML; ``load_team_form`` makes equal ones of it."""
    return dump_yaml(asdict(team))


def load_team_form(path: Path) -> TeamForm:
    """The names that ``dump_team_form`` wrote; raises ConfigError with file, line and remedy."""
    source = load_yaml(path)
    return build(TeamForm, source.data, source=source)


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 10 else f"{', '.join(names[:10])} and {len(names) - 10} more"
