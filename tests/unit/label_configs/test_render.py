"""Label configs: what a codebook becomes, and what an existing project's config is read as."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from label_configs.codebook import Code, Codebook, Kind, load_codebook, shipped_codebooks
from label_configs.errors import CodebookError, ConfigError, LabelConfigError
from label_configs.forms import forms_of
from label_configs.render import (
    ReviewForm,
    check_label_config,
    default_form,
    read_label_config,
    render_label_config,
)

A, B = Code("a", "Apples", "Fruit", "apples"), Code("b", "Boats", "Ships", "boats")
HOSTILE = Codebook(
    'a"b<c>&amp;',
    Kind.EXCLUSIVE,
    (
        Code("x", '"/><Choice value="injected"/>', "]]> <script>alert(1)</script> & 'quotes'", "<x>"),
        Code("y", "${text} {0} %s $candidates", "&lt;b&gt; – “ü” 🙂", "word & word"),
    ),
    instruction='</View><Header value="x"/>',
)
BOOKS = [
    *(load_codebook(name) for name in shipped_codebooks()),
    HOSTILE,
    replace(HOSTILE, kind=Kind.MULTILABEL),
    replace(HOSTILE, kind=Kind.GRADED, levels=("low", "high")),
]
PAIRS = [pytest.param(book, form, id=f"{book.name}-{book.kind}-{form}") for book in BOOKS for form in forms_of(book)]


@pytest.mark.parametrize(("codebook", "form"), PAIRS)
def test_a_rendered_config_reads_back_as_the_same_codebook(codebook: Codebook, form: ReviewForm) -> None:
    xml = render_label_config(codebook, form, text_key="body")
    read = read_label_config(xml)
    assert read.codebook == codebook
    assert (read.text_key, read.text_name, read.form) == ("body", "text", form)
    check_label_config(xml, codebook, form)


@pytest.mark.parametrize("form", [ReviewForm.KEEP, ReviewForm.REJECT, ReviewForm.WHOLE])
def test_configs_from_before_they_named_their_form_are_known_by_their_controls(form: ReviewForm) -> None:
    codebook = load_codebook("reuters8")
    check_label_config(render_label_config(codebook, form).replace(f' form="{form}"', ""), codebook, form)


@pytest.mark.parametrize(("codebook", "form"), PAIRS)
def test_label_studio_accepts_a_rendered_config(codebook: Codebook, form: ReviewForm) -> None:
    interface = LabelInterface(render_label_config(codebook, form))
    interface.validate()
    slots = {f"level_{number}" for number in range(9)}
    names = {
        "graded": {"missed", "flag", *slots},
        "keep": {"keep", "missed", "flag"},
        "reject": {"reject", "replacement", "flag"},
        "whole": {"codes", "flag"},
        "choose": {"codes", "flag"},
        "blind": {"codes", "flag"},
    }
    assert {control.name for control in interface.controls} == {*names[form], "shown"}


@pytest.mark.parametrize(("codebook", "form"), [pair for pair in PAIRS if pair.values[0].name == HOSTILE.name])
def test_hostile_text_stays_text(codebook: Codebook, form: ReviewForm) -> None:
    root = ElementTree.fromstring(render_label_config(codebook, form))
    assert next(root.iter("Header")).get("value") == HOSTILE.instruction
    aliases = [choice.get("alias") for choice in root.iter("Choice")]
    below = ["x", "x:low", "x:high", "y", "y:low", "y:high"]
    wanted = {"graded": below}.get(form, below[1:3] + below[4:] if codebook.levels else ["x", "y"])
    assert [alias for alias in aliases if alias not in {"missing", "unsure"}] == wanted


def test_the_forms_say_what_to_do() -> None:
    def headers(codebook: Codebook, form: ReviewForm) -> list[str | None]:
        root = ElementTree.fromstring(render_label_config(codebook, form))
        return [header.get("value") for header in root.iter("Header")]

    several = Codebook("m", Kind.MULTILABEL, (A, B), max_codes=1)
    assert headers(several, ReviewForm.KEEP)[:2] == [
        "Which codes fit this text?",
        "Un-tick every code that is WRONG (at most 1 in all)",
    ]
    assert headers(load_codebook("cap"), ReviewForm.REJECT)[:2] == [
        "Which policy topic is this text mainly about?",
        "Tick every code that is WRONG – the one that is left counts",
    ]
    assert headers(load_codebook("flourishing"), ReviewForm.WHOLE)[1] == (
        "Tick what fits, un-tick what is WRONG – what is ticked at first was proposed (at most one level of each)"
    )


def test_the_record_is_hidden_and_the_codebook_waits_for_its_flag() -> None:
    root = ElementTree.fromstring(render_label_config(load_codebook("cap"), ReviewForm.REJECT))
    [hidden] = [view for view in root if view.find("TextArea") is not None]
    assert hidden.get("style") == "display:none"
    [gated] = [view for view in root if view.get("visibleWhen")]
    flag = root.find(".//Choices[@name='flag']")
    assert flag is not None
    assert gated.get("whenTagName") == "flag"
    assert gated.get("whenChoiceValue") in [choice.get("value") for choice in flag]
    assert gated.find(".//Choices[@name='replacement']") is not None


def test_default_forms() -> None:
    forms = {name: default_form(load_codebook(name)) for name in shipped_codebooks()}
    assert forms == {"cap": "reject", "dataverse": "keep", "flourishing": "graded", "reuters8": "reject"}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            ReviewForm.REJECT,
            "form reject needs a codebook in which exactly one code holds, dataverse is multilabel; "
            "use one of the forms keep, whole, choose, blind",
        ),
        (
            ReviewForm.GRADED,
            "form graded needs a codebook with levels, dataverse is multilabel; "
            "use one of the forms keep, whole, choose, blind",
        ),
    ],
)
def test_a_form_must_be_able_to_ask_what_the_codebook_needs(form: ReviewForm, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render_label_config(load_codebook("dataverse"), form)
    assert str(caught.value) == message


FOREIGN = """<View>
  <Text name="review" value="$body"/>
  <Choices name="topic" toName="review"{attributes}>
    <Choice value="Banking, Finance"/>
    <Choice value="Law" alias="law" hint="Courts and  police"/>
  </Choices>
  <Choices name="entity" toName="review" perRegion="true"><Choice value="x"/><Choice value="y"/></Choices>
