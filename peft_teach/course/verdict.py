"""What the 95 % interval of a difference says: better, worse, the same, or nothing yet."""

# Student's t by the number of values: their mean is known to ± t · s / √n, with 95 % confidence.
T95 = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
                      2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093), start=2))
BETTER, WORSE, SAME, UNSURE = "better", "worse", "the same", "could not tell"


def verdict(low: float, high: float, margin: float) -> str:
    """Return what an interval of a difference says, where less than the margin does not matter."""
    if -margin < low and high < margin:
        return SAME
    return BETTER if low > 0 else WORSE if high < 0 else UNSURE
