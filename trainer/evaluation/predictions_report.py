"""What is found of predictions in a file: sections, and JSON whose figures are easy to check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from label_configs.codebook import Code, Codebook, Kind
from label_configs.codes import LEVEL_MARK, is_key, key_from
from label_configs.errors import CodebookError, ConfigError
from label_configs.records import Proposal, ScoredLabel
from trainer.evaluation.blocks import Section
from trainer.evaluation.comparing import compared
from trainer.evaluation.figure import Figure
from trainer.evaluation.judged import OTHER, measure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.performance import sections_of
from trainer.evaluation.plain import sections_json
from trainer.evaluation.predictions_file import PredictionsFile
from trainer.evaluation.study import Study, StudyDocument


def file_sections(file: PredictionsFile, options: ReportOptions) -> list[Section]:
    """Overall, by code, confusions; of several prediction columns their comparison."""
    found = sections_of(file.judged, file.codes, options, notes=file.notes)
    if len(file.judged) > 1:
        found.append(compared(file.judged, file.codes, options))
    return found


def file_json(file: PredictionsFile, options: ReportOptions) -> dict[str, Any]:
    """Plain data: each figure over all documents by its name; in full below ``figures`` and ``codes``.

    ``{"n", "accuracy", "macro_f1", ..., "figures": {name: {"value", "n", "low", "high", "why"}}, "codes": {code: {name:
    figure}}, "confusion": {"rows", "columns", "values"}, "notes"}``, of the first prediction column; where there are
    several, all below ``predictions`` by their names, and ``comparison``. What is undefined is null, with its reason.
    """
    each = {one.label: _one(file, at, options) for at, one in enumerate(file.judged)}
    first = next(iter(each.values()))
    head = {"file": file.path.name, "truth_column": file.judged[0].against.removeprefix("column ")}
    found = head | {"prediction_column": file.judged[0].label} | first | {"notes": list(file.notes)}
    if len(each) > 1:
        section = compared(file.judged, file.codes, options)
        found |= {"predictions": each, "comparison": sections_json([section])["comparison"]}
    return found


def study_of_file(file: PredictionsFile) -> Study:
    """The file as a study without decisions, its other columns as metadata: for audits by group.

    Codes get keys made of what stands in the file where that cannot be a key. Raises ConfigError for fewer than two
    codes, or for codes that differ in what cannot stand in a key only.
    """
    codebook, key_of = _codebook(file)
    names = file.judged[0].documents
    proposals = [
        Proposal(name, one.label, "file", tuple(ScoredLabel(key_of.get(key, key), 1.0) for key in said))
        for one in file.judged
        for name, said in zip(one.documents, one.predicted, strict=True)
    ]
    documents = {
        name: StudyDocument(name, text, metadata={key: value for key, value in own.items() if value})
        for name, text, own in zip(names, file.texts, file.others, strict=True)
    }
    truth = {name: tuple(key_of[key] for key in own) for name, own in zip(names, file.judged[0].truth, strict=True)}
    return Study(
        file.path.name, codebook, documents, (), proposals, (), truth, f"the gold column of {file.path.name}",
        versions={one.label: "file" for one in file.judged},
    )  # fmt: skip


def _one(file: PredictionsFile, at: int, options: ReportOptions) -> dict[str, Any]:
    measured = measure(file.judged[at], file.codes, samples=options.samples, seed=options.seed)
    keys = [*file.codes.label_keys, OTHER]
    found: dict[str, Any] = {"n": measured.n}
    found |= {name: figure.value for name, figure in measured.overall.items()}
    found["figures"] = _plain(measured.overall)
    found["codes"] = {key: _plain(row) for key, row in zip(keys, measured.codes, strict=False)}
    if measured.presence:
        codes = dict.fromkeys(key.rpartition(LEVEL_MARK)[0] for key in file.codes.label_keys)
        found["presence"] = {key: _plain(row) for key, row in zip(codes, measured.presence, strict=True)}
    if measured.confusion is not None:
        found["confusion"] = {"rows": keys[:-1], "columns": keys, "values": measured.confusion.tolist()}
    return found


def _plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {
        name: {"value": one.value, "n": int(one.n), "low": one.low, "high": one.high, "why": one.why}
        for name, one in figures.items()
    }


def _codebook(file: PredictionsFile) -> tuple[Codebook, dict[str, str]]:
    graded = file.codes.kind is Kind.GRADED
    names = [key.rpartition(LEVEL_MARK)[0] if graded else key for key in file.codes.label_keys]
    keys = {name: name if is_key(name) else key_from(name) for name in dict.fromkeys(names)}
    codes = tuple(Code(key, name, name, name) for name, key in keys.items())
    try:
        codebook = Codebook(file.path.stem, file.codes.kind, codes, levels=file.codes.levels)
    except CodebookError as error:
        raise ConfigError(f"{file.path}: groups cannot be compared: {error}") from error
    return codebook, dict(zip(file.codes.label_keys, codebook.label_keys, strict=True))
