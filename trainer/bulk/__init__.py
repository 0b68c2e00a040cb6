"""Bulk work on plain files: classify all documents of one, draft a codebook from verified ones."""
