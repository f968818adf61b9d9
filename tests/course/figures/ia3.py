"""Lesson 06: what its prose says and no output of it shows."""

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
}
