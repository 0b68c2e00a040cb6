"""Label Studio's JSON to records: documents, decisions, and the sources' proposals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from label_configs.codebook import Codebook, Kind
from label_configs.codes import LEVEL_MARK
from label_configs.errors import WireError
from label_configs.forms import ARMS, CONTROLS, FLAG_NAME, MISSING, SHOWN_NAME, UNSURE, ReviewForm
from label_configs.literal import from_literal
from label_configs.records import Arm, CandidateSet, Decision, Document, Proposal
from label_configs.team_form import TeamForm
from label_configs.wire.shown import PROPOSAL_KEY, candidates_from_text, proposal_from_json
from label_configs.wire.slots import is_slot
from label_configs.wire.team import from_team
from label_configs.wire.writing import JsonObject, at_first


def document(task: JsonObject, *, text_key: str = "text") -> Document:
    """A task's document; raises WireError when it has no text under ``text_key``.

    Tasks that Winnow did not import have no ``document_id``: Label Studio's own id stands in as ``task-<id>``.
    """
    task_id = _task_id(task)
    data = task.get("data")
    text = data.get(text_key) if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(text, str):
        raise WireError(f"task {task_id}: data.{text_key} is not a text; set the task's text or the project's text key")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WireError(f"task {task_id}: data.{text_key} holds half of a surrogate pair; mend the text") from None
    named = data.get("document_id")
    if named in (None, ""):
        return Document(f"task-{task_id}", text, task_id)
    repeat = data.get("repeat")
    return Document(str(named), text, task_id, repeat if type(repeat) is int and repeat > 0 else 0)


def decisions(
    task: JsonObject, codebook: Codebook, form: ReviewForm, *, text_key: str = "text", team: TeamForm | None = None
) -> list[Decision]:
    """Every submitted or skipped annotation of an exported task as a decision, oldest first; drafts do not count.

    ``team`` says how results name things where the label config is a team's own.
    """
    coded = document(task, text_key=text_key)
    annotations = task.get("annotations") or []
    if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
        raise WireError(f"task {coded.task_id}: annotations is not a list of objects; export it as JSON")
    made = [_decision(annotation, coded, _task_id(task), codebook, form, team) for annotation in annotations]
    return sorted(made, key=lambda decision: decision.annotation_id)


def proposals(task: JsonObject) -> list[Proposal]:
    """What the sources proposed for a task, read from its predictions; the latest of each source and version."""
    latest: dict[tuple[str, str], Proposal] = {}
    predictions = [one for one in task.get("predictions") or [] if isinstance(one, dict)]
    for prediction in sorted(predictions, key=lambda one: int(one.get("id") or 0)):
        for item in _items(prediction.get("result")):
            meta = item.get("meta")
            if isinstance(meta, dict) and PROPOSAL_KEY in meta:
                proposal = proposal_from_json(meta[PROPOSAL_KEY])
                latest[proposal.source, proposal.version] = proposal
    return list(latest.values())


def _decision(
    annotation: JsonObject, coded: Document, task_id: int, codebook: Codebook, form: ReviewForm, team: TeamForm | None
) -> Decision:
    annotation_id = annotation.get("id")
    if not isinstance(annotation_id, int):
        raise WireError(f"task {task_id}: an annotation has no id; export the task anew")
    items = _items(annotation.get("result"))
    if team is not None:
        items = from_team(items, team)
    shown = _shown(items, annotation)
    if shown is None and form in ARMS:
        shown = CandidateSet(coded.id, "", (), ARMS[form])
    skipped = bool(annotation.get("was_cancelled"))
    review = _Review(codebook, form, shown, _ticks(items))
    lead_time = annotation.get("lead_time")
    return Decision(
        document_id=coded.id,
        task_id=task_id,
        annotation_id=annotation_id,
        coder=_coder(annotation.get("completed_by")),
        form=form.value,
        kept=() if skipped else review.kept,
        rejected=() if skipped else review.rejected,
        missed=() if skipped else review.missed,
        unsure=review.unsure,
        skipped=skipped,
        unresolved="" if skipped else review.unresolved(),
        untouched=not skipped and review.untouched(),
        ground_truth=bool(annotation.get("ground_truth")),
        seconds=float(lead_time) if isinstance(lead_time, int | float) else None,
        shown=shown,
        updated_at=_time(annotation.get("updated_at")),
        repeat=coded.repeat,
    )


class _Review:
    """What the ticks of one annotation say."""

    def __init__(
        self, codebook: Codebook, form: ReviewForm, shown: CandidateSet | None, ticks: dict[str, tuple[str, ...]]
    ) -> None:
        self._codebook, self._form, self._shown = codebook, form, shown
        controls = CONTROLS[form]
        known = set(codebook.label_keys)
        ticks = {n: labels if n == FLAG_NAME else _keys(codebook, labels) for n, labels in ticks.items()}
        self._ticks = ticks
        candidates = tuple(one.label for one in shown.candidates) if shown else ()
        in_candidates = ticks.get(controls.candidates or "", ())
        if form is ReviewForm.GRADED:
            # Graded codebooks were reviewed in the form keep before there was this form.
            names = [name for name in ticks if is_slot(name) or name == CONTROLS[ReviewForm.KEEP].candidates]
            in_candidates = tuple(label for name in names for label in ticks[name])
        in_codebook = ticks.get(controls.codebook, ())
        self._added = tuple(label for label in in_codebook if label in known)
        self._candidates = candidates
        self._arm = shown.arm if shown else Arm.REVIEW
        self._flags = ticks.get(FLAG_NAME, ())
        self.unsure = UNSURE in self._flags
        self._unknown = sorted({*in_candidates, *in_codebook, *candidates} - known)
        if form is ReviewForm.REJECT:
            ticked_wrong = set(in_candidates)
            # A code chosen from the codebook is the answer: every other candidate is wrong, ticked or not.
            holds = set(self._added) or set(candidates) - ticked_wrong
        else:
            holds = {*in_candidates, *self._added}
        order = candidates or in_candidates if form is not ReviewForm.REJECT else candidates
        self.kept = tuple(label for label in order if label in holds and label in known)
        self.rejected = tuple(label for label in candidates if label not in holds)
        self.missed = tuple(label for label in codebook.label_keys if label in holds and label not in self.kept)

    def unresolved(self) -> str:
        """Why the decision cannot be used, empty when it can."""
        labels = self.kept + self.missed
        if self._unknown:
            return _why_unknown(self._codebook, self._unknown)
        if self._arm is not Arm.REVIEW:
            # The prediction flagged ``missing`` to open the codebook; the coder said nothing by it.
            return _why_not_together(self._codebook, labels)
        if self._form is ReviewForm.REJECT and not self._added:
            if self._shown is None:
                return "no record of the candidates shown, and no code chosen instead"
            if not labels:
                what = "every candidate is rejected" if self._candidates else "no candidate was shown"
                return f"{what}, and no code chosen instead"
        if self._form is ReviewForm.REJECT:
            both = set(self._ticks.get("reject", ())) & set(self._added)
            if both:
                return f"{', '.join(sorted(both))}: rejected and chosen at once"
        if MISSING in self._flags and not self._added:
            return "a code is said to be missing, but none is named"
        return _why_not_together(self._codebook, labels)

    def untouched(self) -> bool:
        """Whether it was submitted as it was shown."""
        if self._shown is None or not self._candidates or self._unknown:
            return False
        now = {name: set(labels) for name, labels in self._ticks.items() if labels}
        return now == {n: set(labels) for n, labels in at_first(self._codebook, self._shown, self._form).items()}


def _keys(codebook: Codebook, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Label keys, also where annotations made elsewhere have the names that coders see; what is unknown stays."""
    if all(label in codebook.label_keys for label in labels):
        return labels
    named = {code.name: code.key for code in codebook.codes}
    for label in codebook.labels:
        code = codebook.code(label.code)
        named |= {label.name: label.key, f"{code.name}{LEVEL_MARK}{label.level}": label.key} if label.level else {}
    known = {*codebook.label_keys, *(code.key for code in codebook.codes)}
    names = {label: " ".join(from_literal(label).split()) for label in labels}
    return tuple(dict.fromkeys(one if one in known else named.get(names[one], one) for one in labels))


