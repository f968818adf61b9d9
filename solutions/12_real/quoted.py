"""Lesson 12: what its prose says and no output of it shows."""

QUOTED = {
    "2 % louder": "a setting of the broken way",
    "0.4 % apart": 2**-8,
}
