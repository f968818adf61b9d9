"""Answers to the exercises of lesson 04."""


from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── prefix.front ─────────────────────────────────────────────────────────────────────────────

FRONT = solution("prefix.front")
BY_HEAD, POSITIONS = "x.unflatten(-1, (heads, -1)).transpose(0, 1)", "length + mask.cumsum(1) - 1"
WIDE = "torch.cat([mask.new_ones(batch, length), mask], 1)"
RESULT = f"pairs, wide, {POSITIONS}"

RIGHT["prefix.front"] = {
    "all layers at once": """
def prefixed(K, V, mask, heads):
    layers, length, d = K.shape
    B = len(mask)
    both = torch.stack([K, V], 1).reshape(layers, 2, length, heads, d // heads)
    both = both.permute(0, 1, 3, 2, 4).unsqueeze(2).expand(-1, -1, B, -1, -1, -1)
    pairs = [(layer[0], layer[1]) for layer in both]
    wide = nn.functional.pad(mask, (length, 0), value=1)
    return pairs, wide, (wide.cumsum(1) - 1)[:, length:]
""",
    "pairs as tensors": but(FRONT, "return pairs", "return [torch.stack(p) for p in pairs]"),
    "a zip": but(FRONT, "return pairs", "return zip(map(by_head, K), map(by_head, V))"),
    "a tuple": but(FRONT, RESULT, f"[tuple(pairs), wide, {POSITIONS}]"),
    "a mask of bools": but(FRONT, WIDE, f"{WIDE}.bool()"),
    "padding at zero": but(FRONT, POSITIONS, f"({POSITIONS}) * mask"),
}

WRONG["prefix.front"] = {
    "padding_counted": but(FRONT, POSITIONS,
                           "torch.arange(length, length + mask.shape[1]).repeat(batch, 1)"),
    "no_return": but(FRONT, "return pairs", "result = pairs"),
    "heads_mixed": but(FRONT, BY_HEAD, "x.view(heads, length, -1)"),
    "no_gradient": (but(FRONT, "zip(K, V)", "zip(K.detach(), V)"),
                    but(FRONT, "zip(K, V)",
                        "zip(K, torch.cat([V[:, :1].detach(), V[:, 1:]], 1))")),
    "mask_short": but(FRONT, WIDE, "mask"),
    "from_zero": but(FRONT, POSITIONS, "mask.cumsum(1) - 1"),
    "": (but(FRONT, RESULT, "pairs, wide"),
         but(FRONT, "    return pairs", "    mask.zero_()\n    return pairs"),
         but(FRONT, "return pairs", "return pairs + pairs[:1]"),
         but(FRONT, "return pairs", "return [pairs[0]] * len(pairs)"),
         but(FRONT, "zip(K, V)", "zip(K, K + 0 * V)"),
         but(FRONT, "mask.new_ones", "mask.new_zeros"),
         but(FRONT, POSITIONS, "torch.arange(length, length + mask.shape[1])"),
         but(FRONT, POSITIONS, f"({POSITIONS}).float()"),
         but(FRONT, POSITIONS, f"{POSITIONS} - 99 * (1 - mask)"),
         but(FRONT, POSITIONS, f"{POSITIONS} + 99 * (1 - mask)")),
}

BEYOND["prefix.front"] = but(FRONT, POSITIONS, f"({POSITIONS}).clamp(max=30)")

# ── prefix.generate ──────────────────────────────────────────────────────────────────────────

GENERATE = solution("prefix.generate")
FIRST, LATER = "torch.arange(length, length + ids.shape[1])", "positions[-1:] + 1"

