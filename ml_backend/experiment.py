"""The experiment, one ``winnow.yaml``: codebook, sources, candidates, review form, training.

Parsed to frozen dataclasses; unknown keys are refused with their line and the nearest valid key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook, load_codebook
from label_configs.errors import ConfigError
from label_configs.forms import SLOTS, ReviewForm, check_form, default_form
from label_configs.records import Arm
from label_configs.strictyaml import YamlFile, build, load_yaml
from label_configs.team_form import TeamForm
from ml_backend.source_config import ADAPTER_SOURCE, Problem, SourceConfig, SourceKind, source_problems
from ml_backend.training_config import Training, training_problems


@dataclass(frozen=True)
class CandidateRule:
    """Which codes a coder is shown: the ``top_k`` of each source, of probability ``floor`` or more, ``max`` in all."""

    max: int = 6
    top_k: int = 2
    floor: float = 0.0
    show_sources: bool = True


class Order(StrEnum):
    """Which documents coders get first, by the score of the review prediction."""

    RANDOM = "random"
    UNCERTAINTY = "uncertainty"  # entropy of the mixed probabilities, the highest first
    DISAGREEMENT = "disagreement"  # between sources, the strongest first


class Consensus(StrEnum):
    """What several coders of one document must say for it to be verified."""

    MAJORITY = "majority"
    UNANIMITY = "unanimity"


@dataclass(frozen=True)
class Review:
    """How coders review; ``form`` defaults to the form that fits the codebook.

    ``overlap`` coders code each document of a random ``overlap_share``, one the others. ``repeat_share`` of the coded
    documents are shown a second time. ``blind_share`` and ``choose_share`` of the documents are coded in these arms,
    the holdout in the arm ``holdout`` (choose or blind). With an ``order`` other than random, ``random_share`` of the
    documents keep their random place, so that estimates from them stay unbiased. All shares are drawn by document id.
    Reports have pseudonyms for coders unless ``show_coder_names`` is set.
    """

    form: ReviewForm | None = None
    overlap: int = 1
    overlap_share: float = 1.0
    repeat_share: float = 0.0
    blind_share: float = 0.0
    choose_share: float = 0.0
    holdout: Arm = Arm.CHOOSE
    order: Order = Order.RANDOM
    random_share: float = 0.1
    consensus: Consensus = Consensus.MAJORITY
    show_coder_names: bool = False


class Priority(StrEnum):
    """Whose documents and rounds come first, where several projects share the workers."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True)
class Experiment:
    """All of ``winnow.yaml``. ``text`` is the key of the document's text in Label Studio's task data."""

    codebook: str
    sources: tuple[SourceConfig, ...]
    text: str = "text"
    candidates: CandidateRule = field(default_factory=CandidateRule)
    review: Review = field(default_factory=Review)
    training: Training | None = None
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True)
class Project:
    """A Label Studio project that Winnow serves; ``team`` where its label config is the team's own, not Winnow's."""

    id: int
    experiment: Experiment
    codebook: Codebook
    folder: Path
    team: TeamForm | None = None

    @property
    def home(self) -> Path:
        """The installation's folder, which holds the adapter store."""
        return self.folder.parent.parent

    @property
    def form(self) -> ReviewForm:
        """The review form of the project's label config."""
        return self.experiment.review.form or default_form(self.codebook)


def load_experiment(path: Path, codebook: Codebook | None = None) -> tuple[Experiment, Codebook]:
    """Read ``winnow.yaml`` and its codebook, or take the one given instead: then the file need not name any.

    Raises ConfigError with file, line and remedy.
    """
    source = load_yaml(path)
    if codebook is not None and isinstance(source.data, dict):
        source = replace(source, data={**source.data, "codebook": codebook.name})
    experiment = build(Experiment, source.data, source=source)
    _check(experiment, source)
    experiment = _absolute(experiment, path.parent)
    codebook = codebook or load_codebook(experiment.codebook)
    if experiment.review.form is not None:
        try:
            check_form(codebook, experiment.review.form)
        except ConfigError as error:
            raise ConfigError(f"{source.where(('review', 'form'))}: review.form: {error}") from None
    form = experiment.review.form or default_form(codebook)
    if form is ReviewForm.GRADED and experiment.candidates.max > SLOTS:
        where = source.where(("candidates", "max"))
        raise ConfigError(f"{where}: candidates.max: form graded shows at most {SLOTS} candidates, say {SLOTS} or less")
    return experiment, codebook


