"""`winnow adapters`: what is listed, what is exported and loads elsewhere, what may go."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from label_configs.codebook import Code, Codebook, Kind, dump_codebook
from label_configs.errors import AdapterError, ModelError
from ml_backend import promotions
from ml_backend.adapter_files import FILES, Adapter
from ml_backend.adapters import AdapterStore, store_of
from ml_backend.base_state import base_state
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.experiment import Experiment, Project
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.cli import main
from trainer.evaluation.metrics import measure
from trainer.export import export
from trainer.model_card import model_card

BOOK = Codebook(
    "Ships | corn",
    Kind.EXCLUSIVE,
    (Code("s", "Ships", "Vessels | and ports.", "ship"), Code("g", "Corn", "Wheat, *maize*.", "corn")),
    "What is it about?",
)
PROMPT = (
    "{% block system %}Codes: {{ codebook.name }}{% endblock %}{% block user %}```\n{{ document }}\n```{% endblock %}"
    "{% block question %}Which?{% endblock %}"
)
IDS = torch.tensor([[5, 9, 2, 77, 31, 60, 12]])
NOW = datetime.now(UTC)
Run = Callable[..., str]


def metrics(**changes: Any) -> dict[str, Any]:
    truth = [("s",), ("g",), ("s",)]
    return asdict(measure(truth, [("s",), ("g",), ("g",)], BOOK.label_keys, kind=BOOK.kind)) | changes


def manifest(base: Path, **changes: Any) -> dict[str, Any]:
    state = base_state(str(base))
    assert state is not None
    return {
        "base": str(base), "base_digest": state.digest, "base_revision": None, "prompt": "/prompts/own.j2",
        "prompt_file": "own.j2", "max_document_tokens": 64, "codebook": BOOK.fingerprint, "project": 7, "round": "r1",
        "recipe": {"rank": 4, "prompt": "/prompts/own.j2"}, "training_examples": 40, "holdout_examples": 3,
        "examples_digest": "e" * 16, "metrics": {"new": metrics(), "current": metrics(macro_f1=None)},
        "gate": {"verdict": "promoted", "reason": "Better | by far.", "metric": "macro_f1", "new": 0.6,
                 "current": None},
        "temperature": 1.5, "ece": 0.1, "seeds": {"training": 0}, "device": "cpu", "precision": "fp32",
        "training_seconds": 2.5, "packages": {"torch": "2"}, "made_at": NOW.isoformat(timespec="seconds"),
        "git": {"commit": "c" * 40, "changed": True},
    } | changes  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> AdapterStore:
    return store_of(home)


@pytest.fixture
def project(home: Path) -> Project:
    experiment = Experiment("b", (SourceConfig("words", SourceKind.FAKE),), training=Training("owner/model"))
    return register(home, 7, experiment, BOOK)


@pytest.fixture
def base(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "base"))


@pytest.fixture
def tuned(base: Path, store: AdapterStore, tmp_path: Path) -> Adapter:
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "trained")
    for name, text in (("own.j2", PROMPT), ("codebook.yaml", dump_codebook(BOOK)), ("rows", "a secret document")):
        (tmp_path / name).write_text(text)
    extras = {"own.j2": tmp_path / "own.j2", "codebook.yaml": tmp_path / "codebook.yaml",
              "examples.parquet": tmp_path / "rows"}  # fmt: skip
    return store.publish(tmp_path / "trained", manifest(base), extras)


def made(store: AdapterStore, folder: Path, name: str, age: float, project: int | None = 7) -> str:
    """An adapter of ``age`` days that nobody loads."""
    (folder / name).mkdir()
    for file in FILES:
        (folder / name / file).write_text(name)
    told = {"base": "owner/model", "made_at": (NOW - timedelta(days=age)).isoformat()}
    return store.publish(folder / name, told | ({"project": project} if project else {})).id


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["adapters", *map(str, arguments)])
        captured = capsys.readouterr()
        assert int(ended.value.code or 0) == code, captured.err
        if code:
            assert re.fullmatch(r"winnow: [^\n]+\n", captured.err), captured.err
        return captured.err if code else captured.out

    return run


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    return torch.as_tensor(model.eval()(IDS).logits)


def expected(tuned: Adapter) -> torch.Tensor:
    model = CausalModel(tuned.manifest["base"], DeviceFacts("cpu", "cpu", 1 << 30, False))
    with model.using(tuned.id, tuned.folder) as causal:
        return logits(causal)


# --- list and show ---------------------------------------------------------------------------------------------------


def test_the_list_says_what_proposes_where(run: Run, tuned: Adapter, project: Project, store: AdapterStore,
                                           tmp_path: Path) -> None:  # fmt: skip
    other = made(store, tmp_path, "other", 3, project=8)
    promotions.promote(project.folder, tuned)
    line = next(line for line in run("list").splitlines() if tuned.id in line)
    for told in ("r1", "base", "promoted", "macro_f1 0.600 against –", "40 + 3", "project 7"):
        assert told in line
    rows = json.loads(run("list", "--json"))
    assert {row["id"]: row["current_in"] for row in rows} == {other: [], tuned.id: [7]}
    assert next(row for row in rows if row["id"] == tuned.id)["size"] == tuned.size > 0
    assert [row["id"] for row in json.loads(run("list", "--project", 7, "--json"))] == [tuned.id]
    assert "not known to Winnow" in run("list", "--project", 9, code=2)
    (tuned.folder / "manifest.json").write_text("{")
    assert "manifest.json: missing or damaged" in run("list")


def test_show_says_all_and_looks_at_all(run: Run, tuned: Adapter) -> None:
    told = run("show", tuned.id)
    for part in (str(tuned.manifest["base_digest"]), "rank 4", "macro f1", "n = 3", "torch 2", "c" * 40, "project 7",
                 "changed since", "promoted: Better | by far.", "examples.parquet"):  # fmt: skip
        assert part in told, part
    assert json.loads(run("show", tuned.id, "--json")) == tuned.manifest
    (tuned.folder / "examples.parquet").write_text("another document")
    assert "examples.parquet" in run("show", tuned.id, code=2)
    (tuned.folder / FILES[1]).write_bytes(b"")
    assert "damaged" in run("show", tuned.id, code=2)
    assert "not in the store" in run("show", "0" * 16, code=2)


# --- export ----------------------------------------------------------------------------------------------------------


def test_an_exported_adapter_is_the_same_elsewhere(run: Run, tuned: Adapter, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert tuned.id in run("export", tuned.id, "--out", out)
    assert {p.name for p in out.iterdir()} == {*FILES, "README.md", "own.j2", "codebook.yaml"}, "and no document"
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tuned.manifest["base"]), out)
    assert torch.equal(logits(model), expected(tuned))


def test_a_merged_model_is_the_same_by_itself(run: Run, tuned: Adapter, tmp_path: Path) -> None:
    out, want = tmp_path / "out", expected(tuned)
    out.mkdir()
    tokenizer = AutoTokenizer.from_pretrained(tuned.manifest["base"])
    run("export", tuned.id, "--out", out, "--merge")
    shutil.rmtree(tuned.manifest["base"])
    assert not [p.name for p in out.iterdir() if p.suffix in (".bin", ".pt") or p.name.startswith("adapter")]
    model = AutoModelForCausalLM.from_pretrained(out)
    plain = AutoModelForCausalLM.from_pretrained(out).state_dict()
    assert not any("lora" in name for name in plain)
    torch.testing.assert_close(logits(model), want, rtol=1e-4, atol=1e-4)
    again = AutoTokenizer.from_pretrained(out)
    assert again.chat_template == tokenizer.chat_template
    assert again("A tanker.")["input_ids"] == tokenizer("A tanker.")["input_ids"]
    assert tuned.manifest["base"] not in (out / "config.json").read_text()


@pytest.mark.parametrize("merged", [False, True])
def test_the_card_says_what_one_needs_to_know(tuned: Adapter, merged: bool) -> None:
    card = model_card(tuned, BOOK, merged=merged)
    _, block, text = card.split("---\n", 2)
    metadata = yaml.safe_load(block)
    assert metadata["library_name"] == ("transformers" if merged else "peft")
    assert "base_model" not in metadata, "a folder is no name on the hub"
    result = metadata["model-index"][0]["results"][0]
    assert {"type": "accuracy", "value": 0.6667} in result["metrics"]
    for told in (
        tuned.id, BOOK.fingerprint, r"| s | Ships | ship | Vessels \| and ports. |", r"Wheat, \*maize\*.",
        "`ship`, `corn`.", "40 documents", "(3) were held out", "| this adapter | 3 | 0.667 |",
        "| what it was compared with | 3 | 0.667 | – |",
        "| s | 2 | 0.500 | 1.000 | 1.000 | 0.667 |", r"promoted. Better \| by far.", "rank 4", "## Limits",
        "cut to 64 tokens", "````\n[system]\nCodes: Ships | corn\n\n[user]\n```\n{document}\n```\nWhich?\n````",
        "Divide the log-probabilities by 1.5",
        "convert_hf_to_gguf.py FOLDER" if merged else "convert_lora_to_gguf.py --base BASE_FOLDER",
    ):  # fmt: skip
        assert told in text, told
    assert "secret document" not in card
    assert "\n\n\n" not in card
    assert str(tuned.folder) not in card
    assert str(Path(tuned.manifest["base"]).parent) not in card
    assert not re.findall(r"\bNone\b|{{|{%", text.replace("{document}", ""))


def test_a_hub_base_has_its_name_and_an_old_manifest_says_little(tuned: Adapter) -> None:
    little = {"base": "owner/model", "prompt": "zero_shot", "max_document_tokens": 64, "codebook": BOOK.fingerprint}
    for kind, levels in ((Kind.MULTILABEL, ()), (Kind.GRADED, ("low", "high")), (Kind.EXCLUSIVE, ())):
        card = model_card(replace(tuned, manifest=little), replace(BOOK, kind=kind, levels=levels), merged=False)
        assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "owner/model"
        assert "Not recorded." in card
        assert "None" not in card


def test_what_cannot_be_exported_leaves_nothing(run: Run, tuned: Adapter, tmp_path: Path, store: AdapterStore) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").write_text("mine")
    assert "exists and is not empty; name another folder" in run("export", tuned.id, "--out", out, code=2)
    assert "cannot be written" in run("export", tuned.id, "--out", out / "kept" / "below", code=2)
    bare = made(store, tmp_path, "bare", 1)
    assert "has no codebook beside it" in run("export", bare, "--out", tmp_path / "new", code=2)
    base = Path(tuned.manifest["base"])
    (base / "model.safetensors").write_bytes(b"\x00" * 100)
    assert "was trained over another state of" in run("export", tuned.id, "--out", tmp_path / "new", "--merge", code=2)
    unknown = replace(tuned, manifest={**tuned.manifest, "base_digest": None})
    with pytest.raises(ModelError, match="cannot be loaded"):
        export(unknown, tmp_path / "new", merge=True)
    (tuned.folder / "own.j2").unlink()
    with pytest.raises(AdapterError, match=r"own\.j2.*missing or damaged"):
        export(tuned, tmp_path / "new")
    left = [p.name for p in tmp_path.iterdir() if p.name.startswith((".new", ".out", "new"))]
    assert left == []
    assert [p.name for p in out.iterdir()] == ["kept"]


# --- gc --------------------------------------------------------------------------------------------------------------


def test_only_what_nothing_uses_goes(
    run: Run, store: AdapterStore, project: Project, home: Path, tmp_path: Path
) -> None:
    ids = [made(store, tmp_path, f"a{n}", 100 - n) for n in range(6)]
    young = made(store, tmp_path, "young", 1)
    alien, of_file = made(store, tmp_path, "alien", 100, project=8), made(store, tmp_path, "file", 100, project=None)
    promotions.promote(project.folder, store.get(ids[0]))
    promotions.promote(project.folder, store.get(ids[1]))
    named = SourceConfig("named", SourceKind.ADAPTER, adapter=ids[2])
    register(home, 7, replace(project.experiment, sources=(named,)), BOOK)
    told = run("gc", "--keep", 2)
    assert set(re.findall(r"[0-9a-f]{16}", told)) == {ids[3], ids[4]}, "the newest two are ids[5] and the young one"
    assert "Would remove 2" in told
    assert len(store.ids()) == 9
    assert json.loads(run("gc", "--keep", 1, "--json"))[-1] | {"size": 0} == {
        "name": ids[5], "size": 0, "why": f"made {store.get(ids[5]).manifest['made_at']}, in no use", "removed": False,
    }  # fmt: skip
    assert "Removed 2" in run("gc", "--keep", 2, "--yes")
    assert set(store.ids()) == {ids[0], ids[1], ids[2], ids[5], young, alien, of_file}
    run("gc", "--keep", 0, "--days", 0, "--yes")
    assert set(store.ids()) == {ids[0], ids[1], ids[2], alien, of_file}, "nobody here knows who uses the others"
    run("gc", "--keep", 0, "--days", 0, "--others", "--yes")
    assert set(store.ids()) == {ids[0], ids[1], ids[2]}, "in use"


def test_what_crashes_left_goes_after_a_day(run: Run, store: AdapterStore, project: Project, tmp_path: Path) -> None:
    kept = made(store, tmp_path, "kept", 100)
    for name, age in ((".publish-old", 2), (".publish-young", 0), (".damaged-old", 2)):
        (store.root / name).mkdir()
        (store.root / name / "part").write_bytes(b"x" * 1000)
        at = (NOW - timedelta(days=age)).timestamp()
        os.utime(store.root / name, (at, at))
    assert "Removed 2 of the store" in run("gc", "--yes")
    assert {p.name for p in store.root.iterdir()} == {kept, ".publish-young"}


def test_where_a_history_is_damaged_nothing_goes(
    run: Run, store: AdapterStore, project: Project, tmp_path: Path
) -> None:
    old = made(store, tmp_path, "old", 100)
    (project.folder / "current.json").write_text("{")
    assert "current.json: damaged" in run("gc", "--keep", 0, "--yes", code=2)
    assert store.ids() == [old]
