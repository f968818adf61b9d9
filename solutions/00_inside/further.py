"""Further cases of lesson 00, for the grader alone: sizes at the edges, and numbers that round."""


def linear() -> list[dict]:
    """One input or output; sizes beyond what float32 holds exactly, that can still be built."""
    sizes = ((1, 1), (1, 77), (513, 1), (4100, 4101))
    return [{"n_in": n_in, "n_out": n_out} for n_in, n_out in sizes]


def block() -> list[dict]:
    """A feed-forward part narrower than the model, one head, all heads sharing one, TinyLlama."""
    sizes = ((768, 3072, 12, 12), (64, 16, 1, 1), (30, 30, 5, 1), (1024, 4096, 16, 2), (7, 3, 7, 1))
    return [dict(zip(("d_model", "d_ff", "heads", "kv_heads"), each)) for each in sizes]


def head() -> list[dict]:
    """One token; a head of one entry; a sentence longer than any before."""
    return [{"tokens": tokens, "width": width, "seed": 870 + i}
            for i, (tokens, width) in enumerate(((1, 5), (4, 1), (90, 32)))]


def attention() -> list[dict]:
    """One head; heads of one entry; one query for many keys, as a token at a time; BERT-base."""
    sizes = ((2, 4, 4, 16, 1, True), (1, 3, 5, 8, 8, False), (3, 1, 11, 384, 12, True),
             (1, 6, 8, 768, 12, True))
    return [dict(zip(("batch", "queries", "keys", "d", "heads", "causal"), each),
                 size=1.0, about=0.0, seed=900 + i)
            for i, each in enumerate(sizes)]


def transformer() -> list[dict]:
    """One head; a feed-forward part narrower than the model; as wide as it, so that all is square."""
    sizes = ((2, 4, 16, 40, 1), (1, 7, 24, 8, 6), (3, 5, 32, 32, 4))
    return [dict(zip(("batch", "tokens", "d", "d_ff", "heads"), each)) | {"seed": 950 + i}
            for i, each in enumerate(sizes)]


def ledger() -> list[dict]:
    """Nothing trained, everything trained, one byte or eight a number, three moments."""
    settings = ((1000, 0, 4, 2), (1000, 1000, 4, 2), (999, 10, 8, 2), (4096, 64, 1, 1),
                (50, 20, 2, 3))
    return [{"total": total, "trained": trained, "bytes_each": size, "moments": moments}
            for total, trained, size, moments in settings]


CASES = {"inside.linear": linear, "inside.attention": attention, "inside.transformer": transformer,
         "inside.block": block, "inside.ledger": ledger, "inside.head": head}
