"""The record of what a coder was shown, and of what a source proposed, as JSON inside Label Studio's results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from label_configs.errors import WireError
from label_configs.records import Arm, Candidate, CandidateSet, Proposal, Proposer, ScoredLabel

PROPOSAL_KEY = "winnow"


def candidates_to_text(candidate_set: CandidateSet) -> str:
    """A candidate set as compact JSON; every annotation carries it, so lists stand for objects."""
    record = {
        "document": candidate_set.document_id,
        "version": candidate_set.version,
        "arm": candidate_set.arm.value,
        "candidates": [
            [
                candidate.label,
                candidate.probability,
                [[by.source, by.version, by.probability, by.rank] for by in candidate.proposers],
            ]
            for candidate in candidate_set.candidates
        ],
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def candidates_from_text(text: str) -> CandidateSet:
    """The candidate set that ``candidates_to_text`` wrote; raises WireError when it is something else."""
    try:
        record = json.loads(text)
        return CandidateSet(
            str(record["document"]),
            str(record["version"]),
            tuple(
                Candidate(
                    str(label),
                    float(probability),
                    tuple(Proposer(str(source), str(version), float(p), int(rank)) for source, version, p, rank in by),
                )
                for label, probability, by in record["candidates"]
            ),
            # Records made before there were arms have none.
            Arm(record.get("arm", Arm.REVIEW)),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise WireError(
            f"control shown: is not a record of candidates ({type(problem).__name__}); delete this annotation"
        ) from problem


def proposal_to_json(proposal: Proposal) -> dict[str, Any]:
    """A proposal as the JSON object that travels in a result item's ``meta``."""
    return {
        "document": proposal.document_id,
        "source": proposal.source,
        "version": proposal.version,
        "labels": [[scored.label, scored.probability] for scored in proposal.labels],
        **cost_to_json(proposal),
    }


def proposal_from_json(record: Any) -> Proposal:
    """The proposal that ``proposal_to_json`` wrote; raises WireError when it is something else."""
    try:
        return Proposal(
            str(record["document"]),
            str(record["source"]),
            str(record["version"]),
            tuple(ScoredLabel(str(label), float(probability)) for label, probability in record["labels"]),
            **cost_from_json(record),
        )
    except (ValueError, TypeError, KeyError) as problem:
        raise WireError(
            f"result meta.{PROPOSAL_KEY}: is not a proposal ({type(problem).__name__}); delete this prediction"
        ) from problem


def cost_to_json(proposal: Proposal) -> dict[str, Any]:
    """What a proposal cost, as JSON: ``tokens`` and ``seconds``, and what else is not zero."""
    cost: dict[str, Any] = {"tokens": proposal.tokens, "seconds": round(proposal.seconds, 6)}
    rest = {"output_tokens": proposal.output_tokens, "truncated": proposal.truncated, "price": proposal.price}
    return cost | {name: value for name, value in rest.items() if value or (name == "price" and value is not None)}


def cost_from_json(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a proposal that ``cost_to_json`` wrote. Raises KeyError, TypeError or ValueError."""
    price = record.get("price")
    return {
        "tokens": int(record["tokens"]),
        "seconds": float(record["seconds"]),
        "output_tokens": int(record.get("output_tokens", 0)),
        "truncated": int(record.get("truncated", 0)),
        "price": None if price is None else float(price),
    }
