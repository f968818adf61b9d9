"""Further cases of lesson 04, for the grader alone: other sizes, padding, one token, one word."""


def front() -> list[dict]:
    """One token; heads of one entry; one head."""
    sizes = ((1, 1, 2, 2, 4, 3, 0), (2, 9, 1, 4, 1, 30, 5), (3, 5, 2, 1, 7, 6, 1))
    return [{"batch": batch, "seq": seq, "layers": layers, "heads": heads, "width": width,
             "length": length, "pad": pad, "seed": 310 + i}
            for i, (batch, seq, layers, heads, width, length, pad) in enumerate(sizes)]


def generate() -> list[dict]:
    """Many new tokens; a prefix of one; three sentences."""
    return [{"length": length, "tokens": tokens, "batch": batch, "new": new, "seed": 410 + i}
            for i, (length, tokens, batch, new) in enumerate(
                ((4, 2, 1, 12), (1, 7, 1, 9), (6, 3, 3, 10)))]


def share() -> list[dict]:
    """One query; one word; a long prefix with large scores; a head for each pair of entries."""
    sizes = ((2, 1, 5, 3, 12, 3, 4, False, 1.0), (1, 2, 1, 6, 8, 2, 0, False, 1.0),
             (1, 5, 5, 64, 96, 3, 0, True, 6.0), (3, 4, 7, 1, 10, 5, 2, False, 1.0))
    return [{"batch": batch, "queries": queries, "keys": keys, "length": length, "d": d,
             "heads": heads, "pad": pad, "causal": causal, "size": size, "seed": 510 + i}
            for i, (batch, queries, keys, length, d, heads, pad, causal, size) in enumerate(sizes)]


def gate() -> list[dict]:
    """Heads of one entry; gates beyond 1; many sentences."""
    return [{"batch": batch, "queries": queries, "heads": heads, "width": width, "edge": edge,
             "most": most, "seed": 610 + i} for i, (batch, queries, heads, width, edge, most) in enumerate(
                 ((2, 3, 7, 1, False, 0.5), (1, 4, 2, 9, True, 12.0), (5, 2, 6, 3, False, 4.0)))]


CASES = {"prefix.front": front, "prefix.generate": generate, "prefix.share": share,
         "prefix.gate": gate}
