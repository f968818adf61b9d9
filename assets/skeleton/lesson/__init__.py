"""Lesson NN: what its kernel needs."""
