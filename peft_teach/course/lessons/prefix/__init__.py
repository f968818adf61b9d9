"""Lesson 04: what a prefix can do that a prompt cannot."""

LESSON = "04"
