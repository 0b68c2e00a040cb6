"""Learning from verified documents, and judging what was learned."""
