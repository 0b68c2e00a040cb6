"""What no code of Winnow may do, read off the code, and that a model's own code is not run unasked."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from label_configs.errors import ModelError
from ml_backend.causal_model import CausalModel
from ml_backend.devices import device_facts

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("label_configs", "ml_backend", "trainer")
CLIENTS = {"httpx", "requests", "urllib3", "aiohttp", "openai", "urllib.request", "http.client"}
CALLERS = {
    # Label Studio, at its configured address alone. A task's field that holds a URL is text to all of Winnow.
    "ml_backend/labelstudio_access.py", "ml_backend/labelstudio_away.py", "ml_backend/labelstudio_reading.py",
    # What winnow.yaml names, with allow_remote where it is not this machine.
    "ml_backend/chat_client.py", "ml_backend/adapter_serving.py",
    # Winnow's own web process.
    "trainer/up.py", "trainer/doctor/webhook.py",
    # The demo's Label Studio.
    "trainer/demo/account.py", "trainer/demo/label_studio.py",
}  # fmt: skip


def trees() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def calls() -> Iterator[tuple[str, str, dict[str, ast.expr]]]:
    """File, name of what is called, and keyword arguments of every call."""
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield name, ast.unparse(node.func), {k.arg: k.value for k in node.keywords if k.arg}


def says(value: ast.expr | None, constant: object) -> bool:
    return isinstance(value, ast.Constant) and value.value is constant


def test_only_known_modules_ask_servers() -> None:
    found = set()
    for name, tree in trees():
        for node in ast.walk(tree):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(one in CLIENTS or one.split(".")[0] in CLIENTS for one in imported):
                found.add(name)
    assert found == CALLERS


def test_no_call_is_unsafe() -> None:
    seen = 0
    for file, name, keywords in calls():
        seen += 1
        where = f"{file}: {name}"
        if "trust_remote_code" in keywords or (name.startswith("Auto") and name.endswith(".from_pretrained")):
            # Said at every call: where it is not, transformers may ask on the terminal.
            assert ast.unparse(keywords["trust_remote_code"]) in ("own_code", "False"), where
        assert not says(keywords.get("shell"), True), where
        assert not says(keywords.get("verify"), False), where
        assert name not in ("os.system", "os.popen", "eval", "exec", "yaml.load", "yaml.unsafe_load"), where
        assert name not in ("torch.load", "pickle.load", "pickle.loads", "joblib.load"), where
        assert not says(keywords.get("allow_pickle"), True), where
        assert not says(keywords.get("use_safetensors"), False), where
    assert seen > 1000


def test_every_job_is_json() -> None:
    makers = ("Queue", "Job.fetch", "Job.fetch_many", "ProposeWorker", "RoundWorker")
    made = [(file, name, keywords) for file, name, keywords in calls() if name in makers]
    assert {name for _, name, _ in made} == set(makers)
    for file, name, keywords in made:
        assert ast.unparse(keywords["serializer"]) == "JSONSerializer", f"{file}: {name}"


@pytest.mark.parametrize("known", [True, False])
def test_code_that_comes_with_a_model_is_not_run(tiny_llama: Path, tmp_path: Path, known: bool) -> None:
    """Neither beside an architecture that transformers has, nor in place of one."""
    folder, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(tiny_llama, folder)
    evil = f"open({str(ran)!r}, 'w')\nclass EvilConfig: pass\nclass EvilModel: pass\nclass EvilTokenizer: pass\n"
    (folder / "evil.py").write_text(evil, encoding="utf-8")
    for name, mapped in (
        ("config.json", {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.EvilTokenizer", None]}),
    ):
        path = folder / name
        config = json.loads(path.read_text(encoding="utf-8")) | {"auto_map": mapped}
        if not known and name == "config.json":
            config["model_type"] = "evil"
        path.write_text(json.dumps(config), encoding="utf-8")
    if known:
        CausalModel(str(folder), device_facts())
    else:
        with pytest.raises(ModelError):
            CausalModel(str(folder), device_facts())
    assert not ran.exists()
