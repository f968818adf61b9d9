"""Lesson 08: QLoRA."""
