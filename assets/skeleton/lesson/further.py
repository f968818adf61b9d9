"""Further cases of lesson NN, for the grader alone."""


def saved() -> list[dict]:
    """Square and flat matrices, and factors that cost more than they replace."""
    sizes = ((7, 7, 2), (900, 1, 4), (3, 2, 11))
    return [{"n_in": n_in, "n_out": n_out, "rank": rank} for n_in, n_out, rank in sizes]


CASES = {"NAME.saved": saved}
