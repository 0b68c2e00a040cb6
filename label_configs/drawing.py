"""Random draws of documents by their ids: the same in every process, and never dependent on other documents."""

from __future__ import annotations

import hashlib


def draw(document_id: str, salt: str) -> float:
    """A number uniform in [0, 1), from the SHA-256 of salt and id; draws with different salts are independent."""
    digest = hashlib.sha256(f"{salt}\0{document_id}".encode()).digest()
    # 53 bits are what a float holds exactly; more would round some ids up to 1.
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


def is_holdout(document_id: str, share: float, salt: str = "winnow-holdout") -> bool:
    """Whether a document is held out from training, for about ``share`` of all documents.

    New documents move nothing, and a larger share keeps what a smaller one held out.
    """
    return draw(document_id, salt) < share