RIGHT["prefix.generate"] = {
    "from the cache": but(GENERATE, LATER, "torch.tensor([cache[0][0].shape[2]])"),
    "a list": but(GENERATE, FIRST, f"{FIRST}.tolist()", LATER, "[positions[-1] + 1]"),
    "a number": but(GENERATE, LATER, "length + ids.shape[1] + len(words) - 1"),
    "two axes": but(GENERATE, FIRST, f"{FIRST}[None]", LATER, "positions[:, -1:] + 1"),
    "a row for each sentence": but(GENERATE, FIRST, f"{FIRST}.expand(len(ids), -1)", LATER,
                                   "positions[:, -1:] + 1"),
    "all anew each time": """
def generate(read, pairs, ids, new):
    P, n = pairs[0][0].shape[2], ids.shape[1]
    for _ in range(new):
        logits, _ = read(ids, P + torch.arange(ids.shape[1]), pairs)
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
    return ids[:, n:]
""",
}

WRONG["prefix.generate"] = {
    "late": but(GENERATE, LATER, "torch.tensor([ids.shape[1] + len(words) - 1])"),
    "no_return": but(GENERATE, "return torch.cat(words, 1)", "torch.cat(words, 1)"),
    "from_zero": but(GENERATE, FIRST, "torch.arange(ids.shape[1])", LATER,
                     "torch.tensor([ids.shape[1] + len(words) - 1])"),
    "twice": but(GENERATE, LATER, "torch.tensor([cache[0][0].shape[2] + length])"),
    "forgets": but(GENERATE, LATER, "torch.tensor([length])", "read(words[-1], positions, cache)",
                   "read(words[-1], positions, pairs)"),
    "": (*(but(GENERATE, "    return", f"    {change}\n    return")
           for change in ("ids[:, 0] = 0", "pairs[0][0].zero_()", "pairs.pop()")),
         but(GENERATE, "torch.cat(words, 1)", "torch.cat([ids, *words], 1)"),
         but(GENERATE, "read(ids, positions, pairs)", "read(ids, positions.float(), pairs)"),
         but(GENERATE, "words = [logits[:, -1:].argmax(-1)]", "words = [0 * ids[:, -1:]]")),
}

BEYOND["prefix.generate"] = but(GENERATE, "    return", "    words = words[:8]\n    return")

# ── prefix.stepwise ──────────────────────────────────────────────────────────────────────────

STEPWISE = solution("prefix.stepwise")
CLOSE = "torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)"
ASSERT = f'assert {CLOSE}, f"pieces of {{size}}"'

RIGHT["prefix.stepwise"] = {
    "three and one": but(STEPWISE, "(1, 2)", "(3, 1)"),
    "testing.assert_close": but(STEPWISE, ASSERT,
                                "torch.testing.assert_close(torch.cat(parts, 1), whole, "
                                "atol=1e-4, rtol=1e-4)"),
    "raises": but(STEPWISE, ASSERT,
                  "if (torch.cat(parts, 1) - whole).abs().max() > 1e-3:\n"
                  "            raise ValueError(f'differs in pieces of {size}')"),
    "row by row": """
def stepwise_holds(read, ids):
    everything = read(ids, None)[0]
    n = ids.shape[1]
    cache = None
    for i in range(n):
        logits, cache = read(ids[:, i:i + 1], cache)
        assert (logits[0, 0] - everything[0, i]).abs().max() < 1e-3, i
    logits, cache = read(ids[:, :2], None)
    rest, _ = read(ids[:, 2:], cache)
    assert (torch.cat([logits, rest], 1) - everything).abs().max() < 1e-3
""",
    "pytest": but("import pytest\n\n" + STEPWISE, ASSERT,
                  "assert torch.cat(parts, 1).flatten().tolist() == "
                  "pytest.approx(whole.flatten().tolist(), abs=1e-3)"),
}

