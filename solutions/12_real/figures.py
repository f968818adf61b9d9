"""Lesson 12: what its prose says and no output of it shows."""

FIGURES = {
    "with 16 GB": "a card that holds what is computed below it",
    "0.4 % apart": 2**-8,
    "1 to 70 billion": "the sources of the recipe",
}
