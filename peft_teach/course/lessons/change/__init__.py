"""Lesson 02: why a small change can be enough."""

LESSON = "02"
