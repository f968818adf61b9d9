"""Lesson 10: all methods of the course on equal terms."""

LESSON = "10"
