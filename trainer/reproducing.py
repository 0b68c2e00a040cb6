"""`winnow reproduce`: an adapter built again from its manifest and the files beside it, and compared with it.

The examples, the codebook and a prompt of the team's own lie beside an adapter, the rest is in its manifest. It is
trained again as it was: in a process of its own, with the same seeds, micro-batches and number of threads. Then both
are asked about the holdout. Nothing is published; what was built lies in a folder of its own, where one that was
stopped goes on.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from label_configs.codebook import load_codebook
from label_configs.errors import AdapterError, ConfigError, ModelError, TrainingError
from label_configs.strictyaml import YamlFile
from ml_backend.adapter_files import MANIFEST, Adapter
from ml_backend.adapters import AdapterStore, store_of
from ml_backend.atomic import write_atomically
from ml_backend.base_state import base_state
from ml_backend.settings import Settings
from ml_backend.snapshot import examples_digest, read_examples
from ml_backend.training_config import Balance, Negatives
from ml_backend.versions import check_codebook
from trainer.adapter_list import check_files
from trainer.alone import alone
from trainer.circumstances import Difference, known_after, known_before
from trainer.compared_weights import compare_weights
from trainer.fine_tuning import outcome_of, train_and_ask
from trainer.fit_plan import EXAMPLES_FILE
from trainer.recipe import LoraRecipe, Precision, recipe_with
from trainer.reproduced import Reproduced, compared_answers
from trainer.supervision import OnProgress, Watch
from trainer.tuning import CODEBOOK_FILE, MADE, PLAN_FILE, FineTuning, forget_training

RESULT_FILE = "reproduced.json"
NEEDED = ("base", "prompt", "recipe", "codebook", "examples_digest", "holdout_share", "max_document_tokens")


@dataclass(frozen=True)
class Reproduction:
    """An adapter that can be built again, found fit for it; ``differences`` are what is known before it is."""

    adapter: Adapter
    tuning: FineTuning
    folder: Path
    differences: tuple[Difference, ...]

    def run(self, on_progress: OnProgress, tolerance: float) -> Reproduced:
        """Build and compare; what was cut off goes on from its last checkpoint, what had ended is built anew.

        Raises TrainingError when training fails, or goes on in another process, AdapterError or ModelError where the
        base changed meanwhile.
        """
        started = time.monotonic()
        with alone(self.folder) as lock:
            if lock is None:
                raise TrainingError(f"{self.folder}: another process builds the same adapter; wait for it")
            if (self.folder / RESULT_FILE).exists():
                forget_training(self.folder)
                (self.folder / RESULT_FILE).unlink()
            self._write()
            devices = self.adapter.manifest.get("devices")
            notes = train_and_ask(self.tuning, self.folder, Watch(on_progress, held=(lock,)), devices)
            assert notes is not None  # nobody asks it to stop
            check_same_base(self.adapter, self.tuning.base)
            result = self._compared(notes, tolerance, round(time.monotonic() - started, 1))
            write_atomically(self.folder / RESULT_FILE, json.dumps(result.as_json(), indent=2))
        return result

    def _write(self) -> None:
        """Write what the training's process reads; what another plan had begun here is of no use to this one."""
        plan = self.folder / PLAN_FILE
        before = plan.read_text(encoding="utf-8") if plan.exists() else None
        self.tuning.write(self.folder, self._published())
        if before is not None and before != plan.read_text(encoding="utf-8"):
            for name in MADE:
                shutil.rmtree(self.folder / name, ignore_errors=True)

    def _published(self) -> AdapterStore:
        """A store with the published adapter whose manifest names the base where it lies here."""
        adapter = self.adapter
        if adapter.manifest["base"] == self.tuning.base:
            return AdapterStore(adapter.folder.parent)
        store = AdapterStore(self.folder / "published")
        kept = adapter.manifest.get("prompt_file")
        extras = {kept: adapter.folder / kept} if kept else {}
        store.publish(adapter.folder, {**adapter.manifest, "base": self.tuning.base}, extras)
        return store

    def _compared(self, notes: tuple[str, ...], tolerance: float, seconds: float) -> Reproduced:
        outcome = outcome_of(self.folder)
        rebuilt = self.folder / "adapter"
        return Reproduced(
            self.adapter.id, str(rebuilt), compare_weights(self.adapter.folder, rebuilt), tolerance,
            compared_answers(self.tuning, outcome, self.adapter.manifest),
            (*self.differences, *known_after(self.adapter.manifest, outcome)), notes, seconds,
        )  # fmt: skip