</View>"""


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ("", Kind.EXCLUSIVE),
        (' choice="single"', Kind.EXCLUSIVE),
        (' choice="single-radio"', Kind.EXCLUSIVE),
        (' choice="multiple"', Kind.MULTILABEL),
    ],
)
def test_an_existing_project_becomes_a_codebook(attributes: str, kind: Kind) -> None:
    read = read_label_config(FOREIGN.format(attributes=attributes))
    assert (read.text_key, read.text_name, read.choices_name, read.form) == ("body", "review", "topic", None)
    assert read.codebook == Codebook(
        "topic",
        kind,
        (
            Code("banking-finance", "Banking, Finance", "Banking, Finance", "banking, finance"),
            Code("law", "Law", "Courts and police", "law"),
        ),
    )


TEXT = '<Text name="text" value="$text"/>'
CHOICES = '<Choices name="c" toName="text"><Choice value="A"/><Choice value="B"/></Choices>'

OTHERS = CHOICES.replace('"c"', '"d"')


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (f"<View>{CHOICES}</View>", 'label config: has no Text field; add <Text name="text" value="$text"/>'),
        (
            f'<View>{TEXT}<Text name="b" value="$b"/>{CHOICES}</View>',
            "label config: has several Text fields (text, b); leave the one that is to be coded",
        ),
        (
            f'<View><Text name="text" value="text"/>{CHOICES}</View>',
            "label config: its Text needs a name and a task key",
        ),
        (
            f"<View>{TEXT}</View>",
            'label config: has no Choices for the text; add <Choices name="topic" toName="text"> with a Choice',
        ),
        (
            f'<View>{TEXT}<Choices name="c" toName="text" value="$options"/></View>',
            "label config: Choices 'c' takes its choices from the task and no other lists the codebook; add",
        ),
        (
            f"<View>{TEXT}{CHOICES}{OTHERS}</View>",
            "label config: has several Choices for the text (c, d); leave the one with the codes",
        ),
        (
            f"<View>{TEXT}{CHOICES.replace('/><Choice', '><Choice').replace('</C', '</Choice></C')}</View>",
            "label config: Choices 'c' are nested; make them a flat list",
        ),
        (
            f'<View>{TEXT}<Choices name="c" toName="text"><Choice value="A"/></Choices></View>',
            "label config, Choices 'c': codebook c: codes: has only one code, a codebook needs at least two",
        ),
        (
            f'<View>{TEXT}<Choices name="c" toName="text"><Choice value="A b"/><Choice value="A, b"/></Choices></View>',
            "label config, Choices 'c': two choices have the key 'a-b'; give each its own alias",
        ),
        ("<View>\n<Text>", "label config:2: is not well-formed XML"),
        ("", "label config:1: is not well-formed XML (no element found"),
        (
            '<?xml version="1.0"?><!DOCTYPE v [<!ENTITY a "b">]><View>&a;</View>',
            "label config: has a DOCTYPE or ENTITY, remove it",
        ),
    ],
)
def test_configs_that_cannot_be_read(xml: str, message: str) -> None:
    with pytest.raises(LabelConfigError) as caught:
        read_label_config(xml)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_config_must_match_the_codebook() -> None:
    codebook = Codebook("mine", Kind.EXCLUSIVE, (A, B))
    other = replace(codebook, codes=(A, Code("c", "Cars", "Vehicles", "cars")))
    with pytest.raises(CodebookError) as caught:
        check_label_config(render_label_config(other, ReviewForm.KEEP), codebook, ReviewForm.KEEP)
    assert str(caught.value) == (
        "label config: does not match codebook mine: lacks the codes b and has the codes c that the codebook has not; "
        "set the project's label config anew, or use the codebook that the project was made with"
    )
    with pytest.raises(CodebookError, match="has the form keep where reject is expected"):
        check_label_config(render_label_config(codebook, ReviewForm.KEEP), codebook, ReviewForm.REJECT)
    with pytest.raises(CodebookError, match="has no review form of Winnow's where keep is expected"):
        check_label_config(f"<View>{TEXT}{CHOICES}</View>", codebook, ReviewForm.KEEP)
    several = replace(codebook, kind=Kind.MULTILABEL)
    with pytest.raises(CodebookError, match="label config: is multilabel, codebook mine exclusive"):
        check_label_config(render_label_config(several, ReviewForm.KEEP), codebook, ReviewForm.KEEP)


def test_long_lists_of_codes_are_cut_short() -> None:
    levels = ("low", "high")
    mine = Codebook("mine", Kind.GRADED, load_codebook("reuters8").codes, levels=levels)
    theirs = Codebook("theirs", Kind.GRADED, load_codebook("cap").codes, levels=levels)
    with pytest.raises(
        CodebookError, match=r"lacks the codes acq:low, acq:high.* and 4 more and has the codes macro:low"
    ):
        check_label_config(render_label_config(theirs, ReviewForm.KEEP), mine, ReviewForm.KEEP)


def test_names_and_order_may_differ() -> None:
    codebook = Codebook("mine", Kind.EXCLUSIVE, (A, B))
    renamed = replace(codebook, name="theirs", codes=(B, replace(A, name="Äpfel", definition="Obst")))
    check_label_config(render_label_config(renamed, ReviewForm.REJECT), codebook, ReviewForm.REJECT)


LINES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@given(
    names=st.lists(LINES, min_size=2, max_size=5, unique_by=str.casefold),
    text=LINES,
    kind=st.sampled_from(Kind),
    data=st.data(),
)
def test_any_text_survives_the_label_config(names: list[str], text: str, kind: Kind, data: st.DataObject) -> None:
    codes = tuple(Code(f"k{index}", name, text, f"w{index}") for index, name in enumerate(names))
    codebook = Codebook(text, kind, codes, instruction=text, levels=("low", "high") if kind is Kind.GRADED else ())
    form = data.draw(st.sampled_from(forms_of(codebook)))
    xml = render_label_config(codebook, form)
    assert read_label_config(xml).codebook == codebook
    # Label Studio puts task data in the place of $word: only the form's own may be left.
    shown = [
        element.get("value", "") for tag in ("Header", "Choice") for element in ElementTree.fromstring(xml).iter(tag)
    ]
    assert not [text for text in shown if re.search(r"\$[\w\[\].{}]", text) and not text.startswith("$candidates[")]
