"""The tables of a pulled project: their columns, and their rows from Label Studio's tasks.

    documents    one row per task: text, metadata, holdout, random, draft; the rest of the task's data as JSON
    annotations  one row per annotation, skips too: who, when, and the whole ``result`` as JSON
    decisions    one row per annotation as Winnow understands it, with the candidates that were shown
    predictions  one row per prediction, the whole ``result`` as JSON
    proposals    one row per source, version and task: every label with its probability, tokens, seconds, price

Rows are in the order of task ids. Times are in UTC; lists of labels hold keys of the codebook.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from label_configs import wire
from label_configs.errors import WireError
from label_configs.records import CandidateSet, Decision, Document, Proposal
from label_configs.wire import JsonObject
from ml_backend.experiment import Project
from trainer.evaluation.study_documents import study_document

if TYPE_CHECKING:
    import pyarrow

Rows = dict[str, list[JsonObject]]
TABLES = ("documents", "annotations", "decisions", "predictions", "proposals")

_DOCUMENTS = {
    "task_id": "int64", "document_id": "string", "repeat": "int32", "text": "string", "problem": "string",
    "metadata": "texts", "holdout": "bool", "random": "bool", "draft": "bool", "annotations": "int32",
    "created_at": "time", "updated_at": "time", "data": "string", "meta": "string",
}  # fmt: skip
_ANNOTATIONS = {
    "task_id": "int64", "document_id": "string", "annotation_id": "int64", "coder": "string", "skipped": "bool",
    "ground_truth": "bool", "seconds": "double", "created_at": "time", "updated_at": "time", "draft_created_at": "time",
    "parent_prediction": "int64", "parent_annotation": "int64", "import_id": "int64", "last_action": "string",
    "result": "string", "prediction": "string",
}  # fmt: skip
_DECISIONS = {
    "task_id": "int64", "document_id": "string", "annotation_id": "int64", "coder": "string", "form": "string",
    "arm": "string", "repeat": "int32", "kept": "labels", "rejected": "labels", "missed": "labels", "labels": "labels",
    "verified": "bool", "unsure": "bool", "skipped": "bool", "unresolved": "string", "untouched": "bool",
    "ground_truth": "bool", "seconds": "double", "updated_at": "time", "shown": "shown",
}  # fmt: skip
_PREDICTIONS = {
    "task_id": "int64", "document_id": "string", "prediction_id": "int64", "version": "string", "score": "double",
    "created_at": "time", "updated_at": "time", "result": "string",
}  # fmt: skip
_PROPOSALS = {
    "task_id": "int64", "document_id": "string", "source": "string", "version": "string", "labels": "scored",
    "tokens": "int64", "output_tokens": "int64", "truncated": "int64", "seconds": "double", "price": "double",
}  # fmt: skip
COLUMNS = dict(zip(TABLES, (_DOCUMENTS, _ANNOTATIONS, _DECISIONS, _PREDICTIONS, _PROPOSALS), strict=True))
"""Columns of each table. ``texts`` is a map of texts, ``labels`` a list of them, ``scored`` a list of labels with
probabilities, ``shown`` a candidate set (``records.CandidateSet``), null where there is no record of one."""


@cache
def schema_of(table: str) -> pyarrow.Schema:
    """A table's Arrow schema."""
    import pyarrow as pa

    proposer = pa.struct(
        {"source": pa.string(), "version": pa.string(), "probability": pa.float64(), "rank": pa.int32()}
    )
    candidate = pa.struct({"label": pa.string(), "probability": pa.float64(), "proposers": pa.list_(proposer)})
    kinds = {
        "int32": pa.int32(), "int64": pa.int64(), "string": pa.string(), "bool": pa.bool_(), "double": pa.float64(),
        "time": pa.timestamp("us", tz="UTC"), "texts": pa.map_(pa.string(), pa.string()),
        "labels": pa.list_(pa.string()),
        "scored": pa.list_(pa.struct({"label": pa.string(), "probability": pa.float64()})),
        "shown": pa.struct({
            "document_id": pa.string(), "version": pa.string(), "arm": pa.string(), "candidates": pa.list_(candidate)
        }),
    }  # fmt: skip
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS[table].items()])


