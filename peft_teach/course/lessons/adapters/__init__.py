"""Lesson 05: adapters, and where in the block they stand."""
