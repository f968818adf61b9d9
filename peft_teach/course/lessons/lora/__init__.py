"""Lesson 07: LoRA."""
