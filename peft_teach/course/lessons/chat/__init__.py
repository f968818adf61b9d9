"""Lesson 11: a chat model that learns a voice."""

LESSON = "11"
