"""The model card of an exported adapter: a README.md as the Hugging Face hub reads it, from ``model_card.md.j2``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2

from label_configs.codebook import Codebook, Kind
from label_configs.strictyaml import dump_yaml
from ml_backend.adapter_files import Adapter
from ml_backend.templates import PromptTemplate
from ml_backend.versions import prompt_of
from trainer.adapter_list import FIGURES, figure, short_name

TEMPLATE = Path(__file__).parent / "model_card.md.j2"
MEANINGS = {
    Kind.EXCLUSIVE: "Each document has one code.",
    Kind.MULTILABEL: "A document may have several codes; each is asked about by itself.",
    Kind.GRADED: "Each code has a level of its own; each is asked about by itself.",
}


def model_card(adapter: Adapter, codebook: Codebook, *, merged: bool) -> str:
    """Markdown with the hub's metadata block: what it is, how to ask it, codes, data, figures on the holdout, limits.

    Holds no document. Raises ConfigError where the adapter's prompt is no longer there.
    """
    manifest = adapter.manifest
    prompt = PromptTemplate(prompt_of(adapter), codebook)
    question = prompt.questions[0]
    user = "\n".join(filter(None, (prompt.user("{document}"), prompt.question(question))))
    environment = jinja2.Environment(  # nosec B701 # Markdown, not HTML
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"plain": _plain, "figure": figure}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        metadata=_metadata(adapter, codebook, merged=merged),
        adapter=adapter,
        m=_Recorded(manifest),
        codebook=codebook,
        merged=merged,
        base=short_name(str(manifest["base"])),
        local=str(manifest["base"]).startswith("/"),
        state=manifest.get("base_revision") or manifest.get("base_digest"),
        meaning=MEANINGS[codebook.kind],
        system=prompt.system(),
        user=user,
        fence="`" * max(3, 1 + max(map(len, re.findall(r"`+", prompt.system() + user)), default=0)),
        each_code=question.code is not None,
        answers=question.answers,
        recipe={name: value for name, value in (manifest.get("recipe") or {}).items() if name != "prompt"},
        seeds=manifest.get("seeds") or {},
        packages=manifest.get("packages") or {},
        metrics=manifest.get("metrics") or {},
        gate=_Recorded(manifest.get("gate") or {}),
        figures=FIGURES,
    )


class _Recorded(dict[str, Any]):
    """What a manifest says; None for what one of an earlier version lacks."""

    def __missing__(self, key: str) -> None:
        return None


def _metadata(adapter: Adapter, codebook: Codebook, *, merged: bool) -> str:
    """The hub's metadata block, with keys that it knows. A base that is a folder has no name there."""
    base = str(adapter.manifest["base"])
    data: dict[str, Any] = {"base_model": base} if not base.startswith("/") else {}
    data |= {
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["text-classification", "content-analysis", "label-studio", "winnow", *([] if merged else ["lora"])],
    }
    new = (adapter.manifest.get("metrics") or {}).get("new") or {}
    if found := [{"type": name, "value": round(new[name], 4)} for name in FIGURES if new.get(name) is not None]:
        result = {
            "task": {"type": "text-classification"},
            "dataset": {"type": "private", "name": f"{codebook.name}, {new.get('n')} verified holdout documents"},
            "metrics": found,
        }
        data["model-index"] = [{"name": f"{codebook.name}-{adapter.id}", "results": [result]}]
    return f"---\n{dump_yaml(data)}---"


def _plain(text: object) -> str:
    """Text of one line that Markdown takes for text."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(str(text).split()))
