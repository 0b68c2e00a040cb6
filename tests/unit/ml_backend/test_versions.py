"""Versions: the same inputs have the same, and whatever changes a proposal changes its version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.errors import AdapterError
from label_configs.forms import ReviewForm
from label_configs.records import VerifiedExample
from ml_backend.adapters import Adapter
from ml_backend.experiment import CandidateRule, Order, Project, Review
from ml_backend.proposing import Plan
from ml_backend.snapshot import publish_snapshot, taking_over
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from ml_backend.versions import active_sources, review_version, source_version

CAUSAL = SourceConfig("zero", SourceKind.CAUSAL, "/models/smollm2", "zero_shot")


def adapter_for(project: Project, **changes: object) -> Adapter:
    manifest = {
        "base": "/models/smollm2",
        "prompt": "definitions",
        "max_document_tokens": 256,
        "codebook": project.codebook.fingerprint,
    } | changes
    return Adapter("0123456789abcdef", Path("/adapters/0123456789abcdef"), manifest)


def test_a_version_reads_as_model_prompt_adapter() -> None:
    hub = SourceConfig("a", SourceKind.CAUSAL, "org/model", "zero_shot")
    assert source_version(hub, None) == "org/model/zero_shot@base"
    assert source_version(hub, "0123") == "org/model/zero_shot@0123"
    assert source_version(SourceConfig("a", SourceKind.SIMILARITY, "org/mini"), None) == "org/mini/similarity@base"
    assert source_version(SourceConfig("words", SourceKind.FAKE), None) == "words/fake@base"
    assert source_version(CAUSAL, None).startswith("smollm2-")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "/other/smollm2"},
        {"model": "org/smollm2"},
        {"model": "other/smollm2"},
        {"prompt": "definitions"},
        {"max_document_tokens": 100},
        {"kind": SourceKind.SIMILARITY},
    ],
    ids=str,
)
def test_whatever_changes_the_proposals_changes_the_version(change: dict[str, object]) -> None:
    assert source_version(replace(CAUSAL, **change), None) != source_version(CAUSAL, None)  # type: ignore[arg-type]


def test_the_same_inputs_have_the_same_version() -> None:
    assert source_version(replace(CAUSAL), None) == source_version(CAUSAL, None)
    assert source_version(replace(CAUSAL, name="renamed"), None) == source_version(CAUSAL, None)


def test_the_adapter_proposes_last_and_as_it_was_trained(project: Project) -> None:
    *_, last = active_sources(project, adapter_for(project))
    assert (last.config.name, last.config.kind, last.config.prompt) == ("adapter", SourceKind.ADAPTER, "definitions")
    assert last.config.max_document_tokens == 256
    assert last.version.endswith("/definitions-256@0123456789abcdef")
    assert [s.config.name for s in active_sources(project, None)] == ["words"]


def test_an_adapter_of_another_codebook_is_refused(project: Project) -> None:
    with pytest.raises(AdapterError, match=r"was trained for another codebook .* `winnow adapters rollback`"):
        active_sources(project, adapter_for(project, codebook="other"))
    adapter = Adapter("0123456789abcdef", Path("/a"), {"base": "x"})
    with pytest.raises(AdapterError, match="manifest lacks codebook, max_document_tokens, prompt; roll it back"):
        active_sources(project, adapter)


def test_the_review_version_names_all_that_the_candidates_depend_on(project: Project) -> None:
    def version(changed: Project) -> str:
        return review_version(changed, active_sources(changed, None))

    experiment = project.experiment
    changed = [
        replace(project, experiment=replace(experiment, candidates=CandidateRule(max=2))),
        replace(project, experiment=replace(experiment, review=Review(ReviewForm.WHOLE))),
        replace(project, experiment=replace(experiment, sources=(*experiment.sources, CAUSAL))),
        replace(project, codebook=replace(project.codebook, instruction="Read on.")),
        replace(project, experiment=replace(experiment, review=Review(choose_share=0.2))),
        replace(project, experiment=replace(experiment, training=Training("m"))),
        replace(project, experiment=replace(experiment, review=Review(order=Order.UNCERTAINTY))),
        replace(project, experiment=replace(experiment, review=Review(order=Order.UNCERTAINTY, random_share=0.2))),
    ]
    versions = {version(p) for p in changed} | {version(project)}
    assert len(versions) == 9
    weighted = review_version(project, active_sources(project, None), "0123456789abcdef")
    assert weighted not in versions
    assert review_version(project, active_sources(project, None), "") == version(project)
    led = {review_version(project, active_sources(project, None), leader=name) for name in ("words", "adapter")}
    assert len(led | versions | {weighted}) == 12
    assert review_version(project, active_sources(project, None), leader="") == version(project)
    for harmless in (Review(overlap=2), Review(random_share=0.5), Review(repeat_share=0.1)):
        assert version(replace(project, experiment=replace(experiment, review=harmless))) == version(project)
    assert version(replace(project, id=8)) == version(project)
    assert all(v.startswith("winnow-review-") for v in versions)
    assert review_version(project, active_sources(project, adapter_for(project))) not in versions


def learning(project: Project) -> Project:
    sources = (SourceConfig("probe", SourceKind.PROBE, "org/mini"), replace(CAUSAL, prompt="few_shot"), CAUSAL)
    return replace(project, experiment=replace(project.experiment, sources=sources))


def verified(number: int) -> list[VerifiedExample]:
    return [VerifiedExample(f"d{n}", f"text {n}", (("ship", "grain")[n % 2],), (), False) for n in range(number)]


def test_sources_that_learn_take_part_once_there_are_enough_examples(project: Project) -> None:
    project = learning(project)
    publish_snapshot(project.folder, verified(19))
    assert [s.config.prompt for s in active_sources(project, None)] == ["zero_shot"]
    path = publish_snapshot(project.folder, verified(20))
    probe, few_shot, zero_shot = active_sources(project, None)
    assert (probe.snapshot, few_shot.snapshot, zero_shot.snapshot) == (path, path, None)
    assert probe.version.startswith("org/mini/probe-")
    assert "/few_shot-" in few_shot.version
    assert zero_shot.version.endswith("/zero_shot@base")


def test_other_examples_are_another_version_and_the_plan_has_those_that_were_pushed(project: Project) -> None:
    project = learning(project)

    def versions(*, pushed: bool) -> list[str]:
        return [s.version for s in active_sources(project, None, pushed=pushed) if s.snapshot]

    publish_snapshot(project.folder, verified(20))
    assert versions(pushed=True) == []
    with taking_over(project.folder):
        pass
    first = versions(pushed=False)
    assert versions(pushed=True) == first
    publish_snapshot(project.folder, verified(21))
    assert not set(versions(pushed=False)) & set(first)
    assert versions(pushed=True) == first == [v for _, v in Plan.of(project).names if not v.endswith("/zero_shot@base")]
