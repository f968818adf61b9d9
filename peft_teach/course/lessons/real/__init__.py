"""Lesson 12: Would peft believe you?"""