WRONG["prefix.stepwise"] = {
    "let_through": (
        but(STEPWISE, "(1, 2)", "(1,)"),
        but(STEPWISE, "torch.cat(parts, 1), whole,", "parts[0], whole[:, :size],"),
        but(STEPWISE, CLOSE, "torch.allclose(parts[-1][:, -1], whole[:, -1], atol=1e-4)"),
        but(STEPWISE, CLOSE,
            "torch.allclose(torch.cat(parts, 1).sum(-1), whole.sum(-1), atol=1e-4)"),
        """
def stepwise_holds(read, ids):
    whole, _ = read(ids[:, :2], None)
    first, cache = read(ids[:, :1], None)
    second, _ = read(ids[:, 1:2], cache)
    assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-4)
"""),
    "accused": (
        but(STEPWISE, CLOSE, "torch.equal(torch.cat(parts, 1), whole)"),
        but(STEPWISE, "    for size", "    _, cache = read(ids, None)\n"
                                      "    assert isinstance(cache, list)\n    for size"),
        but(STEPWISE, "    for size", "    _, cache = read(ids[:, :4], None)\n"
                                      "    one, _ = read(ids[:, 4:5], cache)\n"
                                      "    two, _ = read(ids[:, 4:5], cache)\n"
                                      "    assert torch.allclose(one, two)\n    for size")),
}

# ── prefix.share ─────────────────────────────────────────────────────────────────────────────

SHARE = solution("prefix.share")
PREFIX, WORDS = "torch.logsumexp(q @ K.mT / scale, -1)", "torch.logsumexp(words, -1)"
SIGMOID = f"torch.sigmoid({PREFIX} - {WORDS})"

RIGHT["prefix.share"] = {
    "of both": but(SHARE, SIGMOID, f"torch.exp({PREFIX} - torch.logaddexp({PREFIX}, {WORDS}))"),
    "a fraction": but(SHARE, SIGMOID, f"1 / (1 + torch.exp({WORDS} - {PREFIX}))"),
    "a large number": but(SHARE, "-torch.inf", "-1e9"),
    "the weights added up": """
def prefix_share(q, k, K, heads, mask):
    cut = lambda x: x.view(*x.shape[:2], heads, -1).transpose(1, 2)
    both = cut(torch.cat([K, k], 1))
    scores = cut(q) @ both.transpose(-1, -2) / math.sqrt(q.shape[-1] // heads)
    shut = torch.cat([torch.zeros_like(mask[:, :, :1]).expand(-1, -1, K.shape[1]), ~mask], -1)
    weights = scores.masked_fill(shut[:, None], -math.inf).softmax(-1)
    return weights[..., :K.shape[1]].sum(-1)
""",
    "attention of ones and zeros": """
def prefix_share(q, k, K, heads, mask):
    attention = pt.mine("inside.attention")
    keys = torch.cat([K, k], 1)
    values = torch.cat([torch.ones_like(K), torch.zeros_like(k)], 1)
    wide = nn.functional.pad(mask, (K.shape[1], 0), value=True)
    read = attention(q, keys, values, heads, wide)
    return read.unflatten(-1, (heads, -1))[..., 0].transpose(1, 2)
""",
}

WRONG["prefix.share"] = {
    "words_share": but(SHARE, SIGMOID, f"1 - {SIGMOID}"),
    "no_return": but(SHARE, "    return torch", "    share = torch"),
    "no_gradient": (but(SHARE, "in (q, k, K)", "in (q.detach(), k, K)"),
                    but(SHARE, "in (q, k, K)", "in (q, k, K.detach() + 0 * K)")),
    "overflow": but(SHARE, SIGMOID, "a / (a + words.exp().sum(-1))", "    return",
                    "    a = (q @ K.mT / scale).exp().sum(-1)\n    return"),
    "no_scale": but(SHARE, "q.shape[-1] ** 0.5", "1"),
    "no_mask": but(SHARE, ".masked_fill(~mask[:, None], -torch.inf)", ""),
    "ratio": but(SHARE, "torch.sigmoid(", "torch.exp("),
    "": (but(SHARE, "    q, k, K =", "    k *= mask.any(1)[..., None]\n    q, k, K ="),
         but(SHARE, "x.unflatten(-1, (heads, -1)).transpose(1, 2)",
             "x.reshape(len(x), heads, -1, x.shape[-1] // heads)")),
}

