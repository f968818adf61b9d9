"""Lesson 01: full fine-tuning or a head alone."""

LESSON = "01"
