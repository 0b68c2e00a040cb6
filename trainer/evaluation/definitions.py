"""What each figure is called, what it is, and whose it is: for headings, for the notes, and for ``--explain``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainer.evaluation.blocks import Column, Format, Section, Table


@dataclass(frozen=True, slots=True)
class Definition:
    """A figure's ``title`` in tables, its formula in words, the ``source`` of it, and how it is shown."""

    title: str
    text: str
    source: str
    format: Format = Format.SHARE


_F1 = "van Rijsbergen 1979, Information Retrieval"
_MEDICINE = "Yerushalmy 1947, Public Health Reports 62"
_BRODERSEN = "Brodersen, Ong, Stephan and Buhmann 2010, ICPR"
_SOKOLOVA = "Sokolova and Lapalme 2009, Information Processing & Management 45"
_COHEN = "Cohen 1960, Educational and Psychological Measurement 20"
_COHEN_WEIGHTED = "Cohen 1968, Psychological Bulletin 70"
_JACCARD = "Jaccard 1912, New Phytologist 11"
_SETS = "Tsoumakas and Katakis 2007, International Journal of Data Warehousing and Mining 3"
_PERCENT = Format.PERCENT

RATES: Mapping[str, Definition] = {
    "sensitivity": Definition("sensitivity", "TP / (TP + FN): of documents with the code, found (recall)", _MEDICINE),
    "specificity": Definition("specificity", "TN / (TN + FP): of documents without the code, left alone", _MEDICINE),
    "precision": Definition("precision", "TP / (TP + FP): of predictions of the code, right (PPV)", _F1),
    "npv": Definition("NPV", "TN / (TN + FN): of documents it was not predicted for, without it", _MEDICINE),
    "f1": Definition("F1", "2 TP / (2 TP + FP + FN): harmonic mean of precision and sensitivity", _F1),
    "jaccard": Definition("Jaccard", "of one code: TP / (TP + FP + FN)", _JACCARD),
    "balanced_accuracy": Definition("balanced", "of one code: (sensitivity + specificity) / 2", _BRODERSEN, _PERCENT),
    "kappa": Definition("kappa", "(po - pe) / (1 - pe): agreement above that expected of the marginals", _COHEN),
    "mcc": Definition("MCC", "correlation of truth and prediction", "Matthews 1975, BBA Protein Structure 405"),
    "quadratic_kappa": Definition(
        "quadratic kappa",
        "kappa weighted by (i - j)² between levels; absence is the level below the lowest",
        _COHEN_WEIGHTED,
    ),
}

EXCLUSIVE: Mapping[str, Definition] = {
    "accuracy": Definition("accuracy", "share of documents with the right code", _SOKOLOVA, _PERCENT),
    "balanced_accuracy": Definition(
        "balanced accuracy", "mean sensitivity of the codes that are in the truth", _BRODERSEN, _PERCENT
    ),
    "macro_f1": Definition("macro-F1", "mean F1 of the codes that are in the truth", _SOKOLOVA),
    "micro_f1": Definition("micro-F1", "F1 over all pairs of document and code", _SOKOLOVA),
    "weighted_f1": Definition("weighted F1", "mean F1 of the codes, by their documents in the truth", _SOKOLOVA),
    "kappa": Definition("Cohen kappa", "(po - pe) / (1 - pe) over all codes at once", _COHEN),
    "mcc": Definition(
        "MCC", "correlation of truth and prediction over all codes at once", "Gorodkin 2004, Comput. Biol. Chem. 28"
    ),
    "top_2": Definition("top 2", "share of documents whose true code is among the 2 most probable", "", _PERCENT),
    "top_3": Definition("top 3", "the same of the 3 most probable", "", _PERCENT),
    "top_5": Definition("top 5", "the same of the 5 most probable", "", _PERCENT),
}

