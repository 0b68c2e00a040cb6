"""Label Studio's label config to a codebook: Winnow's own configs, and those of existing projects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from label_configs.codebook import Code, Codebook, Kind
from label_configs.codes import LEVEL_MARK, is_key, key_from
from label_configs.errors import CodebookError, LabelConfigError
from label_configs.forms import CANDIDATES_KEY, CONTROLS, SHOWN_NAME, ReviewForm

_LEVEL_IN_NAME = " · "


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """What a label config asks: which task key holds the text, and which codes.

    ``text_name`` and ``choices_name`` are the names of the text and of the control with the whole codebook; ``form`` is
    None when the config is not one of Winnow's.
    """

    text_key: str
    text_name: str
    choices_name: str
    form: ReviewForm | None
    codebook: Codebook


def read_label_config(xml: str) -> ReadConfig:
    """Reads a label config; raises LabelConfigError when it has not one text and one list of codes.

    A choice's key is its alias where it has one, else made of its value; its hint is the code's definition, or its
    value where there is no hint. A single choice makes an exclusive codebook, a multiple one a multilabel codebook.
    """
    root = _parse(xml)
    text = _the_text(root)
    form = _form(root)
    choices = _the_choices(root, text, form)
    try:
        codebook = _codebook(root, choices)
    except CodebookError as problem:
        raise LabelConfigError(f"label config, Choices '{choices.get('name')}': {problem}") from problem
    key = (text.get("value") or "").removeprefix("$")
    return ReadConfig(key, text.get("name", ""), choices.get("name", ""), form, codebook)


def check_label_config(xml: str, codebook: Codebook, form: ReviewForm) -> None:
    """Raises CodebookError when a project's config does not ask for this codebook in this form, naming the codes.

    Raises LabelConfigError when the config cannot be read at all. Names, definitions and order may differ.
    """
    read = read_label_config(xml)
    remedy = "set the project's label config anew, or use the codebook that the project was made with"
    if read.form is not form:
        has = f"the form {read.form}" if read.form else "no review form of Winnow's"
        raise CodebookError(f"label config: has {has} where {form} is expected; {remedy}")
    if read.codebook.kind is not codebook.kind:
        raise CodebookError(
            f"label config: is {read.codebook.kind}, codebook {codebook.name} {codebook.kind}; {remedy}"
        )
    has_keys, wanted = read.codebook.label_keys, codebook.label_keys
    told = []
    if missing := [key for key in wanted if key not in has_keys]:
        told.append(f"lacks the codes {_some(missing)}")
    if extra := [key for key in has_keys if key not in wanted]:
        told.append(f"has the codes {_some(extra)} that the codebook has not")
    if told:
        raise CodebookError(f"label config: does not match codebook {codebook.name}: {' and '.join(told)}; {remedy}")


def _some(keys: list[str]) -> str:
    return ", ".join(keys) if len(keys) <= 10 else f"{', '.join(keys[:10])} and {len(keys) - 10} more"


def _parse(xml: str) -> Element:
    # Entities can be made to expand without end or to read files; no label config needs them.
    if re.search(r"<!(DOCTYPE|ENTITY)", xml, re.IGNORECASE):
        raise LabelConfigError("label config: has a DOCTYPE or ENTITY, remove it")
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as problem:
        line = problem.position[0]
        raise LabelConfigError(
            f"label config:{line}: is not well-formed XML ({problem.msg}); mend this line"
        ) from problem
    except ValueError as problem:
        raise LabelConfigError(
            f"label config: cannot be read ({problem}); give it as text without a declaration"
        ) from problem


def _the_text(root: Element) -> Element:
    texts = list(root.iter("Text"))
    if not texts:
        raise LabelConfigError('label config: has no Text field; add <Text name="text" value="$text"/>')
    if len(texts) > 1:
        names = ", ".join(text.get("name", "?") for text in texts)
        raise LabelConfigError(f"label config: has several Text fields ({names}); leave the one that is to be coded")
    [text] = texts
    if not re.fullmatch(r"\$\S+", text.get("value", "")) or not text.get("name"):
        raise LabelConfigError(
            'label config: its Text needs a name and a task key, as <Text name="text" value="$text"/>'
        )
    return text


def _form(root: Element) -> ReviewForm | None:
    """Which of Winnow's forms a config is, by the names of its controls."""
    choices = {control.get("name"): control for control in root.iter("Choices")}
    if not any(area.get("name") == SHOWN_NAME for area in root.iter("TextArea")):
        return None
    for form, controls in CONTROLS.items():
        if controls.codebook not in choices:
            continue
        if controls.candidates is None:
            return form
        candidates = choices.get(controls.candidates)
        if candidates is not None and candidates.get("value") == f"${CANDIDATES_KEY}":
            return form
    return None


