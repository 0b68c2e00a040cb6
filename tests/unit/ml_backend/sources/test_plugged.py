"""Sources of installed packages: found by their metadata, asked under the same rules as Winnow's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import ConfigError, ModelError
from label_configs.records import Document
from ml_backend.experiment import Experiment, load_experiment
from ml_backend.plugin_check import checked_plugins
from ml_backend.registered_projects import load_project, register
from ml_backend.source_config import Price, SourceConfig, SourceKind, source_problems
from ml_backend.source_plugins import installed_plugins
from ml_backend.sources.plugged import PluggedSource, plugged_source
from ml_backend.versions import ActiveSource, source_version

BOOK = Codebook("b", Kind.EXCLUSIVE, (Code("s", "Ships", "d", "ship"), Code("g", "Corn", "d", "corn")))
DOCUMENTS = [Document("d1", "a secret text"), Document("d2", "another")]
MODULE = """
from dataclasses import dataclass, field
from label_configs.records import Proposal, ScoredLabel
from ml_backend.sources.base import ranked
from ml_backend.sources.plugin import SourcePlugin

@dataclass(frozen=True)
class Options:
    file: str = ""
    words: tuple[str, ...] = ()

class Source:
    def __init__(self, name, version, codebook, options):
        self.name, self.version, self.codebook, self.options = name, version, codebook, options
    def propose(self, documents):
        return PROPOSE

plugin = SourcePlugin(Source, sends_documents_away=REMOTE, options=OPTIONS)
"""
SOUND = "[Proposal(d.id, self.name, self.version, ranked(self.codebook, [0.25, 0.75])) for d in documents]"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package with a kind of source where Python finds packages."""
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    installed_plugins.cache_clear()

    def put(
        kind: str, *, propose: str = SOUND, remote: bool = False, options: str = "Options", version: str = "1.2",
        module: str = "", entry: str = "plugin", package: str = "",
    ) -> None:  # fmt: skip
        code, package = f"winnow_{kind}_{package or 'a'}", package or "a"
        told = tmp_path / "packages" / f"{code}-{version}.dist-info"
        told.mkdir(parents=True)
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {code}\nVersion: {version}\n")
        (told / "entry_points.txt").write_text(f"[winnow.sources]\n{kind} = {code}:{entry}\n")
        text = module or MODULE.replace("PROPOSE", propose).replace("REMOTE", str(remote)).replace("OPTIONS", options)
        (tmp_path / "packages" / f"{code}.py").write_text(text)
        sys.modules.pop(code, None)
        installed_plugins.cache_clear()

    yield put
    installed_plugins.cache_clear()


def made(config: SourceConfig) -> PluggedSource:
    return plugged_source(BOOK, ActiveSource(config, source_version(config, None)))


def problems(config: SourceConfig) -> str:
    return "; ".join(f"{'.'.join(map(str, at))}: {what}" for at, what in source_problems(config))


def test_it_proposes_under_its_name_and_version(install: Install) -> None:
    install("one")
    config = SourceConfig("mine", "one", temperature=2, price=Price(device_hour=1), options={"words": ["x"]})
    assert not problems(config)
    source = made(config)
    proposals = source.propose(DOCUMENTS)
    assert [(p.document_id, p.source, p.labels[0].label) for p in proposals] == [
        ("d1", "mine", "g"),
        ("d2", "mine", "g"),
    ]
    assert source.version.startswith("mine/one-1.2-")
    assert hash(ActiveSource(config, source.version)) is not None


def test_the_version_names_package_and_options(install: Install) -> None:
    install("one")
    config = SourceConfig("mine", "one", options={"words": ["x"]})
    before = source_version(config, None)
    assert source_version(replace(config, options={"words": ["y"]}), None) != before
    assert source_version(replace(config, allow_remote=True), None) == before
    install("two", version="3")
    assert source_version(SourceConfig("mine", "two"), None).startswith("mine/two-3-")
    # Another host has another version of the package.
    with pytest.raises(
        ConfigError, match=r"winnow[-_]one[-_]a 1\.2 is installed here, .*one-1\.1-abc@base was asked for"
    ):
        plugged_source(BOOK, ActiveSource(config, "mine/one-1.1-abc@base"))


