"""What do candidates hold, and what do learned weights of the sources change? Reuters R8 by the demo's three sources.

    python tests/benchmarks/candidates.py

Proposes for 120 test documents, drawn as they come, and draws the candidate curve (tests/benchmarks/candidates.png).
Then a coder who knows the true codes judges the candidates, and weights are learned from that; their effect is
cross-fitted. Prints one JSON object last. Proposals are kept in .demo/winnow-benchmark, so that only the first run
takes minutes.
"""

from __future__ import annotations

import csv
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from rich.console import Console

from label_configs.records import Decision, VerifiedExample
from ml_backend.candidates import candidate_set
from ml_backend.experiment import Experiment, Project
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from ml_backend.weights_file import taking_over
from trainer.candidate_curve import candidate_curve, frontier
from trainer.candidate_sample import Sample, sample_of_file
from trainer.candidate_tables import curve_table, draw_curve
from trainer.demo import documents, wheels
from trainer.evaluation.mixing import MixingReport, mixing_report
from trainer.source_weights import learn_weights
from trainer.verified import Reading
from trainer.verified_file import VerifiedFile

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / ".demo"
DRAWN, DOCUMENTS = 400, 120  # the first of a longer draw: more of it can be proposed for without losing these
SEED = 20240601


def sample() -> Sample:
    """The documents, their true codes and what the demo's sources propose."""
    files = wheels.fetch(DEMO)
    folder = DEMO / "winnow-benchmark"
    folder.mkdir(exist_ok=True)
    config = yaml.safe_load((ROOT / "trainer" / "demo" / "winnow.yaml").read_text(encoding="utf-8"))
    del config["training"]
    (folder / "winnow.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    coded = folder / "reuters-r8.csv"
    with coded.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "code"])
        for document, code in random.Random(SEED).sample(documents.read(files.reuters_test), DRAWN)[:DOCUMENTS]:
            writer.writerow([document.id, document.text, code])
    return sample_of_file(Settings(home=folder), folder / "winnow.yaml", VerifiedFile(coded), Console(stderr=True))


def judged(found: Sample) -> Iterator[Decision]:
    """Each document decided on by a coder who knows its code."""
    for number, document in enumerate(found.documents):
        shown = candidate_set(document.document_id, document.proposals, found.rule, "", found.codebook)
        labels = [candidate.label for candidate in shown.candidates]
        kept = tuple(label for label in labels if label in document.labels)
        rejected = tuple(label for label in labels if label not in document.labels)
        missed = tuple(label for label in document.labels if label not in labels)
        yield Decision(document.document_id, number, number, "", "reject", kept, rejected, missed, shown=shown)


def weights(found: Sample) -> MixingReport | None:
    """What the weights learned of these decisions are, and what they change."""
    decisions = list(judged(found))
    examples = [VerifiedExample(one.document_id, one.document_id, one.labels, (), False) for one in found.documents]
    made = [proposal for document in found.documents for proposal in document.proposals]
    sources = tuple(SourceConfig(name, SourceKind.FAKE) for name in found.sources)
    with tempfile.TemporaryDirectory() as folder:
        # No holdout: nothing is trained, and the effect is cross-fitted.
        experiment = Experiment("", sources, candidates=found.rule, training=Training("", holdout_share=0.0))
        project = Project(1, experiment, found.codebook, Path(folder))
        reading = Reading((), decisions, made, examples)
        with taking_over(project.folder, learn_weights(project, reading)):
            return mixing_report(project, reading)


def main() -> None:
    """Run it."""
    found = sample()
    points = candidate_curve(found.documents, found.codebook, found.rule)
    draw_curve(points, Path(__file__).parent / "candidates.png", "Reuters R8, three sources")
    Console(stderr=True).print(curve_table(points, "Reuters R8"))
    learned = weights(found)
    chosen = [*frontier(points), *(point for point in points if point.present)]
    figures = {"points": [point.as_json() for point in chosen], "weights": learned.as_json() if learned else None}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
