"""Further cases of lesson 12, for the grader alone: odd scales, large ranks, other forms of a file."""


def names() -> list[dict]:
    """A scale that makes no whole alpha, a name that ends another's, a rank as large as the width.
    """
    return [{"seed": 501, "blocks": 2, "width": 7, "rank": 3, "scale": 0.15,
             "names": ("layer.0.attention.query",)},
            {"seed": 502, "blocks": 12, "width": 5, "rank": 2, "scale": 1.25,
             "names": ("layer.1.output.dense", "layer.11.attention.output.dense")},
            {"seed": 503, "blocks": 4, "width": 8, "rank": 8, "scale": 3.5,
             "names": ("layer.3.attention.query", "layer.0.output.dense",
                       "layer.2.attention.output.dense")}]


def diagnose() -> list[dict]:
    """Ranks that are large, both ways; a head that is quiet; two faults at a large rank."""
    shared = {"blocks": 3, "width": 20, "names": ("layer.2.attention.query", "layer.0.output.dense")}
    return [shared | {"seed": 511 + i, "faults": faults.split(), "rank": rank, "scale": scale,
                      "loud": loud} for i, (faults, rank, scale, loud) in enumerate((
                ("large", 16, 0.1, 1.0), ("small", 20, 0.5, 1.0), ("head", 12, 0.1, 0.01),
                ("exchanged", 16, 0.002, 3.0), ("", 16, 1.0, 0.01), ("large head", 9, 0.1, 1.0)))]


def back() -> list[dict]:
    """Settings that leave a default out; ends that mean a layer in several places of a block."""
    names = tuple(f"layer.{b}.{end}" for b in range(2) for end in (
        "attention.query", "attention.output.dense", "output.dense"))
    return [{"seed": 521, "blocks": 2, "width": 6, "rank": 2, "scale": 0.7, "names": names,
             "ends": ["dense", "query"], "stabilized": True},
            {"seed": 522, "blocks": 2, "width": 9, "rank": 4, "scale": 1.3, "stabilized": False,
             "names": ("layer.1.attention.query",), "ends": None, "bare": True},
            {"seed": 523, "blocks": 3, "width": 7, "rank": 1, "scale": 2.4, "stabilized": True,
             "names": ("layer.2.output.dense",), "ends": None}]


CASES = {"real.names": names, "real.diagnose": diagnose, "real.back": back}
