"""How fast are documents imported? `winnow import`'s way against bare `import_tasks`, on a Label Studio started here.

    python tests/benchmarks/importing.py

10,000 synthetic documents of 150 words in a CSV file, some of them copies. ``raw`` sends the same tasks through
label-studio-sdk in requests of the same size; ``winnow`` reads and checks the file, keeps its other columns, looks for
exact and near duplicates and for what is there already; ``again`` is the same import run once more, which finds all of
them there. Both imports are run in turns, each time into a new project; the best of the turns is told, since whatever
else runs on the machine only makes them slower, and the seconds of the CPU that this process took, which Label Studio
lacks where cores are few. Prints a table to standard error and one JSON object last to standard output.
"""

from __future__ import annotations

import csv
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from rich.console import Console

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.render import render_label_config
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from trainer.demo.label_studio import LabelStudioServer
from trainer.importing import BATCH_TASKS, Importer, Source, check

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = 10_000
WORDS = 150  # of a document
COPIES = 100  # exact ones among them
RUNS = 5
SEED = 20240601


def write_documents(path: Path) -> list[dict[str, str]]:
    """A CSV file of synthetic documents; its rows."""
    draw = random.Random(SEED)
    vocabulary = [f"w{number}" for number in range(5000)]
    rows = [
        {
            "id": f"d{n}",
            "text": " ".join(draw.choices(vocabulary, k=WORDS)),
            "language": "en",
            "year": str(1980 + n % 40),
        }
        for n in range(DOCUMENTS)
    ]
    for n in range(1, COPIES + 1):
        rows[-n]["text"] = rows[n]["text"]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return rows


def timed(do: Callable[[], object]) -> tuple[float, float]:
    """Documents per second, and seconds of this process's CPU."""
    started, cpu = time.perf_counter(), time.process_time()
    do()
    return round(DOCUMENTS / (time.perf_counter() - started), 1), round(time.process_time() - cpu, 2)


def main() -> None:
    """Run it."""
    codebook = load_codebook("reuters8")
    config = render_label_config(codebook, ReviewForm.REJECT)
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),), review=Review(ReviewForm.REJECT))
    found: dict[str, list[tuple[float, float]]] = {"raw": [], "winnow": [], "again": []}
    executable = ROOT / ".venv-label-studio" / "bin" / "label-studio"
    template = ROOT / ".demo" / "label-studio-template"
    with (
        tempfile.TemporaryDirectory() as scratch,
        LabelStudioServer(executable, Path(scratch) / "label-studio", template=template) as server,
    ):
        folder = Path(scratch)
        rows = write_documents(folder / "documents.csv")
        settings = Settings(
            home=folder / "home", label_studio_url=server.url, label_studio_token=SecretStr(server.token())
        )
        client = LabelStudioClient(settings)
        sdk = LabelStudio(base_url=server.url, api_key=server.token(), timeout=120)
        tasks = [{"data": {**row, "document_id": row["id"], "candidates": []}} for row in rows]

        def made(title: str) -> Project:
            return register(settings.home, client.create_project(title, config), experiment, codebook)

        def raw(project_id: int) -> None:
            for start in range(0, DOCUMENTS, BATCH_TASKS):
                part = tasks[start : start + BATCH_TASKS]
                sdk.projects.import_tasks(project_id, request=part, return_task_ids=True)

        def winnow(project: Project) -> None:
            source = Source(folder / "documents.csv")
            done = Importer(client, project).run_file(source, check(source, project), Console(stderr=True))
            assert done.imported + done.known == DOCUMENTS
            assert len(done.pairs) == COPIES

        for _ in range(RUNS):
            project = made("bare import")
            found["raw"].append(timed(lambda p=project: raw(p.id)))  # type: ignore[misc]
            project = made("winnow import")
            found["winnow"].append(timed(lambda p=project: winnow(p)))  # type: ignore[misc]
            found["again"].append(timed(lambda p=project: winnow(p)))  # type: ignore[misc]
    best = {name: max(turns) for name, turns in found.items()}
    raw_rate = best["raw"][0]
    for name, (rate, cpu) in best.items():
        sys.stderr.write(f"{name:8} {rate:8.0f} documents/s   {rate / raw_rate:.2f} of raw   {cpu:.1f} s of CPU\n")
    setting = {"documents": DOCUMENTS, "words": WORDS, "batch": BATCH_TASKS, "runs": RUNS, "all": found}
    rates = {name: rate for name, (rate, _) in best.items()}
    sys.stdout.write(json.dumps({"rows": rates, "share": round(rates["winnow"] / raw_rate, 3), **setting}) + "\n")


if __name__ == "__main__":
    main()
