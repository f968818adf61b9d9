"""The capstone: a domain of its own, 40 kB for the numbers of an adapter, and a page."""

LESSON = "14"
