"""The further cases of the capstone: none but what the handed-in file makes of them."""


def none() -> list[dict]:
    """The grader draws a split's lines anew; the adapter's further case is the student's file."""
    return []


CASES = {"capstone.split": none, "capstone.laws": none, "capstone.adapter": none}
