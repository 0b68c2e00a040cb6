"""Which sources a name stands for, and a specification's way to another host."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from label_configs.codebook import Code, Codebook, load_codebook, shipped_codebooks
from label_configs.errors import AdapterError, ConfigError
from label_configs.records import Document, VerifiedExample
from ml_backend import adapters, promotions
from ml_backend.classifying import ClassifySpec, propose_all, propose_missing, resolve
from ml_backend.experiment import Experiment, Project
from ml_backend.registered_projects import register
from ml_backend.snapshot import publish_snapshot
from ml_backend.source_config import Budget, ChatApi, Price, SourceConfig, SourceKind, Structure
from ml_backend.versions import ActiveSource
from tests.unit.ml_backend.classifying_parts import NotingPool

DOCUMENTS = [Document("d1", "ship ship grain"), Document("d2", "grain"), Document("d3", "ship")]
WORDS, AGAIN = SourceConfig("words", SourceKind.FAKE), SourceConfig("again", SourceKind.FAKE)
PROBE = SourceConfig("probe", SourceKind.PROBE, "org/encoder")


def adapter_of(home: Path, codebook: Codebook, *, model: str = "org/model") -> str:
    folder = home / "trained"
    folder.mkdir(parents=True, exist_ok=True)
    for name in adapters.FILES:
        (folder / name).write_text(json.dumps({"model": model}))
    manifest = {"base": model, "prompt": "zero_shot", "max_document_tokens": 300, "codebook": codebook.fingerprint}
    return adapters.store_of(home).publish(folder, manifest).id


@pytest.fixture
def three(home: Path, codebook: Codebook) -> Project:
    """A project whose third source needs verified examples."""
    return register(home, 8, Experiment("small", (WORDS, AGAIN, PROBE)), codebook)


def teach(project: Project) -> None:
    labels = ("ship", "grain")
    publish_snapshot(
        project.folder, [VerifiedExample(f"e{i}", f"text {i}", (labels[i % 2],), ("ann",), False) for i in range(20)]
    )


# --- names ----------------------------------------------------------------------------------------------------------


def test_without_names_all_sources_that_can_propose_do(three: Project, caplog: pytest.LogCaptureFixture) -> None:
    assert [name for name, _ in resolve(three.home, project=three).names] == ["words", "again"]
    assert 'sources left out: place="project 8" sources=probe' in caplog.text
    teach(three)
    assert [name for name, _ in resolve(three.home, project=three).names] == ["words", "again", "probe"]


def test_without_names_the_current_adapter_goes_first_of_all(three: Project) -> None:
    adapter_id = adapter_of(three.home, three.codebook)
    promotions.promote(three.folder, adapters.store_of(three.home).get(adapter_id))
    spec = resolve(three.home, project=three)
    assert spec.names == [("adapter", f"org/model/zero_shot-300@{adapter_id}")]
    assert resolve(three.home, project=three, names=["adapter"]) == spec
    both = resolve(three.home, project=three, names=["words", "adapter", "words"])
    assert [name for name, _ in both.names] == ["words", "adapter"], "in the order of the names, each once"


def test_an_adapter_needs_no_project(home: Path, codebook: Codebook) -> None:
    adapter_id = adapter_of(home, codebook)
    (active,) = resolve(home, codebook=codebook, names=[f"adapter:{adapter_id}"]).sources
    assert (active.adapter_id, active.config.model, active.config.max_document_tokens) == (adapter_id, "org/model", 300)
    assert active.config.name == f"adapter:{adapter_id}"


def test_a_winnow_yaml_needs_no_project_either(home: Path, codebook: Codebook) -> None:
    experiment = Experiment("small", (WORDS, PROBE))
    assert resolve(home, codebook=codebook, experiment=experiment).names == [("words", "words/fake@base")]
    (active,) = resolve(home, codebook=codebook, experiment=experiment, names=["words"]).sources
    assert active.config == WORDS


def refused(kind: type[Exception], home: Path, **given: object) -> str:
    with pytest.raises(kind) as caught:
        resolve(home, **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_names_nothing_is_told_with_the_nearest_name(three: Project) -> None:
    told = refused(ConfigError, three.home, project=three, names=["wrds"])
    assert told == (
        "source 'wrds': not one of project 8, nor adapter:<id>; rename it (nearest source: 'words')"
    )  # fmt: skip
    told = refused(ConfigError, three.home, project=three, names=["adapter"])
    assert told.startswith("source 'adapter': project 8 has no current adapter; name adapter:<id>")
    told = refused(ConfigError, three.home, codebook=three.codebook, names=["adapter"])
    assert "only a project has a current one" in told
    told = refused(ConfigError, three.home, codebook=three.codebook, names=["words"])
    assert told == "source 'words': no project or winnow.yaml to look in; name adapter:<id>"
    assert "no source to classify with" in refused(ConfigError, three.home, codebook=three.codebook)
    assert "no codebook" in refused(ConfigError, three.home)


def test_a_source_that_learns_needs_a_project_with_examples(three: Project) -> None:
    told = refused(ConfigError, three.home, project=three, names=["probe"])
    assert "of which project 8 has too few" in told
    only = Experiment("small", (PROBE,))
    for names in ([], ["probe"]):
        told = refused(ConfigError, three.home, codebook=three.codebook, experiment=only, names=names)
        assert told == "source 'probe': works with verified examples, which a project has; name the project"


def test_an_adapter_must_fit_the_codebook(three: Project) -> None:
    other = replace(three.codebook, codes=(*three.codebook.codes, Code("oil", "Oil", "Crude.", "oil")))
    adapter_id = adapter_of(three.home, other)
    told = refused(AdapterError, three.home, project=three, names=[f"adapter:{adapter_id}"])
    assert "was trained for another codebook" in told
    for name in ("adapter:0123456789abcdef", "adapter:", "adapter:../../etc"):
        assert "adapter" in refused(AdapterError, three.home, project=three, names=[name])
    told = refused(ConfigError, three.home, project=three, codebook=other)
    assert told == "project 8 has a codebook of its own; name either the project or a codebook"


# --- to another host ------------------------------------------------------------------------------------------------


def test_a_specification_travels_as_json_to_another_home(three: Project, tmp_path: Path) -> None:
    teach(three)
    api = ChatApi("http://127.0.0.1:8000/v1", key="vllm", structure=Structure.JSON_SCHEMA, budget=Budget(money=2.5))
    chat = SourceConfig("chat", SourceKind.CHAT_API, "served", api=api, price=Price(0.1, 0.4))
    spec = resolve(three.home, project=three)
    spec = ClassifySpec(spec.codebook, (*spec.sources, ActiveSource(chat, "served/zero_shot-api@base")))
    data = json.loads(json.dumps(spec.to_json(three.home)))
    assert ClassifySpec.from_json(data, three.home) == spec
    elsewhere = ClassifySpec.from_json(data, tmp_path / "other")
    assert elsewhere.digest == spec.digest
    moved, kept = elsewhere.sources[2].snapshot, spec.sources[2].snapshot
    assert kept is not None
    assert moved == tmp_path / "other" / kept.relative_to(three.home)


def test_every_shipped_codebook_travels(home: Path) -> None:
    for name in shipped_codebooks():
        codebook = load_codebook(name)
        spec = ClassifySpec(codebook, (ActiveSource(WORDS, "v"),))
        assert ClassifySpec.from_json(json.loads(json.dumps(spec.to_json(home))), home) == spec


def test_the_digest_names_codebook_sources_and_order(three: Project) -> None:
    spec = resolve(three.home, project=three, names=["words", "again"])
    others = [
        resolve(three.home, project=three, names=["again", "words"]),
        resolve(three.home, project=three, names=["words"]),
        ClassifySpec(replace(spec.codebook, instruction="Which?"), spec.sources),
        ClassifySpec(spec.codebook, (replace(spec.sources[0], version="other"), spec.sources[1])),
    ]
    assert len({spec.digest, *(other.digest for other in others)}) == 5
    assert ClassifySpec(replace(spec.codebook, name="renamed"), spec.sources).digest == spec.digest


@pytest.mark.parametrize("change", [{"kind": 7}, {"unknown": 1}, {"shots": "1"}])
def test_one_of_another_version_is_told(three: Project, change: dict[str, object]) -> None:
    data = resolve(three.home, project=three).to_json(three.home)
    data["sources"][0]["config"] |= change
    with pytest.raises(ConfigError, match="of another version of Winnow; update"):
        ClassifySpec.from_json(data, three.home)
    with pytest.raises(ConfigError, match="of another version of Winnow; update"):
        ClassifySpec.from_json({}, three.home)


# --- proposing ------------------------------------------------------------------------------------------------------


def test_proposals_come_per_document_in_the_order_of_the_sources(three: Project) -> None:
    spec = resolve(three.home, project=three, names=["again", "words"])
    rows = propose_all(NotingPool(), spec, DOCUMENTS)
    assert [[(p.document_id, p.source) for p in row] for row in rows] == [
        [(d.id, "again"), (d.id, "words")] for d in DOCUMENTS
    ]
    assert propose_all(NotingPool(), spec, []) == []


def test_only_what_is_missing_is_computed(redis: Redis, three: Project) -> None:
    one, two = (resolve(three.home, project=three, names=names) for names in (["words"], ["again", "words"]))
    pool = NotingPool()
    propose_missing(redis, pool, one, DOCUMENTS[:1])
    rows = propose_missing(redis, pool, two, DOCUMENTS)
    assert pool.asked == [
        ("words", ["d1"]),
        ("again", ["d1"]),
        ("again", ["d2", "d3"]),
        ("words", ["d2", "d3"]),
    ]
    assert rows == propose_all(NotingPool(), two, DOCUMENTS)
    pool.asked.clear()
    assert propose_missing(redis, pool, two, DOCUMENTS) == rows
    assert pool.asked == []


def test_what_is_not_to_be_kept_is_not(redis: Redis, three: Project) -> None:
    spec = resolve(three.home, project=three, names=["words"])
    propose_missing(redis, NotingPool(), spec, DOCUMENTS, keep=False)
    assert redis.dbsize() == 0
