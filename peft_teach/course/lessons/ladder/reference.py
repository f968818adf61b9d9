"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import math
import torch
import peft_teach as pt


# ── ladder.interval ──────────────────────────────────────────────────────────────────────────

T95 = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
                      2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093), start=2))


def interval(a, b):
    d = (a - b).double()    # (seeds, sentences)
    seeds, sentences = d.shape
    from_seeds = T95[seeds] ** 2 * d.mean(dim=1).var() / seeds
    from_sentences = 1.96**2 * d.mean(dim=0).var() / sentences
    half = (from_seeds + from_sentences).sqrt().item()
    return d.mean().item() - half, d.mean().item() + half


# ── ladder.sweep ─────────────────────────────────────────────────────────────────────────────

def sweep(score, rates, first):
    def value(rate):
        found = score(rate)
        return found if found == found else -math.inf    # nan is the worst

    tried = {first: value(first)}
    while True:
        best = max(tried, key=tried.get)
        i = rates.index(best)
        untried = [rate for rate in rates[max(i - 1, 0):i + 2] if rate not in tried]
        if not untried:
            return best
        tried[untried[0]] = value(untried[0])


# ── ladder.neighbours ────────────────────────────────────────────────────────────────────────

def neighbours(vectors, documents):
    unit = torch.nn.functional.normalize(vectors, dim=1)
    near = unit @ unit.T                                        # (n, n)
    near.fill_diagonal_(-2)                                     # not itself
    same = documents[near.argmax(dim=1)] == documents
    asked = torch.bincount(documents)[documents] > 1
    return same[asked].float().mean().item()


# ── ladder.batch ─────────────────────────────────────────────────────────────────────────────

class Many(pt.Adapter):
    def __init__(self, base, adapters):
        super().__init__(base)
        self.adapters = adapters

    def forward(self, x):
        y = self.base(x).clone()    # (batch, …, n_out)
        for k, (A, B, scale) in enumerate(self.adapters):
            rows = self.who == k    # (batch,)
            y[rows] += scale * (x[rows] @ A.T) @ B.T
        return y


# ── ladder.ship ──────────────────────────────────────────────────────────────────────────────

picks = {"file": "IA³", "time": "bottleneck", "any": "full fine-tuning", "keep": "LoRA everywhere"}