def _why_unknown(codebook: Codebook, unknown: list[str]) -> str:
    """Why these are no labels: a graded code without a level, or nothing that the codebook has."""
    codes = [label for label in unknown if codebook.kind is Kind.GRADED and any(label == c.key for c in codebook.codes)]
    strange = [label for label in unknown if label not in codes]
    told = [f"no level chosen for {', '.join(codes)}"] if codes else []
    return "; ".join([*told, f"{', '.join(strange)}: not in codebook {codebook.name}"] if strange else told)


def _why_not_together(codebook: Codebook, labels: tuple[str, ...]) -> str:
    """Why these labels cannot all hold for one document, empty when they can."""
    if codebook.kind is Kind.EXCLUSIVE:
        if not labels:
            return "no code holds where exactly one does"
        return f"{len(labels)} codes are left where exactly one holds" if len(labels) > 1 else ""
    codes = [codebook.label(label).code for label in labels]
    if twice := sorted({code for code in codes if codes.count(code) > 1}):
        return f"{', '.join(twice)}: several levels of one code"
    if codebook.max_codes is not None and len(labels) > codebook.max_codes:
        return f"{len(labels)} codes where at most {codebook.max_codes} may hold"
    return ""


def _items(result: Any) -> list[JsonObject]:
    return [item for item in result if isinstance(item, dict)] if isinstance(result, list) else []


