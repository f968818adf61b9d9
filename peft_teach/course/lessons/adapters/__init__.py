"""Lesson 05: bottleneck adapters, and where in the block they stand."""

LESSON = "05"
