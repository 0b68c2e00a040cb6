"""The rules of the house, read off the code: who may import what, who may read the environment, what never occurs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from label_configs.codebook import load_codebook, shipped_codebooks
from ml_backend import openapi
from ml_backend.experiment import load_experiment
from trainer.recipe import load_recipe, shipped_recipes

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("label_configs", "ml_backend", "trainer")  # each may import those before it
LINES = 400
SDK_CALLERS = {
    "ml_backend.labelstudio_access",
    # These act as a person.
    "trainer.demo.coder",
    "trainer.demo.walk",
}
ENVIRONMENT_READERS = {
    "ml_backend.settings",
    # These hand an environment to a process that they start.
    "trainer.up",
    "trainer.demo.label_studio",
    "trainer.demo.wheels",
    "ml_backend._wsgi",  # hands a folder to label-studio-ml, which looks for it in the environment of this process
}
WITHOUT_TORCH = ("ml_backend.app", "trainer.serving", "trainer.worker", "trainer.jobs", "trainer.scheduler",
                 "trainer.cli", "trainer.doctor.examine", "trainer.offline")  # fmt: skip


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the three packages, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names that a module imports, also inside functions; ``from a import b`` gives ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph() -> dict[str, set[str]]:
    """Which modules of ours each module imports."""
    return {name: {i for i in imports(tree) if i in modules() and i != name} for name, tree in modules().items()}


def calls(tree: ast.Module) -> set[str]:
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = graph()
    assert len(edges) > 40
    for name, names in edges.items():
        # `from package.module import x` is no use of the package itself.
        edges[name] = {n for n in names if not any(other.startswith(f"{n}.") for other in names)}
    try:
        tuple(TopologicalSorter(edges).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_rooms_import_only_the_rooms_below() -> None:
    rank = {package: i for i, package in enumerate(PACKAGES)}
    wrong = [
        f"{name} imports {other}"
        for name, names in graph().items()
        for other in names
        if rank[other.split(".")[0]] > rank[name.split(".")[0]]
    ]
    assert not wrong


def test_label_configs_knows_neither_models_nor_servers() -> None:
    banned = {"torch", "transformers", "peft", "redis", "rq", "flask", "httpx", "gunicorn"}
    for name, tree in modules().items():
        if name.split(".")[0] == "label_configs":
            found = set(imports(tree))
            assert not banned & {i.split(".")[0] for i in found}, name
            sdk = {i for i in found if i.split(".")[0] == "label_studio_sdk"}
            assert all(i.startswith("label_studio_sdk.label_interface") for i in sdk), name


def test_the_sdk_has_one_caller() -> None:
    callers = set()
    for name, tree in modules().items():
        sdk = {i for i in imports(tree) if i.split(".")[0] == "label_studio_sdk"}
        if any(not i.startswith("label_studio_sdk.label_interface") for i in sdk):
            callers.add(name)
    assert "ml_backend.labelstudio_access" in callers
    assert callers <= SDK_CALLERS


def test_the_environment_is_read_in_one_place() -> None:
    readers = set()
    for name, tree in modules().items():
        attributes = {f"{n.value.id}.{n.attr}" for n in ast.walk(tree)
                      if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}  # fmt: skip
        taken = {i for i in imports(tree) if i in ("os.environ", "os.getenv")}
        if attributes & {"os.environ", "os.getenv", "os.environb"} or taken:
            readers.add(name)
    assert readers <= ENVIRONMENT_READERS


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_no_torch_in_processes_that_need_none(module: str) -> None:
    program = f"import sys, {module}; sys.exit(', '.join({{'torch', 'transformers', 'peft'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{module} loads {done.stderr}"


def test_nothing_is_pickled_or_printed() -> None:
    for name, tree in modules().items():
        assert not {"pickle", "cPickle", "dill", "cloudpickle"} & {i.split(".")[0] for i in imports(tree)}, name
        assert "print" not in calls(tree), name


def test_no_file_is_long() -> None:
    paths = [p for package in PACKAGES for p in (ROOT / package).rglob("*.py")]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
    assert not {name: length for name, length in lengths.items() if length > LINES}


def test_every_module_and_public_function_says_what_it_promises() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    silent = []
    for name, tree in modules().items():
        if tree.body and not ast.get_docstring(tree):
            silent.append(name)
        silent += [
            f"{name}.{node.name}"
            for node in tree.body
            if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    assert not silent


def test_every_shipped_yaml_is_read_by_its_loader() -> None:
    shipped = {p for package in PACKAGES for p in (ROOT / package).rglob("*.y*ml")}
    for name in shipped_codebooks():
        shipped.remove(ROOT / "label_configs" / "codebooks" / f"{name}.yaml")
        assert load_codebook(name).labels
    for name in shipped_recipes():
        shipped.remove(ROOT / "trainer" / "recipes" / f"{name}.yaml")
        assert load_recipe(name).digest
    shipped.remove(openapi.PATH)
    assert openapi.description()["paths"]
    demo = ROOT / "trainer" / "demo" / "winnow.yaml"
    shipped.remove(demo)
    experiment, codebook = load_experiment(demo)
    assert codebook.name == "reuters8"
    assert experiment.training is not None
    assert not shipped, "a YAML file that no loader here reads"


def test_no_tracked_file_names_a_place_on_somebodys_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    homes = re.compile(rb"(?<![\w.:/])/(?:home|Users|root|work)/\w|[A-Z]:\\Users\\")
    places = [str(ROOT).encode()] if len(ROOT.parts) > 2 else []
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if homes.search(content) or any(place in content for place in places):
            found.append(name)
    assert not found


def test_every_library_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {normal(re.split(r"[\s<>=!~@\[;]", line)[0]) for line in project["dependencies"]}
    declared |= {"label-studio-ml", "werkzeug", "itsdangerous", "markupsafe"}  # an extra; parts of flask
    distributions = packages_distributions()
    undeclared = set()
    for name, tree in modules().items():
        for library in {one.partition(".")[0] for one in imports(tree)} - set(PACKAGES) - set(sys.stdlib_module_names):
            if not {normal(one) for one in distributions.get(library, [library])} & declared:
                undeclared.add((name, library))
    assert undeclared == set()


def normal(distribution: str) -> str:
    """A distribution's name as the index compares it."""
    return distribution.lower().replace("_", "-")