BEYOND["prefix.share"] = but(SHARE, "    scale =", "    mask = mask | ~mask.any(1, keepdim=True) "
                             "& (mask.shape[1] == 1)\n    scale =")

# ── prefix.gate ──────────────────────────────────────────────────────────────────────────────

GATE = solution("prefix.gate")
MIXED = "words + by_entry * (read - words)"

RIGHT["prefix.gate"] = {
    "two shares": but(GATE, MIXED, "(1 - by_entry) * words + by_entry * read"),
    "addcmul": but(GATE, MIXED, "torch.addcmul(words, by_entry, read - words)"),
    "lerp": but(GATE, MIXED, "torch.lerp(words, read, by_entry)"),
    "by head": """
def gated(words, read, share, g):
    w, r = words.unflatten(-1, (len(g), -1)), read.unflatten(-1, (len(g), -1))
    lam = torch.einsum("h,bhq->bqh", g, share).unsqueeze(-1)
    return (w + lam * (r - w)).flatten(-2)
""",
    "head by head": """
def gated(words, read, share, g):
    parts = []
    for h, (w, r) in enumerate(zip(words.chunk(len(g), -1), read.chunk(len(g), -1))):
        parts.append(w + (g[h] * share[:, h, :, None]) * (r - w))
    return torch.cat(parts, -1)
""",
}

WRONG["prefix.gate"] = {
    "words_kept_less": but(
        GATE, MIXED, "words + by_entry * read - words * share.transpose(1, 2).repeat_interleave("
                     "words.shape[-1] // len(g), -1)"),
    "no_return": but(GATE, "return", "mixed ="),
    "added": but(GATE, "(read - words)", "read"),
    "above_zero": (but(GATE, "g[:, None]", "g.relu()[:, None]"),
                   but(GATE, "g[:, None]", "g.abs()[:, None]")),
    "heads_averaged": but(GATE, "g[:, None]", "g.mean()"),
    "heads_interleaved": but(GATE, "by_head.repeat_interleave(words.shape[-1] // len(g), -1)",
                             "by_head.repeat(1, 1, words.shape[-1] // len(g))"),
    "not_silent": but(GATE, MIXED, f"{MIXED} + 1e-6"),
    "no_slope": but(GATE, "g[:, None]", "g.detach()[:, None]"),
    "": (but(GATE, "return words", "was = words.clone()\n    words.zero_()\n    return was",
             "read - words", "read - was"),
         but(GATE, MIXED, f"({MIXED}).unflatten(-1, (len(g), -1))"),
         but(GATE, "g[:, None]", "g.clamp(max=0.95)[:, None]"),
         but(GATE, "g[:, None]", "(g.sign() * g * g)[:, None]"),
         but(GATE, "g[:, None]", "((g * g).sqrt() * g.sign())[:, None]"),
         but(GATE, MIXED, "words.detach() + by_entry * (read - words.detach())")),
}

BEYOND["prefix.gate"] = but(GATE, "g[:, None]", "g.clamp(max=1)[:, None]")


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "prefix.front": (RESULT, "(pairs, wide, 0 * mask)", {
        "one token": "mask.shape[1] == 1", "heads of one entry": "heads == K.shape[-1]",
        "one head": "heads == 1"}),
    "prefix.generate": ("torch.cat(words, 1)", "torch.cat(words, 1)[:, 1:]", {
        "many words": "new > 10", "a prefix of one": "length == 1",
        "three sentences": "len(ids) == 3"}),
    "prefix.share": (SIGMOID, "words.sum(-1)", {
        "one query": "q.shape[2] == 1", "one word": "k.shape[2] == 1",
        "a long prefix": "K.shape[2] > 20", "a prefix of one": "K.shape[2] == 1"}),
    "prefix.gate": (MIXED, "words + 1", {
        "heads of one entry": "words.shape[-1] == len(g)",
        "gates beyond 1": "len(words) == 1 and g.abs().max() > 1",
        "many sentences": "len(words) > 2"}),
}
