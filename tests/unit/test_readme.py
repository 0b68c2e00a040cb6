"""The README says what the code says: every setting with its default, every command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from label_configs.errors import ConfigError
from ml_backend.experiment import load_experiment
from ml_backend.settings import Settings
from trainer.documents import block, commands_table, rewritten, settings_table

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
EMPTY = "# W\n<!-- commands -->\n<!-- /commands -->\nbetween\n<!-- settings -->\nold\n<!-- /settings -->\nend\n"


def test_the_table_of_settings_is_the_codes() -> None:
    assert block(README.read_text(encoding="utf-8"), "settings") == settings_table(), "run `make docs`"


def test_the_table_of_commands_is_the_codes() -> None:
    assert block(README.read_text(encoding="utf-8"), "commands") == commands_table(), "run `make docs`"


def test_every_setting_stands_in_the_table_with_default_and_meaning() -> None:
    rows = {row.split(" | ")[0]: row for row in settings_table().splitlines()}
    for name, field in Settings.model_fields.items():
        row = rows[f"| `WINNOW_{name.upper()}`"]
        assert field.description
        assert field.description in row
        assert field.default is None or f"`{field.default}`" in row


def test_the_table_of_commands_goes_down_to_the_subcommands() -> None:
    table = commands_table()
    for command in ("up", "worker", "init CONFIG", "import FILE", "adapters rollback", "evaluate", "doctor", "demo"):
        assert f"| `winnow {command}" in table
    assert all(re.fullmatch(r"\| `winnow [^`]+` \| \S.*\. \|", row) for row in table.splitlines()[2:])


def test_rewriting_fills_the_blocks_and_leaves_the_rest() -> None:
    text = rewritten(EMPTY)
    assert block(text, "settings") == settings_table()
    assert block(text, "commands") == commands_table()
    assert text.startswith("# W\n<!-- commands -->\n| ")
    assert "\n<!-- /commands -->\nbetween\n<!-- settings -->\n" in text
    assert text.endswith("\n<!-- /settings -->\nend\n")
    assert "old" not in text.split("between")[1].splitlines()
    assert rewritten(text) == text


def test_a_document_without_a_block_is_told_so() -> None:
    with pytest.raises(ConfigError, match="no block 'settings'; put <!-- settings -->"):
        rewritten(EMPTY.replace("<!-- /settings -->", ""))


def test_the_documents_are_rewritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(EMPTY, encoding="utf-8")
    command = [sys.executable, "-m", "trainer.documents", str(path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert path.read_text(encoding="utf-8") == rewritten(EMPTY)
    path.write_text("nothing\n", encoding="utf-8")
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert path.read_text(encoding="utf-8") == "nothing\n"


def test_the_configuration_files_that_it_shows_are_valid(tmp_path: Path) -> None:
    experiment, codebook, review, sources, rounds = re.findall(
        r"```yaml\n(.*?)```", README.read_text("utf-8"), re.DOTALL
    )
    (tmp_path / "winnow.yaml").write_text(experiment, encoding="utf-8")
    (tmp_path / "codebook.yaml").write_text(codebook, encoding="utf-8")
    loaded, book = load_experiment(tmp_path / "winnow.yaml")
    assert [source.name for source in loaded.sources] == ["similarity", "zero-shot", "definitions"]
    (tmp_path / "winnow.yaml").write_text(f"codebook: reuters8\n{review}sources:\n{sources}{rounds}", encoding="utf-8")
    loaded, _ = load_experiment(tmp_path / "winnow.yaml")
    assert [source.kind.value for source in loaded.sources] == ["probe", "causal", "causal", "adapter", "chat_api"]
    assert loaded.training is not None
    assert (loaded.training.silver.ratio, loaded.training.balance, loaded.priority) == (0.5, "weights", "normal")
    assert (loaded.review.overlap, loaded.review.order, loaded.review.holdout) == (2, "uncertainty", "choose")
    assert book.label_keys == ("earn", "acq")
