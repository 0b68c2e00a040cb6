"""Who answered what about which document: coders and sources beside each other, fit for coefficients of agreement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from label_configs.codebook import Codebook
from label_configs.codes import Kind
from label_configs.records import Decision, chosen_labels
from trainer.consensus import in_order
from trainer.evaluation.agreement_distances import Distance, Masi, Nominal
from trainer.evaluation.agreement_ratings import Ratings
from trainer.evaluation.coefficients import (
    Coefficient,
    alpha,
    fleiss,
    gwet,
    kappa,
    ordinal_alpha,
    ordinal_weights,
    percent,
    quadratic_weights,
)
from trainer.evaluation.figure import Figure
from trainer.evaluation.resampling import Floats, Ints, patterns
from trainer.evaluation.study import Study

Labels = tuple[str, ...]
Answers = Mapping[str, Labels]  # labels by document
MISSING = -1
OTHER_VERSIONS = 3  # of each source, beside the one in force


@dataclass(frozen=True)
class Rater:
    """A coder, or a source in one version; ``main`` is the version that stands for its source."""

    name: str
    source: str = ""
    main: bool = True


@dataclass(frozen=True)
class Panel:
    """Answers of ``raters``, coders first: ``table`` [documents, raters] has places in ``sets`` of labels, -1 for none.

    ``by_source`` [documents, sources] is what each source proposed for a document in whatever version.
    """

    codebook: Codebook
    raters: tuple[Rater, ...]
    documents: tuple[str, ...]
    sets: tuple[Labels, ...]
    table: Ints
    by_source: Ints
    left_out: int  # decisions with labels that the codebook has not

    @cached_property
    def coders(self) -> list[int]:
        """Columns of the coders."""
        return [column for column, rater in enumerate(self.raters) if not rater.source]

    @cached_property
    def sources(self) -> list[int]:
        """Columns of the sources, one of each."""
        return [column for column, rater in enumerate(self.raters) if rater.source and rater.main]

    @cached_property
    def exclusive(self) -> bool:
        """Whether a document has one answer, its code; else there is one about each code."""
        return self.codebook.kind is Kind.EXCLUSIVE

    @cached_property
    def answers(self) -> int:
        """How many different answers there can be: codes; or no and yes; or no and each level."""
        if self.exclusive:
            return len(self.codebook.codes)
        return 1 + max(1, len(self.codebook.levels))

    @cached_property
    def levels(self) -> Ints:
        """What each set says [sets + 1, questions]: the one code's place, or about each code 0 for no and from 1 the
        level. The last row stands for no answer."""
        codes = {code.key: place for place, code in enumerate(self.codebook.codes)}
        found = np.zeros((len(self.sets) + 1, 1 if self.exclusive else len(codes)), dtype=np.int64)
        for row, labels in enumerate(self.sets):
            for key in labels:
                label = self.codebook.label(key)
                if self.exclusive:
                    found[row, 0] = codes[label.code]
                else:
                    level = 1 + (self.codebook.levels.index(label.level) if label.level else 0)
                    found[row, codes[label.code]] = max(found[row, codes[label.code]], level)
        found[-1] = MISSING
        return found

    @cached_property
    def distance(self) -> Distance:
        """How far two sets are apart: by MASI, or where one code holds, whether it is another."""
        return Nominal() if self.exclusive else Masi(self.sets)

    def ratings(self, columns: Sequence[int], documents: Ints | None = None) -> Ratings:
        """Answers of some raters; about all codes, drawn together by document. Of ``documents`` (places) alone."""
        found = patterns(self._table(documents)[:, list(columns)])
        if self.exclusive:
            return Ratings(self.levels[found.rows, 0], self.answers, found.counts)
        said = self.levels[found.rows].transpose(0, 2, 1)  # [patterns, questions, raters]
        group = np.repeat(np.arange(len(said)), said.shape[1])
        return Ratings.of(said.reshape(-1, len(columns)), self.answers, group, found.counts)

    def set_ratings(self, columns: Sequence[int]) -> Ratings:
        """Whole sets as single answers."""
        return Ratings.of(self.table[:, list(columns)], len(self.sets))

    def code_ratings(self, code: int, columns: Sequence[int]) -> Ratings:
        """What some raters say about one code: no and yes, or no and each level."""
        return Ratings.of(self.about(code)[self.table[:, list(columns)]], 2 if self.exclusive else self.answers)

    def about(self, code: int) -> Ints:
        """What each set, and at the end no answer, says about a code [sets + 1]."""
        if not self.exclusive:
            return self.levels[:, code]
        return np.where(self.levels[:, 0] == MISSING, MISSING, self.levels[:, 0] == code)

    @property
    def weights(self) -> Floats | None:
        """Kappa's: quadratic where there are levels."""
        return quadratic_weights(self.answers) if self.codebook.kind is Kind.GRADED else None

    def coefficients(self, ratings: Ratings) -> dict[str, Coefficient]:
        """All that fit the kind of codebook, by their names in ``agreement_words``."""
        rows, number = ratings.rows, ratings.categories
        found = {"percent": percent(rows)}
        if self.codebook.kind is Kind.GRADED:
            found |= {
                "weighted_kappa": kappa(rows, number, quadratic_weights(number)),
                "ordinal_alpha": ordinal_alpha(rows, number),
                "ac2": gwet(rows, number, ordinal_weights(number)),
            }
        else:
            found |= {"kappa": kappa(rows, number), "alpha": alpha(rows, number), "ac1": gwet(rows, number)}
        return found | {"fleiss": fleiss(rows, number)}

    @property
    def alpha_name(self) -> str:
        """The alpha that answers are judged by."""
        return "ordinal_alpha" if self.codebook.kind is Kind.GRADED else "alpha"

    def overall(self, columns: Sequence[int], *, samples: int, seed: int) -> dict[str, Figure]:
        """All coefficients of some raters: of their answers, and where several codes may hold of whole sets."""
        answers = self.ratings(columns)
        found = answers.figures(self.coefficients(answers), samples=samples, seed=seed)
        if not self.exclusive:
            sets = self.set_ratings(columns)
            wanted = {
                "percent_sets": percent(sets.rows),
                "masi_alpha": alpha(sets.rows, sets.categories, self.distance),
            }
            found |= sets.figures(wanted, samples=samples, seed=seed)
        return found

    def _table(self, documents: Ints | None) -> Ints:
        return self.table if documents is None else self.table[documents]


