"""Label Studio's label config to a codebook: Winnow's own configs, and those of existing projects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from label_configs.codebook import Code, Codebook, Kind
from label_configs.codes import LEVEL_MARK, is_key, key_from
from label_configs.errors import CodebookError, LabelConfigError
from label_configs.forms import CANDIDATES_KEY, CONTROLS, RECORD_CLASS, SHOWN_NAME, ReviewForm
from label_configs.literal import from_literal

_LEVEL_IN_NAME = " · "
_NO_CHOICES = ("Taxonomy", "Labels", "HyperTextLabels", "Rating", "Ranker", "Number", "Pairwise")


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """What a label config asks: which task key holds the text, and which codes.

    ``text_name`` and ``choices_name`` are the names of the text and of the control with the whole codebook; ``form`` is
    None when the config is not one of Winnow's. ``values`` maps each label's key to what results carry for it.

    Of a config that is not Winnow's, ``recorded`` says whether the record of what coders are shown was added to it,
    ``record_name_taken`` whether a control of the team's own has the record's name, and ``obstacle`` what keeps
    proposals from being ticked in it, with the remedy; empty where nothing does.
    """

    text_key: str
    text_name: str
    choices_name: str
    form: ReviewForm | None
    codebook: Codebook
    values: Mapping[str, str]
    recorded: bool = False
    record_name_taken: bool = False
    obstacle: str = ""


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
    names = {control.get("name") for control in root.iter()}
    return ReadConfig(
        key, text.get("name", ""), choices.get("name", ""), form, codebook, _values(choices, codebook),
        recorded=_recorded(root), record_name_taken=SHOWN_NAME in names and not _recorded(root),
        obstacle="" if form else _obstacle(root, text, choices),
    )  # fmt: skip


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
        return ElementTree.fromstring(xml)  # nosec B314 # without DOCTYPE and ENTITY there is nothing to expand
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
    choices = {control.get("name"): control for tag in ("Choices", "Taxonomy") for control in root.iter(tag)}
    if _recorded(root) or not any(area.get("name") == SHOWN_NAME for area in root.iter("TextArea")):
        return None
    # Forms with the same controls are told apart by the name in the root; configs made before have none.
    named = [form for form in ReviewForm if form.value == root.get("form")]
    for form in named or CONTROLS:
        controls = CONTROLS[form]
        if controls.codebook not in choices:
            continue
        if controls.candidates is None:
            return form
        mark = "0" if form is ReviewForm.GRADED else ""
        candidates = choices.get(f"{controls.candidates}{mark}")
        if candidates is not None and (candidates.get("value") or "").startswith(f"${CANDIDATES_KEY}"):
            return form
    return None


def _recorded(root: Element) -> bool:
    """Whether Winnow's record of what coders are shown was added to a team's own config."""
    views = (view for view in root.iter("View") if view.get("className") == RECORD_CLASS)
    return any(area.get("name") == SHOWN_NAME for view in views for area in view.iter("TextArea"))


def _obstacle(root: Element, text: Element, choices: Element) -> str:
    """Why proposals cannot be ticked in a team's own config, with the remedy; empty where they can."""
    name = choices.get("name")
    if text.get("valueType", "text") != "text":
        return f"Text '{text.get('name')}' shows what is at an address; put the texts themselves into the tasks"
    above = _around(root, choices)
    if any(key.lower() == "visiblewhen" for tag in (*above, choices) for key in tag.attrib):
        return f"Choices '{name}' shows under a condition (visibleWhen); Winnow needs it to show for every document"
    if repeated := [tag.tag for tag in above if tag.tag in ("Repeater", "Pairwise", "PagedView")]:
        return f"Choices '{name}' is in a {repeated[0]}; Winnow needs one that asks about the whole text"
    if choices.get("value"):
        return f"Choices '{name}' takes choices from the task too; leave those that are listed in the config"
    return ""


def _around(root: Element, inner: Element) -> list[Element]:
    """The elements that an element is in, the outermost first."""
    parents = {child: parent for parent in root.iter() for child in parent}
    found: list[Element] = []
    at = parents.get(inner)
    while at is not None:
        found.insert(0, at)
        at = parents.get(at)
    return found


def _the_choices(root: Element, text: Element, form: ReviewForm | None) -> Element:
    """The control that lists the codes of the whole text: Choices, in the form graded the Taxonomy."""
    if form is ReviewForm.GRADED:
        return next(tree for tree in root.iter("Taxonomy") if tree.get("name") == CONTROLS[form].codebook)
    controls = [
        control
        for control in root.iter("Choices")
        if control.get("toName") == text.get("name") and control.get("perRegion", "false").lower() != "true"
    ]
    if form:
        controls = [control for control in controls if control.get("name") == CONTROLS[form].codebook]
    if not controls:
        example = f'<Choices name="topic" toName="{text.get("name")}">'
        others = [tag for tag in root.iter() if tag.tag in _NO_CHOICES or tag.tag == "Choices"]
        if others:
            tag = others[0]
            what = f"{tag.tag} '{tag.get('name')}'" + (" for regions" if tag.tag == "Choices" else "")
            raise LabelConfigError(
                f"label config: has no Choices for the text, it asks by {what}; Winnow proposes codes for a whole text "
                f"in a flat list, so add {example} with a Choice for each code"
            )
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
    items = _leaves(choices) if choices.tag == "Taxonomy" else list(choices.iter("Choice"))
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


def _values(choices: Element, codebook: Codebook) -> dict[str, str]:
    """Label key -> what results carry: a choice's alias, or its value. The codebook has a config's choices in order."""
    items = _leaves(choices) if choices.tag == "Taxonomy" else list(choices.iter("Choice"))
    if codebook.kind is Kind.GRADED:
        return {key: key for key in codebook.label_keys}
    carried = (item.get("alias") or item.get("value") or "" for item in items)
    return dict(zip(codebook.label_keys, carried, strict=True))


def _leaves(tree: Element) -> list[Element]:
    """The levels of a Taxonomy, each with what its code says, as the flat list of the other forms has them."""
    leaves = []
    for branch in tree.findall("Choice"):
        for leaf in branch.findall("Choice"):
            name = f"{branch.get('value', '')}{_LEVEL_IN_NAME}{leaf.get('value', '')}"
            leaves.append(Element("Choice", {**branch.attrib, "value": name, "alias": leaf.get("alias", "")}))
    return leaves


def _is_graded(items: list[Element]) -> bool:
    """Whether the aliases are every code at every level, as ``happiness:high``."""
    pairs = [item.get("alias", "").partition(LEVEL_MARK)[::2] for item in items]
    codes, levels = {code for code, _ in pairs}, {level for _, level in pairs}
    keys = all(is_key(part) for part in codes | levels)
    return keys and len(set(pairs)) == len(pairs) == len(codes) * len(levels)


def _code(item: Element, *, graded: bool, taken: tuple[str, ...]) -> Code:
    name = " ".join(from_literal(item.get("value", "")).split())
    key = item.get("alias") or name
    if graded:
        key, _, level = key.partition(LEVEL_MARK)
        name = name.removesuffix(f"{_LEVEL_IN_NAME}{level}")
    elif not is_key(key):
        key = key_from(key) or f"code-{hashlib.sha256(key.encode()).hexdigest()[:6]}"  # of a name in another script
    if key in taken:
        raise CodebookError(f"two choices have the key '{key}'; give each its own alias")
    definition = " ".join(item.get("hint", "").split()) or name
    return Code(key, name, definition, item.get("word") or name.lower())
