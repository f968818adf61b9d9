"""Lesson 13: what its prose says and no output of it shows."""

FIGURES: dict = {}
