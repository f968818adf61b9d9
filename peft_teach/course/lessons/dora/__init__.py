"""Lesson 09: DoRA."""