def _the_choices(root: Element, text: Element, form: ReviewForm | None) -> Element:
    """The Choices control that lists the codes of the whole text."""
    controls = [
        control
        for control in root.iter("Choices")
        if control.get("toName") == text.get("name") and control.get("perRegion", "false").lower() != "true"
    ]
    if form:
        controls = [control for control in controls if control.get("name") == CONTROLS[form].codebook]
    if not controls:
        example = f'<Choices name="topic" toName="{text.get("name")}">'
        raise LabelConfigError(f"label config: has no Choices for the text; add {example} with a Choice for each code")
    static = [control for control in controls if control.find(".//Choice") is not None]
    if not static:
        raise LabelConfigError(
            f"label config: Choices '{controls[0].get('name')}' takes its choices from the task and no other lists the "
            "codebook; add Choices with a Choice for each code"
        )
    if len(static) > 1:
        names = ", ".join(control.get("name", "?") for control in static)
        raise LabelConfigError(
            f"label config: has several Choices for the text ({names}); leave the one with the codes"
        )
    [choices] = static
    if choices.find("./Choice/Choice") is not None:
        raise LabelConfigError(f"label config: Choices '{choices.get('name')}' are nested; make them a flat list")
    return choices


def _codebook(root: Element, choices: Element) -> Codebook:
    items = list(choices.iter("Choice"))
    limit = choices.get("maxCodes", "")
    kind = Kind.MULTILABEL if choices.get("choice", "single") == "multiple" else Kind.EXCLUSIVE
    levels: tuple[str, ...] = ()
    if _is_graded(items):
        kind = Kind.GRADED
        levels = tuple(dict.fromkeys(item.get("alias", "").partition(LEVEL_MARK)[2] for item in items))
    codes: dict[str, Code] = {}
    for item in items:
        code = _code(item, graded=kind is Kind.GRADED, taken=() if kind is Kind.GRADED else tuple(codes))
        codes[code.key] = code
    return Codebook(
        name=root.get("codebook") or choices.get("name") or "codebook",
        kind=kind,
        codes=tuple(codes.values()),
        instruction=choices.get("instruction", ""),
        levels=levels,
        max_codes=int(limit) if limit.isdecimal() else None,
    )


def _is_graded(items: list[Element]) -> bool:
    """Whether the aliases are every code at every level, as ``happiness:high``."""
    pairs = [item.get("alias", "").partition(LEVEL_MARK)[::2] for item in items]
    codes, levels = {code for code, _ in pairs}, {level for _, level in pairs}
    keys = all(is_key(part) for part in codes | levels)
    return keys and len(set(pairs)) == len(pairs) == len(codes) * len(levels)


def _code(item: Element, *, graded: bool, taken: tuple[str, ...]) -> Code:
    name = " ".join(item.get("value", "").split())
    key = item.get("alias") or name
    if graded:
        key, _, level = key.partition(LEVEL_MARK)
        name = name.removesuffix(f"{_LEVEL_IN_NAME}{level}")
    elif not is_key(key):
        key = key_from(key) or "code"
    if key in taken:
        raise CodebookError(f"two choices have the key '{key}'; give each its own alias")
    definition = " ".join(item.get("hint", "").split()) or name
    return Code(key, name, definition, item.get("word") or name.lower())
