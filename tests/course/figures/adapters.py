"""Lesson 05: what its prose says and no output of it shows."""

from figures import record

FIGURES = {
    "1,920 film sentences": "a setting of the runs: 120 steps of 16",
    "1,920 sentences": "a setting of the runs: 120 steps of 16",
    "of parallel had 79.2 and 77.1 %": tuple(
        row["accuracy"] for place in ("post_attention", "parallel")
        for row in record("adapters")["runs"] if row["group"] == "placements"
        and row["setting"] == {"place": place, "lr": 1e-3, "seed": 0}),
    "(51.9 % or less)": max(row["accuracy"] for row in record("adapters")["runs"]
                            if row["group"] == "starts"),
    "within 300,000 parameters": record("adapters")["setting"]["budget"],
    "1,000 test sentences": record("adapters")["setting"]["tests"],
}