def prepare(settings: Settings, adapter_id: str, *, base: str | None = None, out: Path | None = None) -> Reproduction:
    """Read all that the adapter was made from, and see whether it is what it was. Loads no model.

    ``base`` is where the base model lies here, where that is not where it was; ``out`` the folder to build in. Raises
    AdapterError for an adapter that is damaged, that says too little, or whose base is another now, ModelError where
    the base is missing, ConfigError for an ``out`` that holds something else.
    """
    adapter = store_of(settings.home).get(adapter_id)
    check_files(adapter)
    said = adapter.manifest
    lacking = [name for name in NEEDED if said.get(name) is None]
    lacking += [name for name in (EXAMPLES_FILE, CODEBOOK_FILE) if name not in adapter.files]
    if lacking:
        raise AdapterError(
            f"adapter {adapter.id}: cannot be built again, {', '.join(lacking)} was not kept with it; train anew with "
            "this version of Winnow"
        )
    recipe = recipe_with(LoraRecipe(), said["recipe"], source=YamlFile(adapter.folder / MANIFEST, {}, {(): 1}))
    differences = tuple(known_before(said, recipe))
    tuning = _tuning(settings, adapter, _as_computed(recipe, adapter), _base_here(adapter, base))
    check_same_base(adapter, tuning.base)
    folder = (out or settings.home / "reproduced" / adapter.id).resolve()
    if out is not None:
        _check_free(folder, adapter.id)
    return Reproduction(adapter, tuning, folder, differences)


def check_same_base(adapter: Adapter, base: str) -> None:
    """Raise AdapterError where ``base`` is not in the state that the adapter was trained over.

    Raises ModelError where its files are missing, so that this cannot be told.
    """
    said, named = adapter.manifest, "name the folder where it lies here with --base"
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise ModelError(f"adapter {adapter.id}: its base {base} is not on this machine; {named}")
    state, expected, commit = base_state(base), said.get("base_digest"), said.get("base_revision")
    if state is None:
        fetch = f"hf download {base}{f' --revision {commit}' if commit else ''}"
        raise ModelError(f"adapter {adapter.id}: its base {base} was not fetched yet; run `{fetch}`, or {named}")
    if expected is not None and state.digest != expected:
        restore = f"the commit {commit}" if commit else "its files as they were"
        raise AdapterError(
            f"adapter {adapter.id}: was trained over {base} with digest {expected}, here it has {state.digest}; "
            f"restore {restore}, or {named}"
        )


def _tuning(settings: Settings, adapter: Adapter, recipe: LoraRecipe, base: str) -> FineTuning:
    said, folder = adapter.manifest, adapter.folder
    examples, codebook = read_examples(folder / EXAMPLES_FILE), load_codebook(folder / CODEBOOK_FILE)
    if (found := examples_digest(examples)) != said["examples_digest"]:
        raise AdapterError(
            f"adapter {adapter.id}: was trained on examples with digest {said['examples_digest']}, those beside it "
            f"have {found}; restore {folder} from a backup"
        )
    check_codebook(adapter, codebook)
    return FineTuning(
        base, recipe, codebook, examples, float(said["holdout_share"]), current=adapter.id,
        threads=said.get("threads") or settings.threads, origin={"reproduces": adapter.id},
        negatives=Negatives(said.get("negatives", Negatives.ALL)), balance=Balance(said.get("balance", Balance.NONE)),
        checkpoint_seconds=settings.checkpoint_seconds, micro_batch_size=said.get("micro_batch_size"),
    )  # fmt: skip


def _as_computed(recipe: LoraRecipe, adapter: Adapter) -> LoraRecipe:
    """The recipe with what its device decided, and with the prompt that was kept beside the adapter."""
    if recipe.precision is Precision.AUTO and (precision := adapter.manifest.get("precision")):
        recipe = replace(recipe, precision=Precision(precision))
    kept = adapter.manifest.get("prompt_file")
    return replace(recipe, prompt=str(adapter.folder / kept)) if kept else recipe


def _base_here(adapter: Adapter, base: str | None) -> str:
    if base is None:
        return str(adapter.manifest["base"])
    folder = Path(base).expanduser()
    if not folder.is_dir():
        raise ModelError(f"--base: {base} is no folder; name the one that holds {adapter.manifest['base']}")
    return str(folder.resolve())


def _check_free(folder: Path, adapter_id: str) -> None:
    """Raise ConfigError where a folder holds anything but an earlier reproduction of the adapter."""
    if not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= {".lock"}):
        return
    try:
        plan = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        ours = plan["origin"].get("reproduces") == adapter_id
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        ours = False
    if not ours:
        raise ConfigError(f"--out: {folder} holds something else; name a folder that is empty or not there yet")
