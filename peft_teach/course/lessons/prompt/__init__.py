"""Lesson 03, soft prompt tuning: all that is its own."""

LESSON = "03"
