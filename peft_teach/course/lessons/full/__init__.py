"""Lesson 01: from scratch, full fine-tuning, head only."""
