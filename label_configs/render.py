"""A codebook and a review form to Label Studio's label config, and back.

The forms' layout is in ``templates/*.xml``: plain XML in which the attribute ``fill`` marks what is filled in here. All
text goes in as XML nodes, so that nothing in a codebook can break out of its place. Winnow's configs carry the codebook
wholly (label words, the limit of codes and the codebook's name as attributes that Label Studio ignores).
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from label_configs.codebook import Codebook, Kind
from label_configs.forms import ReviewForm, check_form, default_form
from label_configs.read_config import ReadConfig, check_label_config, read_label_config

__all__ = [
    "ReadConfig",
    "ReviewForm",
    "check_label_config",
    "default_form",
    "read_label_config",
    "render_label_config",
]

_TEMPLATES = Path(__file__).parent / "templates"
_QUESTIONS = {
    Kind.EXCLUSIVE: "Which code fits this text?",
    Kind.MULTILABEL: "Which codes fit this text?",
    Kind.GRADED: "Which codes fit this text, and how strongly?",
}


def render_label_config(codebook: Codebook, form: ReviewForm, *, text_key: str = "text") -> str:
    """The label config in which a coder reviews documents, for tasks whose text is under ``text_key``.

    ``read_label_config`` gives an equal codebook back. Raises ConfigError for the form reject with a codebook in which
    several codes may hold.
    """
    check_form(codebook, form)
    root = ElementTree.parse(_TEMPLATES / f"{form}.xml").getroot()
    for element in list(root.iter()):
        fill = element.attrib.pop("fill", "")
        if fill == "root":
            element.set("codebook", codebook.name)
        elif fill == "style":
            element.text = (_TEMPLATES / "review.css").read_text(encoding="utf-8")
        elif fill == "text":
            element.set("value", f"${text_key}")
        elif fill == "question":
            element.set("value", codebook.instruction or _QUESTIONS[codebook.kind])
        elif fill == "limit":
            element.set("value", f"{element.get('value')} {_limit(codebook)}".strip())
        elif fill == "columns" and codebook.levels:
            element.set("className", f"{element.get('className')} winnow-levels-{len(codebook.levels)}")
        elif fill == "codebook":
            _fill_codebook(element, codebook)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _limit(codebook: Codebook) -> str:
    if codebook.kind is Kind.EXCLUSIVE:
        return "(exactly one)"
    if codebook.kind is Kind.GRADED:
        return "(at most one level of each)"
    return f"(at most {codebook.max_codes} in all)" if codebook.max_codes else ""


def _fill_codebook(choices: Element, codebook: Codebook) -> None:
    choices.set("choice", "single" if codebook.kind is Kind.EXCLUSIVE else "multiple")
    if codebook.max_codes is not None:
        choices.set("maxCodes", str(codebook.max_codes))
    if codebook.instruction:
        choices.set("instruction", codebook.instruction)
    for label in codebook.labels:
        code = codebook.code(label.code)
        attributes = {"value": label.name, "alias": label.key, "hint": code.definition, "word": code.word}
        ElementTree.SubElement(choices, "Choice", attributes)
