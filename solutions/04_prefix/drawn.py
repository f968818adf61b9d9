"""Lesson 04: what is trained in which layer, and one softmax that is shared."""

import math

from picture_checks import Shown


def entries(shown: Shown) -> None:
    """Three vectors in front of four words, in six layers."""
    assert len(shown.panels) == 2
    assert shown.title == "A prompt is trained at the bottom, a prefix in all 6 layers"
    for ax, title, trained in zip(shown.panels, ("a soft prompt", "a prefix"), (1, 6)):
        ax.named(title, y="layer")
        ax.ticks("x", {"3 vectors in front": 1.5, "4 words": 5})
        ax.ticks("y", {f"{n}": n + 0.5 for n in range(6)})
        for layer in range(6):
            for place in range(7):
                colour = "paper" if place > 2 else "trained" if layer < trained else "quiet"
                ax.shape(colour, place + 0.08, layer + 0.12, 0.84, 0.76)
    shown.names = {"trained": "#d55e00", "made by the frozen layers below": "#b0b0b0",
                   "of the words": "#ffffff"}


def mixture(shown: Shown) -> None:
    """Twenty vectors of score 0 beside four words; the shares of one softmax."""
    left, right = shown.panels
    scores = {"a": 0.9, "quiet": 1.6, "funny": 2.4, "film": 1.1}
    of_words = sum(map(math.exp, scores.values()))
    share = 20 / (20 + of_words)
    assert shown.title == (f"20 vectors of score 0 take {share:.0%} of the attention; the words keep "
                           "their ratios")
    left.named(x="share of the attention")
    left.ticks("y", {"words alone": 1, "with prefix": 0})
    right.named(x="vectors in the prefix", y="λ, share of the prefix")
    edges = [0.0]
    for score in scores.values():
        edges.append(edges[-1] + math.exp(score) / of_words)
    for y, front in ((1, 0.0), (0, share)):
        left.shape("trained", 0, y - 0.25, front, 0.5)
        for word, a, b in zip(scores, edges, edges[1:]):
            start, end = (front + (1 - front) * each for each in (a, b))
            left.shape("band", start, y - 0.25, end - start, 0.5)
            left.text(word, "ink", ((start + end) / 2, y), near=0.001)
    left.text(f"λ = {share:.2f}", "ink", (share / 2, 0), near=0.001)
    for edge in edges:
        left.line("rest", ":", (edge, share + (1 - share) * edge), (0.75, 0.25))
    right.line("trained", "-", range(51), [n / (n + of_words) for n in range(51)])
    right.line("trained", "D", 20, share)
