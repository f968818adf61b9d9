"""Lesson 07: LoRA."""

LESSON = "07"
