"""Lesson 13: what it claims and what its prose judges, by the record."""

CLAIMS: tuple = ()
JUDGED: dict = {}
