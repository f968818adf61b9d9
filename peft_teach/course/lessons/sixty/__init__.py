"""Lesson 13: sixty methods; what is new, and a method of one's own."""
