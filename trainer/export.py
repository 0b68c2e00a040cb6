"""An adapter as a Hugging Face folder, for those who go on without Winnow. It appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from label_configs.codebook import Codebook, load_codebook
from label_configs.errors import AdapterError, EnvironmentFault
from ml_backend.adapter_files import FILES, Adapter
from ml_backend.atomic import sync
from ml_backend.base_state import check_base
from trainer.adapter_list import check_files
from trainer.model_card import model_card

CODEBOOK = "codebook.yaml"


def export(adapter: Adapter, out: Path, *, merge: bool = False) -> None:
    """Write ``out``: the adapter's two files, byte for byte, or with ``merge`` the base with it merged in; and a card.

    Beside them lie the codebook and a prompt of the team's own; no document does. Merging loads the base. Raises
    EnvironmentFault where ``out`` holds something or cannot be written, AdapterError or ModelError for what cannot be
    exported.
    """
    check_files(adapter)
    codebook = _codebook(adapter)
    kept = [name for name in (CODEBOOK, adapter.manifest.get("prompt_file")) if name]
    with _appearing(out) as folder:
        for name in (*kept, *(() if merge else FILES)):
            shutil.copyfile(adapter.folder / name, folder / name)
        if merge:
            from trainer.merging import save_merged

            check_base(adapter)
            save_merged(adapter, folder)
        (folder / "README.md").write_text(model_card(adapter, codebook, merged=merge), encoding="utf-8")


def _codebook(adapter: Adapter) -> Codebook:
    if CODEBOOK not in adapter.files:
        raise AdapterError(
            f"adapter {adapter.id}: has no codebook beside it, an earlier version made it; train anew to export"
        )
    return load_codebook(adapter.folder / CODEBOOK)


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder beside ``out``, on its disk; when the block ends it is ``out``, when the block fails it is gone."""
    out = out.absolute()
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise EnvironmentFault(f"{out}: exists and is not empty; name another folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise EnvironmentFault(f"{out}: cannot be written ({error.strerror}); name another folder") from None
    try:
        yield temporary
        for path in temporary.iterdir():
            path.chmod(0o644)  # safetensors writes files that only their owner reads
            sync(path)
        temporary.chmod(0o755)
        sync(temporary)
        os.rename(temporary, out)
        sync(out.parent)
    except OSError as error:
        raise EnvironmentFault(f"{out}: cannot be written ({error.strerror}); make room, or name another") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