def rows_of(tasks: Iterable[JsonObject], project: Project) -> Rows:
    """The rows of these tasks by table. Raises WireError for annotations that cannot be."""
    rows: Rows = {table: [] for table in TABLES}
    for task in tasks:
        document, problem = _document(task, project.experiment.text)
        rows["documents"].append(_document_row(task, document, problem, project))
        rows["annotations"] += [_annotation_row(one, document) for one in task["annotations"]]
        rows["predictions"] += [_prediction_row(one, document) for one in task["predictions"]]
        if not problem:
            made = wire.decisions(
                task, project.codebook, project.form, text_key=project.experiment.text, team=project.team
            )
            rows["decisions"] += [_decision_row(one) for one in made]
            rows["proposals"] += [_proposal_row(one, document) for one in wire.proposals(task)]
    return rows


def _document(task: JsonObject, text_key: str) -> tuple[Document, str]:
    """A task's document, and why it is none where it has no text."""
    try:
        return wire.document(task, text_key=text_key), ""
    except WireError as error:
        return Document("", "", int(task["id"])), str(error)


def _document_row(task: JsonObject, document: Document, problem: str, project: Project) -> JsonObject:
    text_key = project.experiment.text
    known = study_document(project, document, {} if problem else wire.metadata(task, text_key=text_key))
    data = task["data"] if isinstance(task["data"], dict) else {}
    rest = {key: value for key, value in data.items() if problem or key != text_key}
    return {
        "task_id": task["id"], "document_id": document.id, "repeat": document.repeat, "text": document.text,
        "problem": problem, "metadata": list(known.metadata.items()), "holdout": known.holdout, "random": known.random,
        "draft": task["draft_exists"], "annotations": len(task["annotations"]), "created_at": _time(task["created_at"]),
        "updated_at": _time(task["updated_at"]), "data": _json(rest), "meta": _json(task["meta"]),
    }  # fmt: skip


def _annotation_row(annotation: JsonObject, document: Document) -> JsonObject:
    return {
        "task_id": document.task_id, "document_id": document.id, "annotation_id": annotation["id"],
        "coder": _user(annotation["completed_by"]), "skipped": bool(annotation["was_cancelled"]),
        "ground_truth": bool(annotation["ground_truth"]), "seconds": _number(annotation["lead_time"]),
        **{name: _time(annotation[name]) for name in ("created_at", "updated_at", "draft_created_at")},
        **{name: _id(annotation[name]) for name in ("parent_prediction", "parent_annotation", "import_id")},
        "last_action": annotation["last_action"], "result": _json(annotation["result"]),
        "prediction": _json(annotation["prediction"]) if annotation.get("prediction") else None,
    }  # fmt: skip


def _decision_row(decision: Decision) -> JsonObject:
    names = [name for name in _DECISIONS if name not in ("shown", "arm")]
    return {
        **{name: getattr(decision, name) for name in names},
        "arm": decision.arm.value,
        "shown": _shown(decision.shown) if decision.shown else None,
    }


def _shown(shown: CandidateSet) -> JsonObject:
    """By hand: ``asdict`` takes as long as all the rest of a row."""
    candidates = [
        {"label": one.label, "probability": one.probability, "proposers": [
            {"source": by.source, "version": by.version, "probability": by.probability, "rank": by.rank}
            for by in one.proposers
        ]} for one in shown.candidates
    ]  # fmt: skip
    return {
        "document_id": shown.document_id, "version": shown.version, "arm": shown.arm.value, "candidates": candidates
    }  # fmt: skip


def _prediction_row(prediction: JsonObject, document: Document) -> JsonObject:
    return {
        "task_id": document.task_id, "document_id": document.id, "prediction_id": prediction["id"],
        "version": prediction["model_version"] or "", "score": _number(prediction["score"]),
        "created_at": _time(prediction["created_at"]), "updated_at": _time(prediction["updated_at"]),
        "result": _json(prediction["result"]),
    }  # fmt: skip


def _proposal_row(proposal: Proposal, document: Document) -> JsonObject:
    names = [name for name in _PROPOSALS if name not in ("labels", "task_id")]
    return {
        **{name: getattr(proposal, name) for name in names},
        "task_id": document.task_id,
        "labels": [{"label": one.label, "probability": one.probability} for one in proposal.labels],
    }


def _json(value: Any) -> str:
    """ASCII, so that what is half of a surrogate pair in Label Studio's data is kept too."""
    return json.dumps(value, separators=(",", ":"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _id(value: Any) -> int | None:
    return value if type(value) is int else None


def _user(value: Any) -> str:
    return str(value.get("id") if isinstance(value, dict) else value)


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None
    except ValueError:
        return None