def _ticks(items: list[JsonObject]) -> dict[str, tuple[str, ...]]:
    """The choices of each control. Of two results for one control Label Studio shows the last, so it counts."""
    ticks = {}
    for item in items:
        value = item.get("value")
        if not isinstance(value, dict):
            continue
        choices = value.get("choices", value.get("taxonomy"))
        if isinstance(choices, list):
            ticks[str(item.get("from_name"))] = tuple(dict.fromkeys(_label(choice) for choice in choices if choice))
    return ticks


def _label(choice: Any) -> str:
    """A choice's label key. A Taxonomy's choice is a path: ``[code, label]``, or of others ``[code, level]``."""
    if not isinstance(choice, list):
        return str(choice)
    *branch, leaf = [str(part) for part in choice]
    return leaf if LEVEL_MARK in leaf or not branch else f"{branch[-1]}{LEVEL_MARK}{leaf}"


def _shown(items: list[JsonObject], annotation: JsonObject) -> CandidateSet | None:
    """The record of what was shown, from the annotation or else from its snapshot of the prediction."""
    snapshot = annotation.get("prediction")
    earlier = _items(snapshot.get("result")) if isinstance(snapshot, dict) else []
    for item in [*reversed(items), *earlier]:
        value = item.get("value")
        texts = value.get("text") if isinstance(value, dict) else None
        if item.get("from_name") == SHOWN_NAME and isinstance(texts, str | list) and texts:
            return candidates_from_text(texts if isinstance(texts, str) else str(texts[-1]))
    return None


def _coder(completed_by: Any) -> str:
    """A coder's identifier: Label Studio's user id, which an export gives bare or within the user."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("id")
    return "" if completed_by is None else str(completed_by)


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _task_id(task: JsonObject) -> int:
    task_id = task.get("id")
    if not isinstance(task_id, int) or isinstance(task_id, bool):
        raise WireError(f"task: id {repr(task_id)[:40]} is not a number; pass whole tasks as Label Studio exports them")
    return task_id
