"""What fitting an existing project would change: found by reading alone, to be shown before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches, unified_diff
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook, Kind
from label_configs.errors import CodebookError, LabelConfigError
from label_configs.forms import ReviewForm
from label_configs.render import (
    ReadConfig,
    check_label_config,
    default_form,
    read_label_config,
    render_label_config,
)
from label_configs.team_form import FORMS, TeamForm, with_record
from ml_backend import migration, promotions
from ml_backend.codebook_change import CodebookChange, check_dropped, codebook_change, orphans, orphans_line, some
from ml_backend.experiment import Experiment, Order, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_projects import SETTINGS, ProjectState
from ml_backend.own_config import ADDED, is_empty, own_form
from ml_backend.registered_projects import load_project, registered
from ml_backend.settings import Settings


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that would change; ``own`` where it replaces something that Winnow did not write, or what was coded.

    ``lines`` show it in full where a line is not enough.
    """

    what: str
    before: str
    after: str
    own: bool = False
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What fitting a project takes: see ``SetUp``."""

    experiment: Experiment
    changes: tuple[Change, ...]
    settings: Mapping[str, Any]
    label_config: str | None
    names: Mapping[str, str]
    new_codebook: bool
    team: TeamForm | None


def review_settings(review: Review) -> dict[str, Any]:
    """Label Studio's settings for a way of reviewing.

    Overlap of all documents is the project's. That of a share is written into the tasks (``coders_of``): at every
    import Label Studio would draw its share anew, tasks that are coded already first, which is no random share.
    Documents that one coder has coded do not come first, so that all are coded once before they are coded twice.
    Uncertainty sampling serves the lowest score first, uniform sampling a random task.
    """
    return {
        "maximum_annotations": review.overlap if review.overlap_share == 1 else 1,
        "overlap_cohort_percentage": 100,
        "show_overlap_first": False,
        "sampling": "Uniform sampling" if review.order is Order.RANDOM else "Uncertainty sampling",
        "show_collab_predictions": True,
    }


@dataclass(frozen=True)
class Comparison:
    """A project as it is, and the experiment that it is to be fitted to."""

    client: LabelStudioClient
    state: ProjectState
    known: Project | None  # as registered
    experiment: Experiment
    codebook: Codebook
    config: str  # wanted
    renames: Mapping[str, str]
    team: TeamForm | None  # where the label config stays the team's own

    @property
    def form(self) -> ReviewForm:
        """The review form that the experiment asks for."""
        return self.experiment.review.form or default_form(self.codebook)

    def finding(self, settings: Settings) -> Finding:
        """Compare all. Raises CodebookError or LabelConfigError for what cannot be fitted."""
        read = self._read()
        config = self._config(read)
        if config is not None and self.state.annotations and self.team is None:
            self._check_annotated(read)
        codes = self._codebook(read)
        wanted = {name: value for name, value in review_settings(self.experiment.review).items()
                  if self.state.settings[name] != value}  # fmt: skip
        changes = [*([config] if config else []), *codes.changes, *self._settings(wanted), *self._connections(settings)]
        replaced = self.config if config else None
        return Finding(self.experiment, tuple(changes), wanted, replaced, codes.names, codes.new_codebook, self.team)

    def _read(self) -> ReadConfig | None:
        """The project's label config as read, None where it cannot be."""
        try:
            read = read_label_config(self.state.label_config)
        except LabelConfigError:
            return None
        if read.text_key != self.experiment.text and (self.state.tasks or self.team):
            raise LabelConfigError(
                f"project {self.state.id}: its text is ${read.text_key}, winnow.yaml says `text: "
                f"{self.experiment.text}`; make them the same"
            )
        return read

    def _config(self, read: ReadConfig | None) -> Change | None:
        """How the label config would change; None where it fits as it is, edits of layout included."""
        found, why = self.state.label_config, ""
        if self.team:
            return None if self.config == found else self._replaced("the team's own", ADDED, own=True)
        try:
            check_label_config(found, self.codebook, self.form)
            if read is not None and read.text_key != self.experiment.text:
                why = f"shows the task key {read.text_key}"
        except (CodebookError, LabelConfigError) as error:
            why = str(error).partition("; ")[0].removeprefix("label config: ")
        if not why and read is not None:
            if _asked(read.codebook) == _asked(self.codebook):
                return None
            why = "says other names, definitions or instructions than the codebook"
        own = not is_empty(found) and (self.known is None or read is None or read.form is None)
        then = f"Winnow's form {self.form}"
        if own and read is not None and read.form is None and self.experiment.review.form is None:
            then += " (the team's own stays with `review.form: whole`)"
        return self._replaced(why, then, own=own)

    def _replaced(self, before: str, after: str, *, own: bool) -> Change:
        lines = unified_diff(self.state.label_config.splitlines(), self.config.splitlines(), "label config now",
                             "label config then", lineterm="", n=1)  # fmt: skip
        return Change("label config", before, after, own, tuple(lines))

    def _check_annotated(self, read: ReadConfig | None) -> None:
        """Raises LabelConfigError where the annotations could not be read under the new label config."""
        if read is None or read.form is None:
            what = f"under a label config of the team's own, which stays in the forms {', '.join(FORMS)} only"
        elif read.form is not self.form:
            what = f"in the form {read.form}, not {self.form}"
        elif read.codebook.kind is not self.codebook.kind:
            what = f"under a codebook that is {read.codebook.kind}, not {self.codebook.kind}"
        else:
            return
        raise LabelConfigError(
            f"project {self.state.id}: has {self.state.annotations} annotations {what}; Winnow does not replace it: "
            "make a new project (`winnow init` without --project)"
        )

    def _codebook(self, read: ReadConfig | None) -> _Codes:
        """How labels change, against the codebook that is registered, and the one that the label config has."""
        before = [self.known.codebook] if self.known else []
        if read is not None and read.form is not None:
            before.append(read.codebook)
        known_keys = {key for old in before for key in (*old.label_keys, *(code.key for code in old.codes))}
        self._check_renames(known_keys)
        names: dict[str, str] = {}
        added: list[str] = []
        for old in before:
            change = codebook_change(old, self.codebook, self.renames)
            names |= self._accounted(old, change)
            added += [key for key in change.added if key not in added]
        left_over = {label: new for label, new in names.items() if label not in known_keys}
        if left_over and self.known and not self._migration(self.known.folder, left_over).left():
            names = {label: new for label, new in names.items() if label not in left_over}
        changes = []
        if self.known and added:
            changes.append(Change("codebook", "", f"codes added: {some(added)}"))
        if dropped := [label for label, new in names.items() if not new]:
            changes.append(Change("codebook", some(dropped), "removed; no decision says that they hold", True))
        told = "annotations, drafts and predictions are rewritten; as they were, they are kept in renamed.jsonl"
        changes += [Change("code", label, f"{new} ({told})", True) for label, new in names.items() if new]
        new_codebook = self.known is not None and self.known.codebook.fingerprint != self.codebook.fingerprint
        if self.known and new_codebook and (adapter := promotions.current(self.known.folder)):
            changes.append(Change("adapter", adapter, "set aside: it was trained for the codebook before", True))
        return _Codes(changes, names if self.state.tasks else {}, new_codebook)

    def _accounted(self, old: Codebook, change: CodebookChange) -> dict[str, str]:
        """The labels to rename or drop. Raises CodebookError for those that decisions name and nobody mapped."""
        before = self.known.team if self.known else None
        dropping = [label for label, new in change.names.items() if not new]
        if not (change.removed or dropping) or not self.state.annotations:
            tasks = []
        else:
            tasks = self.client.export(self.state.id, annotated_only=True)
        if found := orphans(tasks, old, self.form, self.experiment.text, change.removed, before):
            first = next(iter(found))
            raise CodebookError(
                f"project {self.state.id}: codebook {self.codebook.name} lacks codes that decisions name: "
                f"{orphans_line(found)}; keep the codes, or say with `--map {first}=NEW` what they are called now "
                f"(`--map {first}=` drops one that never holds)"
            )
        check_dropped(tasks, old, self.form, self.experiment.text, change.names, before)
        # What no decision names is dropped from what coders are shown. A graded candidate has its place in a control's
        # name, so there `winnow prelabel` does it.
        dropped = {} if old.kind is Kind.GRADED else dict.fromkeys(change.removed, "")
        return {**change.names, **dropped}

    def _migration(self, folder: Path, names: Mapping[str, str]) -> migration.Migration:
        show = self.experiment.candidates.show_sources
        teams = (self.known.team if self.known else None, self.team)
        return migration.Migration(self.client, self.state.id, folder, names, self.codebook, self.form, show, *teams)

    def _check_renames(self, known_keys: set[str]) -> None:
        if self.known and ((self.known.folder / migration.KEPT).exists() or migration.begun(self.known.folder)):
            return  # what an earlier run left over may be named by no codebook any more
        for name in self.renames:
            if name not in known_keys:
                near = get_close_matches(name, sorted(known_keys), 1)
                hint = f"did you mean {near[0]}?" if near else f"it has {some(sorted(known_keys))}"
                raise CodebookError(f"--map {name}=…: project {self.state.id} has no code {name}; {hint}")

    def _settings(self, wanted: Mapping[str, Any]) -> list[Change]:
        baseline = review_settings(self.known.experiment.review) if self.known else SETTINGS
        changes = [
            Change(name, str(self.state.settings[name]), str(value), self.state.settings[name] != baseline[name])
            for name, value in wanted.items()
        ]
        version = self.state.model_version
        if version and self.known is None and not version.startswith("winnow-review-"):
            then = "the review prediction's, once `winnow prelabel` is done"
            changes.append(Change("model version", version, then, True))
        return changes

    def _connections(self, settings: Settings) -> list[Change]:
        url, token = settings.backend_url, settings.webhook_token
        changes = []
        if token is None or not self.client.webhook(self.state.id, f"{url}/webhook", token.get_secret_value()):
            changes.append(Change("webhook", "", f"{url}/webhook"))
        if not self.client.backends(self.state.id, url):
            changes.append(Change("ML backend", "", url))
        if self.known and replace(self.known.experiment, codebook="") != replace(self.experiment, codebook=""):
            changes.append(Change("experiment", "", "winnow.yaml as it is now"))
        return changes


