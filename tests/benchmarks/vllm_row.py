"""Documents per second of a vLLM server, asked through the source ``chat_api`` as a team would."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook
from label_configs.records import Document
from ml_backend.source_config import ChatApi, SourceConfig, SourceKind
from ml_backend.sources.chat_api import ChatApiSource
from ml_backend.spending import Ledger

ROOT = Path(__file__).parents[2]
CONCURRENCY = 16


def executable() -> Path | None:
    """The Python of vLLM's environment, None where it is not built."""
    python = ROOT / ".venv-vllm" / "bin" / "python"
    return python if python.exists() else None


def documents_per_second(
    model: Path, template: Path, codebook: Codebook, texts: Sequence[str], warm: Sequence[str], dtype: str, turns: int
) -> float:
    """The best of ``turns`` turns over documents that the server has not seen; ``warm`` ones come before them."""
    python = executable()
    assert python is not None
    server_module = _server_module()
    with (
        tempfile.TemporaryDirectory() as home,
        server_module.VllmServer(python, model.resolve(), dtype=dtype, lora=False) as server,
    ):
        api = ChatApi(server.base_url, concurrency=CONCURRENCY)
        config = SourceConfig("vllm", SourceKind.CHAT_API, server.model, str(template), api=api)
        source = ChatApiSource(config, "vllm", codebook, Ledger(Path(home)))
        source.propose([Document(f"warm-{i}", text) for i, text in enumerate(warm)])
        best = 0.0
        for turn in range(turns):
            part = [Document(f"{turn}-{i}", text) for i, text in enumerate(texts[turn::turns])]
            started = time.perf_counter()
            source.propose(part)
            rate = len(part) / (time.perf_counter() - started)
            sys.stderr.write(f"turn {turn + 1}: vllm {dtype} {rate:.3f} documents/s\n")
            best = max(best, rate)
        return best


def _server_module() -> Any:
    path = ROOT / "tests" / "vllm" / "server.py"
    spec = importlib.util.spec_from_file_location("vllm_server", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
