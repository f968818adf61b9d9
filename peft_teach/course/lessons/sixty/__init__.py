"""Lesson 13: the field's methods; what is new, and a method of one's own."""

LESSON = "13"
