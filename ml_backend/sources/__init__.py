"""Sources propose codes: one Protocol, several ways to arrive at probabilities."""
