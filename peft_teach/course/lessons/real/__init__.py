"""Lesson 12: Hugging Face peft, and whether it believes you."""

LESSON = "12"
