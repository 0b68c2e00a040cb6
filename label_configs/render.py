"""A codebook and a review form to Label Studio's label config, and back.

The forms' layout is in ``templates/*.xml``: plain XML in which the attribute ``fill`` marks what is filled in here. All
text goes in as XML nodes, so that nothing in a codebook can break out of its place. Winnow's configs carry the codebook
wholly (label words, the limit of codes and the codebook's name as attributes that Label Studio ignores).
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from label_configs.codebook import Codebook, Kind
from label_configs.forms import SLOTS, ReviewForm, check_form, default_form
from label_configs.literal import to_literal
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

    ``read_label_config`` gives an equal codebook back. Raises ConfigError for a form that cannot ask what the
    codebook needs.
    """
    check_form(codebook, form)
    root = ElementTree.parse(_TEMPLATES / f"{form}.xml").getroot()  # nosec B314 # a file of this package
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in list(root.iter()):
        fill = element.attrib.pop("fill", "")
        if fill == "root":
            element.set("codebook", codebook.name)
            element.set("form", form.value)
        elif fill == "style":
            element.text = (_TEMPLATES / "review.css").read_text(encoding="utf-8")
        elif fill == "text":
            element.set("value", f"${text_key}")
        elif fill == "question":
            element.set("value", to_literal(codebook.instruction or _QUESTIONS[codebook.kind]))
        elif fill == "limit":
            element.set("value", f"{element.get('value')} {_limit(codebook)}".strip())
        elif fill == "columns" and codebook.levels:
            element.set("className", f"{element.get('className')} winnow-levels-{len(codebook.levels)}")
        elif fill == "slots":
            _fill_slots(parents[element], element)
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


def _fill_slots(parent: Element, first: Element) -> None:
    """A copy of a slot for each code that may be among the candidates."""
    parent.remove(first)
    for number in range(SLOTS):
        slot = deepcopy(first)
        for element in slot.iter():
            element.attrib = {name: value.replace("{{number}}", str(number)) for name, value in element.items()}
        parent.append(slot)


def _fill_codebook(choices: Element, codebook: Codebook) -> None:
    """The whole codebook: one choice for each label, in a Taxonomy the levels below their codes."""
    tree = choices.tag == "Taxonomy"
    if not tree:
        choices.set("choice", "single" if codebook.kind is Kind.EXCLUSIVE else "multiple")
    if codebook.max_codes is not None:
        choices.set("maxCodes", str(codebook.max_codes))
    if codebook.instruction:
        choices.set("instruction", codebook.instruction)
    if tree:
        for code in codebook.codes:
            attributes = {"value": to_literal(code.name), "alias": code.key, "hint": code.definition, "word": code.word}
            branch = ElementTree.SubElement(choices, "Choice", attributes)
            for label in (label for label in codebook.labels if label.code == code.key):
                ElementTree.SubElement(branch, "Choice", {"value": to_literal(label.level or ""), "alias": label.key})
        return
    for label in codebook.labels:
        code = codebook.code(label.code)
        attributes = {"value": to_literal(label.name), "alias": label.key, "hint": code.definition, "word": code.word}
        ElementTree.SubElement(choices, "Choice", attributes)
