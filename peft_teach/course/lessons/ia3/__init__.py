"""Lesson 06: what can gains never do."""