@dataclass(frozen=True)
class _Codes:
    changes: list[Change]
    names: dict[str, str]
    new_codebook: bool


def compare(
    settings: Settings,
    client: LabelStudioClient,
    project_id: int,
    experiment: Experiment,
    codebook: Codebook,
    renames: Mapping[str, str],
) -> Finding:
    """What fitting the project takes.

    Raises as ``Comparison.finding``, and LabelConfigError for annotations under a label config of the team's own that
    Winnow does not understand; where nothing is annotated, that is a change to agree to.
    """
    known = load_project(settings.home, project_id) if project_id in registered(settings.home) else None
    state = client.project_state(project_id)
    team = own_form(state, known, experiment.review, codebook)
    if team is not None:
        config = with_record(state.label_config)
        review = replace(experiment.review, form=experiment.review.form or ReviewForm.WHOLE)
        experiment = replace(experiment, review=review)
    else:
        form = experiment.review.form or default_form(codebook)
        config = render_label_config(codebook, form, text_key=experiment.text)
    return Comparison(client, state, known, experiment, codebook, config, renames, team).finding(settings)


def _asked(codebook: Codebook) -> tuple[object, ...]:
    """What of a codebook a label config carries, its order apart."""
    return codebook.instruction, codebook.max_codes, {code.key: code for code in codebook.codes}, codebook.levels
