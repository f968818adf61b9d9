"""A learner's code as text and while it runs: cells, definitions, notes of what ran."""
