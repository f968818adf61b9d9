"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch


# ── prefix.front ─────────────────────────────────────────────────────────────────────────────

def prefixed(K: torch.Tensor, V: torch.Tensor, mask: torch.Tensor, heads: int):
    batch, length = len(mask), K.shape[1]

    def by_head(x):
        return x.unflatten(-1, (heads, -1)).transpose(0, 1).expand(batch, -1, -1, -1)

    pairs = [(by_head(k), by_head(v)) for k, v in zip(K, V)]
    wide = torch.cat([mask.new_ones(batch, length), mask], 1)
    return pairs, wide, length + mask.cumsum(1) - 1


# ── prefix.generate ──────────────────────────────────────────────────────────────────────────

def generate(read, pairs, ids, new):
    length = pairs[0][0].shape[2]
    positions = torch.arange(length, length + ids.shape[1])
    logits, cache = read(ids, positions, pairs)
    words = [logits[:, -1:].argmax(-1)]
    while len(words) < new:
        positions = positions[-1:] + 1
        logits, cache = read(words[-1], positions, cache)
        words.append(logits[:, -1:].argmax(-1))
    return torch.cat(words, 1)


# ── prefix.stepwise ──────────────────────────────────────────────────────────────────────────

def stepwise_holds(read, ids):
    whole, _ = read(ids, None)
    for size in (1, 2):
        cache, parts = None, []
        for piece in ids.split(size, dim=1):
            logits, cache = read(piece, cache)
            parts.append(logits)
        assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4), f"pieces of {size}"


# ── prefix.share ─────────────────────────────────────────────────────────────────────────────

def prefix_share(q, k, K, heads: int, mask) -> torch.Tensor:
    q, k, K = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, K))
    scale = q.shape[-1] ** 0.5
    words = (q @ k.mT / scale).masked_fill(~mask[:, None], -torch.inf)
    return torch.sigmoid(torch.logsumexp(q @ K.mT / scale, -1) - torch.logsumexp(words, -1))


# ── prefix.gate ──────────────────────────────────────────────────────────────────────────────

def gated(words, read, share, g) -> torch.Tensor:
    by_head = (g[:, None] * share).transpose(1, 2)
    by_entry = by_head.repeat_interleave(words.shape[-1] // len(g), -1)
    return words + by_entry * (read - words)
