"""Lesson 06: what can scaling vectors never do."""