def test_documents_leave_this_machine_by_leave_alone(install: Install, tmp_path: Path) -> None:
    install("far", remote=True)
    config = SourceConfig("mine", "far")
    with pytest.raises(
        ConfigError, match=r"source mine: .* sends documents away .* add `allow_remote: true` to let it"
    ):
        made(config)
    assert made(replace(config, allow_remote=True)).propose(DOCUMENTS)
    path = tmp_path / "winnow.yaml"
    path.write_text("codebook: reuters8\nsources:\n  - {name: w, kind: fake}\n  - {name: mine, kind: far}\n")
    with pytest.raises(ConfigError, match=r"winnow\.yaml:4: .* sends documents away"):
        checked_plugins(load_experiment(path)[0], path)
    path.write_text(path.read_text().replace("kind: far", "kind: far, allow_remote: true"))
    (told,) = checked_plugins(load_experiment(path)[0], path)
    assert (told.source, told.kind, told.version, told.remote) == ("mine", "far", "1.2", True)
    assert "winnow_far_a" in sys.modules, "made() loaded it here"


def test_what_a_package_breaks_is_one_error_without_the_text(install: Install) -> None:
    install("raises", propose="[documents[0].nothing]")
    install("quotes", propose="int(documents[0].text)")
    install("gone", module="import no_such_module")
    install("none", entry="Options")
    for kind, told in (
        ("raises", r"failed \(AttributeError at winnow_raises_a\.py:\d+\)"), ("quotes", r"failed \(ValueError at "),
        ("gone", r"failed \(ModuleNotFoundError at "), ("none", "which is no SourcePlugin"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=told) as caught:
            made(SourceConfig("mine", kind)).propose(DOCUMENTS)
        assert "secret" not in str(caught.value)
        assert str(caught.value).startswith("source mine: winnow")


@pytest.mark.parametrize(
    ("propose", "told"),
    [
        ("['x', 'y']", "gave something that is no Proposal"),
        (f"{SOUND}[:1]", "gave 1 proposals for 2 documents"),
        (f"{SOUND}[::-1]", "not one each in their order"),
        (SOUND.replace("self.name", "'other'"), "under another name"),
        (SOUND.replace("ranked(self.codebook, [0.25, 0.75])", "(ScoredLabel('s', 1.0),)"), "of the codebook's labels"),
        (SOUND.replace("0.75", "float('nan')"), "probability that is not between 0 and 1"),
        (SOUND.replace("0.75", "7"), "probability that is not between 0 and 1"),
        (SOUND.replace(")) for", ")[::-1]) for"), "not in the order of their probabilities"),
    ],
)  # fmt: skip
def test_proposals_that_are_not_sound_are_refused(install: Install, propose: str, told: str) -> None:
    install("odd", propose=propose)
    with pytest.raises(ModelError, match=told):
        made(SourceConfig("mine", "odd")).propose(DOCUMENTS)


def test_what_cannot_be_in_its_configuration(install: Install) -> None:
    install("one")
    install("bare", options="None")
    assert "model: a source of kind one does not read it" in problems(SourceConfig("m", "one", model="x"))
    assert "prompt: a source of kind one does not read it" in problems(SourceConfig("m", "one", prompt="x"))
    assert (
        problems(SourceConfig("m", "one", options={"words": ["a", None]})) == "options.words.1: is null; leave it out"
    )
    assert "only a source of kind adapter has one" in problems(SourceConfig("m", "one", adapter="0" * 16))
    assert "options: only the source of an installed package has it" in problems(
        SourceConfig("m", SourceKind.FAKE, options={"a": 1})
    )
    assert "allow_remote: only the source" in problems(SourceConfig("m", SourceKind.FAKE, allow_remote=True))
    with pytest.raises(ConfigError, match=r"source m: options: .* has none; remove them"):
        made(SourceConfig("m", "bare", options={"a": 1}))
    install("one", package="b")
    assert "both bring the kind of source 'one'; uninstall one of them" in problems(SourceConfig("m", "one"))
    with pytest.raises(ConfigError, match="no package installed here brings the kind of source 'gone'"):
        source_version(SourceConfig("m", "gone"), None)


def test_a_registered_project_keeps_it(install: Install, tmp_path: Path) -> None:
    install("one")
    path = tmp_path / "team" / "winnow.yaml"
    path.parent.mkdir()
    source = "{name: mine, kind: one, options: {file: ./words.txt, words: [../a, b]}}"
    path.write_text(f"codebook: reuters8\nsources:\n  - {source}\n")
    experiment, codebook = load_experiment(path)
    (config,) = experiment.sources
    expected = {"file": str(path.parent / "words.txt"), "words": [str(tmp_path / "a"), "b"]}
    assert (config.kind, config.options) == ("one", expected)
    register(tmp_path / "home", 3, experiment, codebook)
    kept: Experiment = load_project(tmp_path / "home", 3).experiment
    assert kept.sources == experiment.sources
