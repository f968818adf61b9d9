"""Lesson 00: what is inside a model."""

LESSON = "00"
