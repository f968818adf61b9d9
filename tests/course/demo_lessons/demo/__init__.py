"""A lesson of the demonstration course."""

LESSON = "97"
