"""Lesson 09: DoRA."""

LESSON = "09"
