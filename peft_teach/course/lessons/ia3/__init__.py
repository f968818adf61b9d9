"""Lesson 06: IA³, and what scaling vectors can never do."""

LESSON = "06"