def panel_of(study: Study) -> Panel:
    """The answers in a study: of each coder the last verified decision on a document, of each source its proposals.

    Not taken are repeated decisions, and ground truth, which an adjudicator set who knew the others. Of a source the
    version in force is taken, or where nothing was proposed by it the one that most was; up to three others of its
    versions are raters of their own.
    """
    decisions, left_out = usable(study)
    coded: dict[str, dict[str, Labels]] = {coder: {} for coder in study.coders}
    for decision in decisions:
        if not (decision.repeat or decision.ground_truth):
            coded[decision.coder][decision.document_id] = labels_of(decision)
    proposed = _proposed(study)
    answers: list[tuple[Rater, Answers]] = [
        (Rater(study.coder_name(coder)), own) for coder, own in coded.items() if own
    ]
    for source, versions in proposed.items():
        answers += _versions(source, versions, study.versions.get(source))
    places: dict[Labels, int] = {}
    rows = {name: row for row, name in enumerate(study.documents)}
    table = np.full((len(rows), len(answers)), MISSING, dtype=np.int64)
    for column, (_, own) in enumerate(answers):
        _write(table[:, column], own, rows, places)
    by_source = np.full((len(rows), len(proposed)), MISSING, dtype=np.int64)
    for column, (source, versions) in enumerate(proposed.items()):
        for own in [*versions.values(), versions.get(study.versions.get(source, ""), {})]:  # the last one holds
            _write(by_source[:, column], own, rows, places)
    raters = tuple(rater for rater, _ in answers)
    return Panel(study.codebook, raters, tuple(rows), tuple(places), table, by_source, left_out)


def usable(study: Study) -> tuple[list[Decision], int]:
    """The verified decisions on the study's documents in the order in which they were made, and how many others there
    are that hold labels which its codebook has not."""
    known, exclusive = set(study.codebook.label_keys), study.codebook.kind is Kind.EXCLUSIVE
    verified = [one for one in in_order(study.decisions) if one.verified and one.document_id in study.documents]
    found = [one for one in verified if known.issuperset(one.labels)]
    if exclusive:
        return [one for one in found if len(set(one.labels)) == 1], len(verified) - len(found)
    return found, len(verified) - len(found)


def labels_of(decision: Decision) -> Labels:
    """A decision's labels as a set, sorted."""
    return tuple(sorted(set(decision.labels)))


def _proposed(study: Study) -> dict[str, dict[str, dict[str, Labels]]]:
    """Source -> version -> document -> what it stands for, in the order of the codebook's sources."""
    known, kind = set(study.codebook.label_keys), study.codebook.kind
    found: dict[str, dict[str, dict[str, Labels]]] = {source: {} for source in study.versions}
    for one in study.proposals:
        labels = tuple(sorted(chosen_labels(one, kind=kind)))
        if one.document_id in study.documents and known.issuperset(labels) and (labels or kind is not Kind.EXCLUSIVE):
            found.setdefault(one.source, {}).setdefault(one.version, {})[one.document_id] = labels
    return {source: versions for source, versions in found.items() if versions}


def _versions(source: str, versions: Mapping[str, Answers], now: str | None) -> Iterable[tuple[Rater, Answers]]:
    order = sorted(versions, key=lambda version: (version != now, -len(versions[version]), version))
    for place, version in enumerate(order[: 1 + OTHER_VERSIONS]):
        name = source if len(order) == 1 else f"{source} ({version.rpartition('@')[2][:12]})"
        yield Rater(name, source, place == 0), versions[version]


def _write(column: Ints, answers: Answers, rows: Mapping[str, int], places: dict[Labels, int]) -> None:
    for document, labels in answers.items():
        column[rows[document]] = places.setdefault(labels, len(places))
