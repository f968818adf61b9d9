"""Figures in lesson 00 that none of its outputs shows."""

import peft_teach as pt


def share(name: str, *places: str) -> float:
    """Of an outline's parameters, those in these places."""
    counts = pt.outlines.counts(name)
    return sum(counts[place] for place in places) / sum(counts.values())


FIGURES = {
    "30,522 words": pt.outlines.SIZES["minilm"][6],
    "7.8 % of MiniLM and 15.9 %": (share("minilm", "query", "value"),
                                  share("llama-2-7b", "query", "value")),
    "which are 17.2 GB": 2**34,
}
