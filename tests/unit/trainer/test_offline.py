"""`winnow train --examples` up to the training itself, which tests/integration has as a process."""

from __future__ import annotations

import fcntl
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from label_configs.codebook import load_codebook
from label_configs.errors import ConfigError, ModelError, TrainingError, WinnowError
from ml_backend.adapters import FILES, store_of
from ml_backend.settings import Settings
from trainer.cli import main
from trainer.offline import HUB_MODEL, OfflineTraining, PreparedTraining, base_model, prepare, report
from trainer.training_bar import TrainingBar
from trainer.verified_file import VerifiedFile

ROWS = [(f"{'Wheat' if n % 2 else 'A tanker'} in story {n}", "grain" if n % 2 else "ship") for n in range(30)]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own, which holds no demo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def verified(rows: list[tuple[str, str]], name: str = "verified.csv") -> Path:
    path = Path.cwd() / name
    path.write_text("text,code\n" + "".join(f"{text},{code}\n" for text, code in rows), encoding="utf-8")
    return path


def asked(path: Path, base: Path | str, *, codebook: str | None = "reuters8", **fields: object) -> OfflineTraining:
    return OfflineTraining(VerifiedFile(path), codebook, str(base), **fields)  # type: ignore[arg-type]


def refused(settings: Settings, training: OfflineTraining, kind: type[WinnowError]) -> str:
    with pytest.raises(kind) as caught:
        prepare(settings, training)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- which base ------------------------------------------------------------------------------------------------------


def test_the_base_is_named_or_set_or_the_demos_or_the_hubs(settings: Settings, tiny_llama: Path) -> None:
    assert base_model(settings, None) == HUB_MODEL
    demo = Path.cwd() / ".demo" / "models" / "smollm2"
    demo.parent.mkdir(parents=True)
    demo.symlink_to(tiny_llama)
    assert base_model(settings, None) == str(tiny_llama)
    assert base_model(settings.model_copy(update={"base_model": "owner/model"}), None) == "owner/model"
    assert base_model(settings, "owner/other") == "owner/other"


def test_a_folder_is_absolute_however_it_is_written(settings: Settings, tiny_llama: Path) -> None:
    (Path.cwd() / "models").symlink_to(tiny_llama.parent)
    assert base_model(settings, f"models/{tiny_llama.name}") == base_model(settings, f"./models/{tiny_llama.name}")
    with pytest.raises(ModelError, match=r"no such folder"):
        base_model(settings, "./models/none")


# --- what cannot be trained on ---------------------------------------------------------------------------------------


def test_without_a_codebook_the_draft_is_named(settings: Settings, tiny_llama: Path) -> None:
    path = verified(ROWS)
    told = refused(settings, asked(path, tiny_llama, codebook=None), ConfigError)
    assert f"`winnow codebook from-data {path} --code-column code`" in told


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:9], r"9 verified documents, at least 10 are needed; verify more"),
        ([(text, "grain") for text, _ in ROWS], r"of the training documents all have the code 'grain'; two codes"),
    ],
)
def test_too_few_documents_or_codes(
    settings: Settings, tiny_llama: Path, rows: list[tuple[str, str]], message: str
) -> None:
    assert re.search(message, refused(settings, asked(verified(rows), tiny_llama), TrainingError))


def test_no_holdout(settings: Settings, tiny_llama: Path) -> None:
    told = refused(settings, asked(verified(ROWS), tiny_llama, holdout_share=1e-6), TrainingError)
    assert "none of 30 documents fell into the holdout of 1e-06; verify more, or raise --holdout-share" in told


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_is_none(settings: Settings, tiny_llama: Path, share: float) -> None:
    told = refused(settings, asked(verified(ROWS), tiny_llama, holdout_share=share), ConfigError)
    assert told.startswith("--holdout-share: ")


