"""Lesson NN: what its kernel needs."""

LESSON = "NN"
