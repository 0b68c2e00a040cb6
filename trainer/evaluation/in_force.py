"""What the sources in force say of the documents that they are judged on, as audits look at it."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.evaluation.judged import Judged, basis_of, judged_sources
from trainer.evaluation.study import Study


@dataclass(frozen=True)
class InForce:
    """``documents`` are judged on, in order; ``sources`` have proposals for some of them at least.

    ``notes`` say what the documents are, and what was left out.
    """

    documents: tuple[str, ...]
    sources: tuple[Judged, ...]
    notes: tuple[str, ...]

    @property
    def why_none(self) -> str:
        """Why nothing can be audited, "" where something can."""
        if not self.documents:
            return "no document has a truth"
        return "" if self.sources else "no source in force has proposed for the documents that have a truth"


def in_force(study: Study) -> InForce:
    """The sources in their versions in force; earlier adapters are left out."""
    basis = basis_of(study)
    documents = tuple(sorted(basis.documents & study.documents.keys()))
    names = {proposal.source for proposal in study.proposals}
    sources = tuple(one for one in judged_sources(study, documents) if one.label in names and one.documents)
    notes = [f"On {len(documents)} {basis.words}; truth: {study.truth_from}."]
    if basis.left_out:
        notes.append(
            f"{basis.left_out} documents are left out: their truth does not fit codebook {study.codebook.name}."
        )
    return InForce(documents, sources, tuple(notes))
