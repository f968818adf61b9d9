"""Lesson 05: what its prose says and no output of it shows."""

FIGURES = {
    "that is 8 %": 0.01**2 * (64**0.5 + 384**0.5) ** 2,
    "a file of 1.2 MB instead of 91 MB": "ladder.json, costs",
    "21 to 30 %": "Hu et al. 2021, Table 1",
}