SEVERAL: Mapping[str, Definition] = {
    "accuracy": Definition("exact sets", "share of documents whose whole set of codes is right", _SETS, _PERCENT),
    "at_least_one": Definition(
        "at least one", "of documents with a code, the share for which one of them was predicted", _SETS, _PERCENT
    ),
    "jaccard": Definition("Jaccard (samples)", "mean over documents of intersection / union; both empty: 1", _JACCARD),
    "macro_jaccard": Definition("Jaccard (macro)", "mean of the codes' TP / (TP + FP + FN)", _JACCARD),
    "hamming_loss": Definition(
        "Hamming loss", "share of wrong pairs of document and code", "Schapire and Singer 1999, Machine Learning 37"
    ),
    "balanced_accuracy": Definition(
        "balanced accuracy", "mean of the codes' (sensitivity + specificity) / 2", _BRODERSEN, _PERCENT
    ),
    "macro_f1": EXCLUSIVE["macro_f1"],
    "micro_f1": EXCLUSIVE["micro_f1"],
    "weighted_f1": EXCLUSIVE["weighted_f1"],
    "macro_kappa": Definition("kappa (macro)", "mean of the codes' Cohen kappa", _COHEN),
    "macro_mcc": Definition("MCC (macro)", "mean of the codes' MCC", "Matthews 1975, BBA Protein Structure 405"),
    "top_1": Definition("top 1", "of documents with a code, the share where the most probable is one", "", _PERCENT),
    "top_2": Definition("top 2", "the same of one of the 2 most probable", "", _PERCENT),
    "top_3": EXCLUSIVE["top_3"],
    "top_5": EXCLUSIVE["top_5"],
}

GRADED: Mapping[str, Definition] = {
    "macro_quadratic_kappa": Definition(
        "quadratic kappa (macro)", "mean of the codes' quadratic-weighted kappa", _COHEN_WEIGHTED
    ),
    "pooled_quadratic_kappa": Definition(
        "quadratic kappa (pooled)", "the same over all pairs of document and code at once", _COHEN_WEIGHTED
    ),
    "level_accuracy": Definition(
        "right level", "of pairs with the code in truth and prediction, the share with the right level", "", _PERCENT
    ),
}

PRESENCE: Mapping[str, Definition] = {
    f"presence_{name}": Definition(one.title, f"whatever the level: {one.text}", one.source, one.format)
    for name, one in SEVERAL.items()
    if not name.startswith("top_")
}

AVERAGES = {
    "macro": "mean of the codes that are in the truth and for which the rate is defined",
    "micro": "over all pairs of document and code",
    "weighted": "mean of the codes, by their documents in the truth",
}

CALIBRATION: Mapping[str, Definition] = {
    "ece": Definition(
        "ECE",
        "mean over ten bins of equal width, by their size, of |share right - mean probability|",
        "Naeini, Cooper and Hauskrecht 2015, AAAI; Guo, Pleiss, Sun and Weinberger 2017, ICML",
    )
}

OTHERS: Mapping[str, Definition] = {
    "interval": Definition(
        "95 % interval",
        "percentiles 2.5 and 97.5 over samples of documents drawn with replacement; that of a rate of 0 or 1 has no "
        "width: n alone says how sure it is",
        "Efron and Tibshirani 1993, An Introduction to the Bootstrap",
    ),
    "mcnemar": Definition(
        "McNemar p", "exact binomial test on the documents that one of two gets right, the other wrong",
        "McNemar 1947, Psychometrika 12",
    ),
    "holm": Definition("p (Holm)", "p corrected for all pairs compared", "Holm 1979, Scandinavian J. of Statistics 6"),
    "random_share": Definition(
        "random share", "only documents whose place in the queue was drawn by their id: a random sample of the corpus",
        "Cochran 1977, Sampling Techniques",
    ),
    "inverse_probability": Definition(
        "inverse-probability weights",
        "each coded document stands for 1 / (share coded) of the corpus' documents that sources doubt as much",
        "Horvitz and Thompson 1952, JASA 47; Rosenbaum and Rubin 1984, JASA 79 (strata)",
    ),
}  # fmt: skip


def columns(definitions: Mapping[str, Definition], names: Iterable[str]) -> tuple[Column, ...]:
    """Columns of a table for these figures, in this order."""
    return tuple(Column(name, definitions[name].title, definitions[name].format) for name in names)


def definitions_section() -> Section:
    """Every figure of the evaluation with its definition and its source."""
    groups = (
        ("one code", RATES), ("all, one holds", EXCLUSIVE), ("all, several hold", SEVERAL), ("all, graded", GRADED),
        ("calibration", CALIBRATION), ("method", OTHERS),
    )  # fmt: skip
    rows = [(one.title, group, one.text, one.source) for group, own in groups for one in own.values()]
    rows += [(name, "averages", text, _SOKOLOVA) for name, text in AVERAGES.items()]
    heads = (Column("figure", "figure"), Column("of", "of"), Column("definition", "definition"))
    return Section(
        "definitions",
        "Definitions",
        blocks=(Table("definitions", "What each figure is", (*heads, Column("source", "source")), tuple(rows)),),
        notes=(
            "TP, FP, FN, TN count documents that have a code and were predicted it, were only predicted it, only have "
            "it, neither. A code absent from the truth has no figure: undefined, n = 0, and no average counts it.",
        ),
    )