def test_leaks_are_dropped_and_counted(settings: Settings, tiny_llama: Path) -> None:
    path = Path.cwd() / "verified.csv"
    texts = "".join(f"{n},{text},{code}\n" for n, (text, code) in enumerate(ROWS))
    again = "".join(f"again-{n},{text.upper()},{code}\n" for n, (text, code) in enumerate(ROWS))
    path.write_text("id,text,code\n" + texts + again, encoding="utf-8")
    prepared = prepare(settings, asked(path, tiny_llama))
    assert prepared.examples.leaks
    assert len(prepared.tuning.examples) + len(prepared.examples.leaks) == 60
    trained = {e.text.casefold() for e in prepared.tuning.examples if not e.holdout}
    assert not trained & {e.text.casefold() for e in prepared.tuning.examples if e.holdout}


# --- what was trained before -----------------------------------------------------------------------------------------

RESULT = {
    "adapter_id": "", "base": "b", "seconds": 12.0, "training_examples": 24, "holdout_examples": 6, "leaks": 1,
    "verdict": "promoted", "reason": "macro-F1 0.9 against 0.1.", "temperature": 1.5, "earlier": False,
    "holdout": {"n": 6, "accuracy": 0.9, "macro_f1": 0.8, "balanced_accuracy": 0.7, "ece": 0.2, "ece_tempered": 0.1,
                "base": {"accuracy": 0.1, "macro_f1": None, "balanced_accuracy": 0.2, "ece": 0.3}},
}  # fmt: skip


def trained_before(prepared: PreparedTraining) -> str:
    folder = prepared.folder / "adapter"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(name)
    adapter = store_of(prepared.settings.home).publish(folder, {})
    (prepared.folder / "result.json").write_text(json.dumps(RESULT | {"adapter_id": adapter.id}))
    return adapter.id


def test_the_same_training_is_known_and_another_is_not(settings: Settings, tiny_llama: Path) -> None:
    path = verified(ROWS)
    prepared = prepare(settings, asked(path, tiny_llama))
    assert prepared.earlier() is None
    adapter_id = trained_before(prepared)
    assert prepare(settings, asked(path, tiny_llama)).earlier() == RESULT | {"adapter_id": adapter_id, "earlier": True}
    # The order of rows is no difference; a recipe, a holdout and a label are.
    assert prepare(settings, asked(verified(ROWS[::-1]), tiny_llama)).earlier() is not None
    (Path.cwd() / "recipe.yaml").write_text("epochs: 1\n")
    changed = [
        asked(path, tiny_llama, recipe="./recipe.yaml"),
        asked(path, tiny_llama, holdout_share=0.4),
        asked(path, "owner/other"),
        asked(verified([*ROWS[:-1], (ROWS[-1][0], "trade")], "other.csv"), tiny_llama),
    ]
    assert [prepare(settings, one).earlier() for one in changed] == [None] * 4


def test_an_adapter_that_is_gone_is_trained_again(settings: Settings, tiny_llama: Path) -> None:
    prepared = prepare(settings, asked(verified(ROWS), tiny_llama))
    adapter = store_of(settings.home).get(trained_before(prepared))
    (adapter.folder / FILES[0]).write_text("damaged")
    assert prepared.earlier() is None


def test_a_damaged_result_is_told(settings: Settings, tiny_llama: Path) -> None:
    prepared = prepare(settings, asked(verified(ROWS), tiny_llama))
    trained_before(prepared)
    (prepared.folder / "result.json").write_text("{")
    with pytest.raises(TrainingError, match=r"result\.json: damaged; delete it and train again"):
        prepared.earlier()