def _check(experiment: Experiment, source: YamlFile) -> None:
    """Cross-field checks, all problems in one message."""
    problems = [
        *_source_problems(experiment.sources),
        *_candidate_problems(experiment.candidates),
        *_review_problems(experiment.review),
        *(training_problems(experiment.training) if experiment.training else ()),
    ]
    if not experiment.text.strip():
        problems.append((("text",), "empty; name the key of the document's text in Label Studio's task data"))
    if problems:
        raise ConfigError("; ".join(f"{source.where(at)}: {'.'.join(map(str, at))}: {what}" for at, what in problems))


def _source_problems(sources: Sequence[SourceConfig]) -> Iterator[Problem]:
    if not sources:
        yield ("sources",), "none; name at least one"
    first: dict[str, int] = {}
    servers = [i for i, s in enumerate(sources) if s.api and s.api.serves_adapters]
    for i in servers[1:]:
        yield ("sources", i, "api", "serves_adapters"), f"so does {sources[servers[0]].name}; let one server do it"
    for i, s in enumerate(sources):
        if first.setdefault(s.name, i) != i:
            yield ("sources", i, "name"), f"two are named {s.name!r}; rename one"
        if s.name == ADAPTER_SOURCE:
            yield ("sources", i, "name"), f"{ADAPTER_SOURCE!r} is kept for what training makes; choose another"
        for at, what in source_problems(s):
            yield ("sources", i, *at), what


def _candidate_problems(rule: CandidateRule) -> Iterator[Problem]:
    for name in ("max", "top_k"):
        if getattr(rule, name) < 1:
            yield ("candidates", name), "must be 1 or more"
    if not 0 <= rule.floor < 1:
        yield ("candidates", "floor"), "must be at least 0 and below 1"


def _review_problems(review: Review) -> Iterator[Problem]:
    at = "review"
    if review.overlap < 1:
        yield (at, "overlap"), "counts coders of a document; use 1 or more"
    for name in ("overlap_share", "repeat_share", "blind_share", "choose_share", "random_share"):
        if not 0 <= getattr(review, name) <= 1:
            yield (at, name), "is a share of documents; use a number from 0 to 1"
    if review.blind_share + review.choose_share > 1:
        yield (at, "choose_share"), "makes more than 1 with blind_share; lower one of them"
    if review.holdout is Arm.REVIEW:
        yield (at, "holdout"), "the holdout is coded without candidates; use choose or blind"


def _absolute(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with every path made absolute, so that it means the same in every process."""

    def path(value: str) -> str:
        is_file = value.endswith((".yaml", ".yml", ".csv", ".j2")) or value.startswith((".", "/", "~"))
        return str((folder / os.path.expanduser(value)).resolve()) if is_file else value

    training = experiment.training
    if training:
        overrides = dict(training.overrides)
        if isinstance(prompt := overrides.get("prompt"), str):
            overrides["prompt"] = path(prompt)
        training = replace(training, base=path(training.base), recipe=path(training.recipe), overrides=overrides)
    sources = tuple(
        replace(
            s,
            model=s.model if s.kind is SourceKind.CHAT_API else path(s.model),
            prompt=path(s.prompt),
            encoder=path(s.encoder),
            options=with_paths(s.options, folder),
        )
        for s in experiment.sources
    )
    return replace(experiment, codebook=path(experiment.codebook), sources=sources, training=training)


def with_paths(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A package's options with texts that begin with ./, ../ or ~/ made absolute, wherever they stand in them."""

    def absolute(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(("./", "../", "~/")):
            return str((folder / os.path.expanduser(value)).resolve())
        return with_paths(value, folder) if isinstance(value, Mapping) else value

    return {
        key: [absolute(one) for one in value] if isinstance(value, list) else absolute(value)
        for key, value in options.items()
    }
