"""The documents say what the code says: tables, commands, configuration files, settings, links, pictures."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from redis import Redis

from label_configs.codebook import load_codebook, shipped_codebooks
from label_configs.errors import ConfigError, WinnowError
from label_configs.forms import ReviewForm
from ml_backend.experiment import load_experiment
from ml_backend.log_events import LogEvent
from ml_backend.metrics import QueueCollector
from ml_backend.settings import Settings
from ml_backend.source_config import SourceKind
from ml_backend.source_plugins import installed_plugins
from ml_backend.templates import shipped_prompts
from tests.markdown import anchors, blocks, links, prose
from trainer.cli import cli
from trainer.dashboard.project_metrics import ProjectCollector
from trainer.document_tables import TABLES, commands_table, settings_table
from trainer.documents import block, marked, rewritten
from trainer.recipe import LoraRecipe

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
FOLDERS = ("label_configs/docs", "ml_backend/docs", "trainer/docs", "docker")
GUIDES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *(path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/*.md"))),
]
PAGES = [*GUIDES, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
README_LINES, PAGE_LINES = 120, 200
# What stands for something of the reader's own, and a value that is like it.
PLACEHOLDERS = {
    "$PROJECT": "3",
    "$ADAPTER": "3f2a9c41d07be865",
    "N": "3",
    "ID": "3f2a9c41d07be865",
    "URL": "http://h/v1",
}
NO_SETTINGS = {"WINNOW_MODELS"}  # compose's own word for the host's folder of models
EMPTY = "# W\n<!-- commands -->\n<!-- /commands -->\nbetween\n<!-- settings -->\nold\n<!-- /settings -->\nend\n"

each_page = pytest.mark.parametrize("page", TEXTS)


def test_each_table_stands_in_one_page() -> None:
    found = [name for text in TEXTS.values() for name in marked(text)]
    assert sorted(found) == sorted(TABLES)


@each_page
def test_tables_are_the_codes(page: str) -> None:
    for name in marked(TEXTS[page]):
        assert block(TEXTS[page], name) == TABLES[name](), "run `make docs`"


def test_every_setting_stands_in_its_table_with_default_and_meaning() -> None:
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


def test_events_errors_keys_and_fields_are_all_there() -> None:
    assert len(TABLES["events"]().splitlines()) == 2 + len(LogEvent)
    errors, recipes, keys = (TABLES[name]() for name in ("errors", "recipes", "keys"))
    assert {f"`{error.code}`" for error in _errors(WinnowError)} <= {row.split()[1] for row in errors.splitlines()}
    assert all(f"| `{name}` |" in recipes for name in LoraRecipe.__dataclass_fields__)
    for key in ("codebook", "sources[].api.budget.tokens", "candidates.floor", "training.gate.metric", "priority"):
        assert f"| `{key}` |" in keys


def _errors(error: type[WinnowError]) -> Iterator[type[WinnowError]]:
    for one in error.__subclasses__():
        yield one
        yield from _errors(one)


def test_the_figures_described_are_those_that_are_collected(redis_db: str, tmp_path: Path) -> None:
    with Redis.from_url(redis_db) as redis:
        for collector in (QueueCollector(redis, []), ProjectCollector(tmp_path)):
            found, described = collector.collect(), collector.describe()
            assert [(m.name, m._labelnames) for m in found] == [(m.name, m._labelnames) for m in described]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("ml_backend/docs/sources.md", [kind.value for kind in SourceKind]),
        ("ml_backend/docs/sources.md", shipped_prompts()),
        ("label_configs/docs/reviewing.md", [form.value for form in ReviewForm]),
        ("label_configs/docs/codes.md", shipped_codebooks()),
    ],
)
def test_all_that_can_be_chosen_is_told(page: str, names: list[str]) -> None:
    assert not [name for name in names if not re.search(rf"[`*]{name}[`*]", prose(TEXTS[page]))]


def test_pages_are_short() -> None:
    lines = {page: len(text.splitlines()) for page, text in TEXTS.items() if "docs/" in page}
    assert len(TEXTS["README.md"].splitlines()) <= README_LINES
    assert lines
    assert not {page: number for page, number in lines.items() if number > PAGE_LINES}


@each_page
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    broken = []
    for link in links(TEXTS[page]):
        name, _, anchor = link.partition("#")
        target = ROOT / page if not name else ((ROOT / page).parent / name).resolve()
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert not broken


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, left = set(), [README]
    while left:
        page = left.pop()
        if page.suffix == ".md" and page not in seen:
            seen.add(page)
            targets = (link.partition("#")[0] for link in links(page.read_text(encoding="utf-8")))
            left += [(page.parent / target).resolve() for target in targets if target]
    assert not [str(path) for path in PAGES if path not in seen]


@each_page
def test_no_setting_is_named_that_does_not_exist(page: str) -> None:
    known = {f"WINNOW_{name.upper()}" for name in Settings.model_fields} | NO_SETTINGS
    assert set(re.findall(r"\bWINNOW_[A-Z_]+\b", TEXTS[page])) <= known


@each_page
def test_targets_of_make_and_files_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name for line in _code(TEXTS[page]) for m in re.findall(r"(?:^|`)make ([a-z -]+)", line) for name in m.split()
    }
    assert named <= targets
    files = re.findall(r"`((?:label_configs|ml_backend|trainer|tests|docker)/[\w./-]+\.\w+)`", TEXTS[page])
    assert not [name for name in files if not (ROOT / name).exists()]


def _lines(page: str) -> Iterator[str]:
    """Lines of code: of shell blocks, without the files that they write, and of indented ones."""
    for one in blocks(page, "", "bash", "sh", "console"):
        joined = one.text.replace("\\\n", " ")
        yield from re.sub(r"<<'(\w+)'\n.*?^\1$", "", joined, flags=re.DOTALL | re.MULTILINE).splitlines()
    yield from (line.strip() for line in prose(page).splitlines() if line.startswith("    "))


def _mentions(page: str) -> Iterator[str]:
    """What stands between backquotes in prose, generated tables left aside."""
    for name in marked(page):
        page = page.replace(block(page, name), "")
    for line in prose(page).splitlines():
        if not line.startswith("    "):
            yield from re.findall(r"`([^`]+)`", line)


def _code(page: str) -> Iterator[str]:
    yield from _lines(page)
    yield from _mentions(page)


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words call, and its arguments. Raises UsageError where there is none of this name."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            raise click.UsageError(f"no command {words[0]}")
        command, words = command.commands[words[0]], words[1:]
    return command, words


@each_page
def test_every_command_line_is_one_that_the_command_takes(page: str) -> None:
    wrong = []
    for line in _lines(TEXTS[page]):
        found = re.search(r"(?:^|\$\(|^\w+=\S+ )winnow ([^|;)>]*)", line)
        if found is None:
            continue
        words = [_meant(word) for word in shlex.split(found[1], comments=True)]
        try:
            command, rest = _command(words)
            command.make_context(words[0], list(rest))
        except click.exceptions.Exit:
            continue  # --help, --version
        except click.ClickException as error:
            wrong.append(f"{line}: {error.format_message()}")
    assert not wrong


def _meant(word: str) -> str:
    for name, value in PLACEHOLDERS.items():
        if word == name or name.startswith("$"):
            word = word.replace(name, value)
    return word


@each_page
def test_every_command_and_option_that_is_mentioned_exists(page: str) -> None:
    wrong = []
    for mention in _mentions(TEXTS[page]):
        words = mention.replace("|", " ").split()
        if words[:1] != ["winnow"] or any(word.isupper() or "..." in word for word in words[1:2]):
            continue
        try:
            command, _ = _command([word for word in words[1:] if word != "..."])
        except click.UsageError as error:
            wrong.append(f"{mention}: {error.format_message()}")
            continue
        known = {opt for one in command.params for opt in (*one.opts, *one.secondary_opts)} | {"--help", "--version"}
        wrong += [f"{mention}: no option {word}" for word in words if word.startswith("-") and word not in known]
    assert not wrong


@pytest.fixture
def example_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example package, as far as the web process knows it: by its metadata."""
    project = tomllib.loads((ROOT / "tests/plugins/keyword_source/pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    told = tmp_path / "packages" / "winnow_keyword_source.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (point,) = project["entry-points"]["winnow.sources"].items()
    (told / "entry_points.txt").write_text(f"[winnow.sources]\n{' = '.join(point)}\n")
    monkeypatch.syspath_prepend(str(told.parent))
    installed_plugins.cache_clear()
    yield
    installed_plugins.cache_clear()


@each_page
@pytest.mark.usefixtures("example_plugin")
def test_configuration_files_are_valid(page: str, tmp_path: Path) -> None:
    for number, one in enumerate(blocks(TEXTS[page], "yaml")):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            _load(one.text, folder)
        except WinnowError as error:
            pytest.fail(f"{page}:{one.line}: {error}")


def _load(text: str, folder: Path) -> None:
    """Read a block as what it is: a codebook, a winnow.yaml or a part of one, or another program's file."""
    data: Any = next(iter(yaml.safe_load_all(text)))
    if isinstance(data, dict) and {"apiVersion", "services", "volumes", "receivers", "scrape_configs"} & set(data):
        assert all(isinstance(one, dict) for one in yaml.safe_load_all(text))
        return
    (folder / "codebook.yaml").write_text((ROOT / "label_configs/codebooks/reuters8.yaml").read_text("utf-8"), "utf-8")
    if isinstance(data, dict) and "codes" in data:
        (folder / "codebook.yaml").write_text(text, encoding="utf-8")
        load_codebook(folder / "codebook.yaml")
        return
    if isinstance(data, list):
        text = f"sources:\n{text}"
    for key, otherwise in (("codebook", "codebook: reuters8"), ("sources", "sources: [{name: words, kind: fake}]")):
        if not re.search(rf"^{key}:", text, re.MULTILINE):
            text = f"{otherwise}\n{text}"
    (folder / "winnow.yaml").write_text(text, encoding="utf-8")
    experiment, _ = load_experiment(folder / "winnow.yaml")
    assert experiment.sources


def test_rewriting_fills_the_blocks_and_leaves_the_rest() -> None:
    text = rewritten(EMPTY)
    assert block(text, "settings") == settings_table()
    assert block(text, "commands") == commands_table()
    assert text.startswith("# W\n<!-- commands -->\n| ")
    assert "\n<!-- /commands -->\nbetween\n<!-- settings -->\n" in text
    assert text.endswith("\n<!-- /settings -->\nend\n")
    assert "old" not in text.split("between")[1].splitlines()
    assert rewritten(text) == text
    assert rewritten("# no table\n") == "# no table\n"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (EMPTY.replace("<!-- /settings -->", ""), "markers of commands, settings are no pairs; put <!-- NAME -->"),
        (EMPTY.replace("<!-- commands -->", "<!-- /commands -->"), "are no pairs"),
        (EMPTY.replace("settings", "weather"), "no table weather; use one of settings, "),
    ],
)
def test_markers_that_name_no_table_are_told(broken: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        rewritten(broken)


def test_the_documents_are_rewritten_in_place(tmp_path: Path) -> None:
    first, second = tmp_path / "one.md", tmp_path / "two.md"
    first.write_text(EMPTY, encoding="utf-8")
    second.write_text("<!-- nothing -->\n", encoding="utf-8")
    command = [sys.executable, "-m", "trainer.documents", str(first), str(second)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert first.read_text(encoding="utf-8") == rewritten(EMPTY)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert str(second) in done.stderr
    assert second.read_text(encoding="utf-8") == "<!-- nothing -->\n"
