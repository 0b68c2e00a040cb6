"""Where documents can go: every place that Winnow may write or send one to, by what is configured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.table import Table
from rich.text import Text

from ml_backend.adapter_remote import without_secrets
from ml_backend.experiment import Experiment
from ml_backend.settings import Settings
from ml_backend.source_config import SourceKind, is_local_url
from trainer.model_files import models_of

HERE, NETWORK = "this machine", "elsewhere"


@dataclass(frozen=True, slots=True)
class Destination:
    """A place, ``where`` it is (this machine or elsewhere), and what of documents goes there, for which part."""

    part: str
    place: str
    where: str
    what: str


def installation_destinations(settings: Settings) -> Iterator[Destination]:
    """Where all projects' documents can go."""
    part = "all"
    url = settings.label_studio_url
    yield Destination(part, f"Label Studio, {without_secrets(url)}", _where(url), "tasks, proposals, annotations")
    yield Destination(part, str(settings.home), HERE, "mirrors, rounds and adapters with their examples")
    named = {
        settings.adapter_store_url: "adapters with the examples that they learned from",
        settings.exchange_url: "documents of /classify and --workers until they are fetched",
    }
    for place, what in named.items():
        if "://" in place:
            yield Destination(part, without_secrets(place), _where(place), what)
        elif settings.home not in Path(place).parents:
            yield Destination(part, place, HERE, what)


def experiment_destinations(part: str, experiment: Experiment) -> Iterator[Destination]:
    """Where the sources of an experiment send documents. What runs in the propose worker leaves no machine of ours."""
    for source in experiment.sources:
        if source.kind is SourceKind.CHAT_API and source.api is not None:
            where = _where(source.api.base_url)
            allowed = ", allow_remote" if where == NETWORK else ""
            place = f"{source.name}, {without_secrets(source.api.base_url)}"
            yield Destination(part, place, where, f"documents and prompts{allowed}")
        elif source.allow_remote:
            yield Destination(part, f"{source.name}, as its package decides", NETWORK, "documents, allow_remote")
    for model in models_of(experiment):
        if not Path(model).is_absolute():
            yield Destination(part, f"hub, {model}", NETWORK, "the model's name alone, no document")


def destinations_table(destinations: Sequence[Destination]) -> Table:
    """The places as a table; those elsewhere are marked."""
    table = Table(title="Documents can go to", title_justify="left",
                  caption="Nowhere else. Logs and Redis hold ids and figures, no document.",
                  caption_justify="left")  # fmt: skip
    for heading in ("project", "place", "where", "what"):
        table.add_column(heading, overflow="fold")
    for one in destinations:
        mark = Text(one.where, "bold yellow" if one.where == NETWORK else "")
        table.add_row(Text(one.part), Text(one.place), mark, Text(one.what))
    return table


def all_destinations(settings: Settings, experiments: Iterable[tuple[str, Experiment]]) -> list[Destination]:
    """Those of the installation and of each experiment, which comes with the name of its part."""
    found = list(installation_destinations(settings))
    for part, experiment in experiments:
        found += experiment_destinations(part, experiment)
    return found


def _where(url: str) -> str:
    local = urlsplit(url).scheme in ("file", "local")
    return HERE if local or is_local_url(url) else NETWORK
