"""Proposing codes and serving them to Label Studio."""