def test_the_same_documents_are_trained_on_by_one_process_at_a_time(settings: Settings, tiny_llama: Path) -> None:
    prepared = prepare(settings, asked(verified(ROWS), tiny_llama))

    prepared.folder.mkdir(parents=True)
    with (prepared.folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another process trains on the same documents; wait for it"):
            prepared.train(lambda _: None)


# --- what is told ----------------------------------------------------------------------------------------------------


def rendered(show: Callable[[Console], None]) -> str:
    out = io.StringIO()
    show(Console(file=out, width=120, color_system=None))
    return out.getvalue()


def test_the_report_in_words() -> None:
    text = rendered(lambda console: console.print(report(RESULT | {"adapter_id": "ab", "earlier": True})))
    cells = {row[0]: row[1:] for line in text.splitlines() if "│" in line
             for row in [[cell.strip() for cell in line.split("│")[1:-1]]]}  # fmt: skip
    assert cells == {"adapter": ["0.900", "0.800", "0.700", "0.200"], "base": ["0.100", "–", "0.200", "0.300"]}
    assert "Adapter ab, better than the base: macro-F1 0.9 against 0.1." in text
    assert "Base b; 24 documents trained on, 1 leaks dropped, 12 s." in text
    assert "tempered by 1.5: ECE 0.200 -> 0.100 (cross-fitted)." in text
    assert "--again trains anew" in text
    text = rendered(lambda console: console.print(report(RESULT | {"temperature": None, "verdict": "undecidable"})))
    assert "tempered" not in text
    assert "better" not in text


TOLD: list[dict[str, object]] = [
    {}, {"stage": "load"}, {"stage": "train", "training": 96}, *({"step": n, "steps": 12, "seconds_left": 50.0 - n}
                                                                for n in range(1, 4)),
]  # fmt: skip


def test_the_bar_shows_stage_steps_and_seconds() -> None:
    out = io.StringIO()
    with TrainingBar(Console(file=out, width=120, force_terminal=True, color_system=None), "start") as bar:
        for progress in TOLD:
            bar.update(progress)
    last = out.getvalue().replace("\r", "\n").rpartition("train")[2]
    assert "3/12" in last
    assert "47 s left" in last


def test_without_a_terminal_the_log_says_so_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    out, ticks = io.StringIO(), iter([0, 1, 2, 3, 4, 5, 14])
    with TrainingBar(Console(file=out), "start", clock=lambda: float(next(ticks))) as bar:
        for progress in TOLD:
            bar.update(progress)
    # Nothing of the first two steps: they follow on the heels of the stage.
    assert [r.getMessage() for r in caplog.records] == ["load", "train", "train: step 3 of 12, 47 s left"]
    assert out.getvalue().strip() == ""


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --project or --examples, one of them: what to train on; see `winnow train --help`"),
        (["--project", "3", "--examples", "v.csv"], "give --project or --examples, one of them"),
        (["--project", "3", "--json"], "--json goes with --examples only"),
        (["--project", "3", "--encoding", "latin-1"], "--encoding goes with --examples only"),
        (["--examples", "v.csv", "--no-wait"], "--wait goes with --project only"),
        (["--examples", "v.csv"], "no --codebook; give one, or draft it with `winnow codebook from-data v.csv"),
        (["--examples", "none.csv", "--codebook", "reuters8"], "none.csv: cannot be read"),
        (["--examples", "v.csv", "--codebook", "reuters9"], "reuters9: not a codebook file"),
        (["--examples", "v.csv", "--codebook", "reuters8", "--recipe", "fast"], "no shipped recipe 'fast'"),
        (["--examples", "v.csv", "--codebook", "reuters8", "--code-column", "topic"], "v.csv:1: no columns 'topic'"),
        (["--examples", "v.csv", "--codebook", "cap"], "v.csv:2: code 'ship' is not in codebook"),
    ],
)
def test_what_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    verified(ROWS, "v.csv")
    with pytest.raises(SystemExit) as caught:
        main(["train", *arguments])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert re.fullmatch(r"winnow: [^\n]+\n", err), err
    assert message in err


def test_an_earlier_result_is_printed_at_once(
    settings: Settings, tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = verified(ROWS)
    adapter_id = trained_before(prepare(settings, asked(path, tiny_llama)))
    arguments = ["train", "--examples", str(path), "--codebook", "reuters8", "--base", str(tiny_llama)]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--json"])
    assert caught.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["adapter_id"], told["earlier"]) == (adapter_id, True)
    with pytest.raises(SystemExit):
        main(arguments)
    assert "--again trains anew" in capsys.readouterr().out


def test_the_shipped_codebook_of_these_tests_has_their_codes() -> None:
    assert {"grain", "ship", "trade"} <= set(load_codebook("reuters8").label_keys)
