"""A lesson of the demonstration course: an exercise of each kind."""

LESSON = "99"
