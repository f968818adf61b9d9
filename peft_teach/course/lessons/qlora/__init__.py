"""Lesson 08: QLoRA."""

LESSON = "08"
