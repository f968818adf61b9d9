"""Answers to the exercises of lesson NN: right ones in several styles, a wrong one a mistake."""

from peft_teach.course.publish.authored import but

SAVED = """
def saved(n_in, n_out, rank):
    return n_in * n_out - rank * (n_in + n_out)
"""
DIFFERENCE = "n_in * n_out - rank * (n_in + n_out)"
LARGEST = "largest = 307"
SOLVED = SAVED + """
largest = max(rank for rank in range(1, 385) if saved(384, 1536, rank) > 0)
"""

RIGHT = {
    "NAME.saved": {
        "plain": SAVED,
        "two products": but(SAVED, DIFFERENCE, "n_in * n_out - rank * n_in - n_out * rank"),
        "shapes": but(SAVED, DIFFERENCE, "math.prod((n_out, n_in)) - sum(map(math.prod, "
                                         "[(rank, n_in), (n_out, rank)]))"),
        "a lambda": "saved = lambda n_in, n_out, rank: n_out * n_in - (n_out + n_in) * rank",
        "NumPy": but("import numpy as np\n" + SAVED, DIFFERENCE,
                     "np.int64(n_in) * n_out - rank * np.array([n_in, n_out]).sum()"),
        "tensors": but(SAVED, DIFFERENCE, "torch.empty(n_out, n_in).numel() - torch.empty(rank, "
                                          "n_in).numel() - torch.empty(n_out, rank).numel()"),
    },
    "NAME.largest": {
        "the solution": SOLVED,    # the cell alone would lack `saved`, which stands above it
        "a number": LARGEST,
        "a formula": "largest = (384 * 1536 - 1) // (384 + 1536)",
        "a search": "largest = 1\nwhile (largest + 1) * 1920 < 384 * 1536:\n    largest += 1",
    },
}

WRONG = {
    "NAME.saved": {
        "turned": but(SAVED, DIFFERENCE, "rank * (n_in + n_out) - n_in * n_out"),
        "one_factor": but(SAVED, DIFFERENCE, "n_in * n_out - rank * n_in"),
        "factors_alone": but(SAVED, DIFFERENCE, "rank * (n_in + n_out)"),
        "not_whole": but(SAVED, DIFFERENCE, f"float({DIFFERENCE})"),
        "no_return": but(SAVED, "return ", "print(") + ")",
    },
    "NAME.largest": {
        "too_large": but(LARGEST, "307", "308"),
        "too_small": but(LARGEST, "307", "191"),
        "no_number": but(LARGEST, "307", "307.0"),
    },
}

# What the visible cases let through, and the further ones find.
BEYOND = {"NAME.saved": but(SAVED, DIFFERENCE, f"max(0, {DIFFERENCE})")}
