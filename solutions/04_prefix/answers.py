"""Answers to the exercises of lesson 04."""

import torch
from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── prefix.count ─────────────────────────────────────────────────────────────────────────────

COUNT = """
def prefix_counts(length, layers, d_kv, d_model, hidden):
    wide = 2 * layers * d_kv
    E = length * d_model
    first = d_model * hidden + hidden
    second = hidden * wide + wide
    return E + first + second, length * wide
"""
BOTH = "E + first + second, length * wide"

RIGHT["prefix.count"] = {
    "parts": COUNT,
    "a list": but(COUNT, f"return {BOTH}", f"return [{BOTH}]"),
    "brackets": but(COUNT, "d_model * hidden + hidden", "(d_model + 1) * hidden",
                    "hidden * wide + wide", "(hidden + 1) * wide"),
    "modules": """
def prefix_counts(length, layers, d_kv, d_model, hidden):
    with torch.device("meta"):
        mlp = nn.Sequential(nn.Embedding(length, d_model), nn.Linear(d_model, hidden), nn.Tanh(),
                            nn.Linear(hidden, layers * 2 * d_kv))
    return sum(p.numel() for p in mlp.parameters()), length * layers * 2 * d_kv
""",
    "an earlier piece": """
def prefix_counts(length, layers, d_kv, d_model, hidden):
    linear = lambda n_in, n_out: n_in * n_out + n_out
    kept = length * layers * (d_kv + d_kv)
    return length * d_model + linear(d_model, hidden) + linear(hidden, kept // length), kept
""",
    "NumPy": but("import numpy as np\n" + COUNT, BOTH,
                 "np.int64(E + first + second), np.prod([length, wide])"),
}

WRONG["prefix.count"] = {
    "values_missing": but(COUNT, "2 * layers", "layers"),
    "no_return": but(COUNT, "return", "counts ="),
    "no_biases": but(COUNT, " + hidden\n", "\n", " + wide\n", "\n"),
    "all_kept": but(COUNT, BOTH, "E + first + second, E + first + second"),
    "trained": but(COUNT, "E + first", "E + hidden * hidden + first"),
    "": but(COUNT, BOTH, "E + first + second, length * wide / 1"),
}

BEYOND["prefix.count"] = but(COUNT, "    wide =", "    layers = max(layers, 2)\n    wide =")

# ── prefix.front ─────────────────────────────────────────────────────────────────────────────

FRONT = """
def prefixed(K, V, mask, heads):
    batch, length = mask.shape[0], K.shape[1]
    pairs = []
    for k, v in zip(K, V):
        k = k.view(length, heads, -1).transpose(0, 1)
        v = v.view(length, heads, -1).transpose(0, 1)
        pairs.append((k[None].repeat(batch, 1, 1, 1), v[None].repeat(batch, 1, 1, 1)))
    ones = torch.ones(batch, length, dtype=mask.dtype)
    wide = torch.cat([ones, mask], dim=1)
    positions = length + mask.cumsum(1) - 1
    return pairs, wide, positions
"""
CUT_K = "k.view(length, heads, -1).transpose(0, 1)"
CUT_V = "v.view(length, heads, -1).transpose(0, 1)"
WIDE = "torch.cat([ones, mask], dim=1)"
POSITIONS = "length + mask.cumsum(1) - 1"
RETURN = "return pairs, wide, positions"

RIGHT["prefix.front"] = {
    "a loop": FRONT,
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
    "pairs as tensors": but(FRONT, RETURN,
                            "return [torch.stack(p) for p in pairs], wide, positions"),
    "a zip": but(FRONT, RETURN,
                 "return zip([k for k, _ in pairs], [v for _, v in pairs]), wide, positions"),
    "a tuple": but(FRONT, RETURN, "return [tuple(pairs), wide, positions]"),
    "a mask of bools": but(FRONT, WIDE, "torch.cat([ones, mask], dim=1).bool()"),
    "padding at zero": but(FRONT, POSITIONS, "(length + mask.cumsum(1) - 1) * mask"),
}

WRONG["prefix.front"] = {
    "padding_counted": but(FRONT, POSITIONS,
                           "torch.arange(length, length + mask.shape[1]).repeat(batch, 1)"),
    "no_return": but(FRONT, RETURN, "result = pairs, wide, positions"),
    "heads_mixed": but(FRONT, CUT_K, "k.view(heads, length, -1)", CUT_V,
                       "v.view(heads, length, -1)"),
    "no_gradient": (but(FRONT, "zip(K, V)", "zip(K.detach(), V)"),
                    but(FRONT, "zip(K, V)",
                        "zip(K, torch.cat([V[:, :1].detach(), V[:, 1:]], 1))")),
    "mask_short": but(FRONT, WIDE, "mask"),
    "from_zero": but(FRONT, POSITIONS, "mask.cumsum(1) - 1"),
    "": (but(FRONT, RETURN, "return pairs, wide"),
         but(FRONT, RETURN, f"mask.zero_()\n    {RETURN}"),
         but(FRONT, RETURN, "return pairs + pairs[:1], wide, positions"),
         but(FRONT, RETURN, "return [pairs[0]] * len(pairs), wide, positions"),
         but(FRONT, "zip(K, V)", "zip(K, K + 0 * V)"),
         but(FRONT, WIDE, "torch.cat([0 * ones, mask], dim=1)"),
         but(FRONT, POSITIONS, "torch.arange(length, length + mask.shape[1])"),
         but(FRONT, POSITIONS, f"({POSITIONS}).float()"),
         but(FRONT, POSITIONS, f"{POSITIONS} - 99 * (1 - mask)"),
         but(FRONT, POSITIONS, f"{POSITIONS} + 99 * (1 - mask)")),
}

BEYOND["prefix.front"] = but(FRONT, POSITIONS, f"({POSITIONS}).clamp(max=30)")

# ── prefix.generate ──────────────────────────────────────────────────────────────────────────

GENERATE = """
def generate(read, pairs, ids, new):
    length = pairs[0][0].shape[2]
    positions = torch.arange(length, length + ids.shape[1])
    logits, cache = read(ids, positions, pairs)
    words = [logits[:, -1:].argmax(-1)]
    while len(words) < new:
        positions = torch.tensor([length + ids.shape[1] + len(words) - 1])
        logits, cache = read(words[-1], positions, cache)
        words.append(logits[:, -1:].argmax(-1))
    return torch.cat(words, 1)
"""
FIRST = "torch.arange(length, length + ids.shape[1])"
LATER = "torch.tensor([length + ids.shape[1] + len(words) - 1])"

RIGHT["prefix.generate"] = {
    "the one term": GENERATE,
    "from the cache": but(GENERATE, LATER, "torch.tensor([cache[0][0].shape[2]])"),
    "a list": but(GENERATE, FIRST, f"{FIRST}.tolist()",
                  LATER, "[length + ids.shape[1] + len(words) - 1]"),
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

STEPWISE = """
def stepwise_holds(read, ids):
    whole, _ = read(ids, None)
    for size in (1, 2):
        cache, parts = None, []
        for piece in ids.split(size, dim=1):
            logits, cache = read(piece, cache)
            parts.append(logits)
        assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)
"""
CLOSE = "torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)"

RIGHT["prefix.stepwise"] = {
    "pieces of one and two": STEPWISE,
    "three and one": but(STEPWISE, "(1, 2)", "(3, 1)"),
    "testing.assert_close": but(STEPWISE, f"assert {CLOSE}",
                                "torch.testing.assert_close(torch.cat(parts, 1), whole, "
                                "atol=1e-4, rtol=1e-4)"),
    "raises": but(STEPWISE, f"        assert {CLOSE}",
                  "        if (torch.cat(parts, 1) - whole).abs().max() > 1e-3:\n"
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
    "pytest": but("import pytest\n" + STEPWISE, f"assert {CLOSE}",
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

SHARE = """
def prefix_share(q, k, K, heads, mask):
    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    q, k, K = split(q), split(k), split(K)
    scale = q.shape[-1] ** 0.5
    prefix = q @ K.mT / scale
    words = (q @ k.mT / scale).masked_fill(~mask[:, None], float("-inf"))
    a, b = torch.logsumexp(prefix, -1), torch.logsumexp(words, -1)
    return torch.sigmoid(a - b)
"""
SIGMOID = "torch.sigmoid(a - b)"
LOGS = "a, b = torch.logsumexp(prefix, -1), torch.logsumexp(words, -1)"
SCALE = "q.shape[-1] ** 0.5"

RIGHT["prefix.share"] = {
    "sigmoid": SHARE,
    "of both": but(SHARE, SIGMOID, "torch.exp(a - torch.logaddexp(a, b))"),
    "a fraction": but(SHARE, SIGMOID, "1 / (1 + torch.exp(b - a))"),
    "a large number": but(SHARE, 'float("-inf")', "-1e9"),
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
    "words_share": but(SHARE, "a - b", "b - a"),
    "no_return": but(SHARE, "    return torch", "    share = torch"),
    "no_gradient": (but(SHARE, "q, k, K = split(q)", "q, k, K = split(q.detach())"),
                    but(SHARE, "split(k), split(K)", "split(k), split(K.detach() + 0 * K)")),
    "overflow": but(SHARE, LOGS, "a, b = prefix.exp().sum(-1), words.exp().sum(-1)", SIGMOID,
                    "a / (a + b)"),
    "no_scale": but(SHARE, SCALE, "1"),
    "no_mask": but(SHARE, '.masked_fill(~mask[:, None], float("-inf"))', ""),
    "ratio": but(SHARE, SIGMOID, "torch.exp(a - b)"),
    "": (but(SHARE, "    q, k, K =", "    k *= mask.any(1)[..., None]\n    q, k, K ="),
         but(SHARE, "x.unflatten(-1, (heads, -1)).transpose(1, 2)",
             "x.reshape(len(x), heads, -1, x.shape[-1] // heads)")),
}

BEYOND["prefix.share"] = but(SHARE, "    scale =", "    mask = mask | ~mask.any(1, keepdim=True) "
                             "& (mask.shape[1] == 1)\n    scale =")

# ── prefix.gate ──────────────────────────────────────────────────────────────────────────────

GATE = """
def gated(words, read, share, g):
    heads = len(g)
    lam = (g[None, :, None] * share).transpose(1, 2)[..., None]
    w, r = words.unflatten(-1, (heads, -1)), read.unflatten(-1, (heads, -1))
    return (w + lam * (r - w)).flatten(-2)
"""
MIXED, SHARED = "w + lam * (r - w)", "[None, :, None] * share"
GATED = f"g{SHARED}"

RIGHT["prefix.gate"] = {
    "by head": GATE,
    "two shares": but(GATE, MIXED, "(1 - lam) * w + lam * r"),
    "addcmul": but(GATE, MIXED, "torch.addcmul(w, lam, r - w)"),
    "lerp": but(GATE, MIXED, "torch.lerp(w, r, lam.expand_as(w))"),
    "stretched": """
def gated(words, read, share, g):
    width = words.shape[-1] // g.numel()
    lam = torch.einsum("h,bhq->bqh", g, share).repeat_interleave(width, dim=-1)
    return words + lam * (read - words)
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
    "words_kept_less": but(GATE, MIXED, "(1 - share.mT[..., None]) * w + lam * r"),
    "no_return": but(GATE, "return", "mixed ="),
    "added": but(GATE, MIXED, "w + lam * r"),
    "above_zero": (but(GATE, GATED, f"g.relu(){SHARED}"), but(GATE, GATED, f"g.abs(){SHARED}")),
    "heads_interleaved": """
def gated(words, read, share, g):
    lam = (g[:, None] * share).transpose(1, 2).repeat(1, 1, words.shape[-1] // len(g))
    return words + lam * (read - words)
""",
    "not_silent": but(GATE, MIXED, "w + lam * (r - w) + 1e-6"),
    "no_slope": but(GATE, GATED, f"g.detach(){SHARED}"),
    "": (but(GATE, "    return", "    words.zero_()\n    return",
             "words.unflatten", "words.clone().unflatten"),
         but(GATE, ".flatten(-2)", ""),
         but(GATE, GATED, f"g.clamp(max=0.95){SHARED}"),
         but(GATE, GATED, f"(g.sign() * g * g){SHARED}"),
         but(GATE, GATED, f"((g * g).sqrt() * g.sign()){SHARED}"),
         but(GATE, "words.unflatten", "words.detach().unflatten")),
}

BEYOND["prefix.gate"] = but(GATE, GATED, f"g.clamp(max=1){SHARED}")

# What each message says, of its mistake and of no other: see `answers.says`.
LARGEST = next(n for n in range(200) if torch.tensor(float(n)).exp().isinf())    # in float32
SAYS = {
    "prefix.count": {
        "values_missing": "a key and a value", "no_biases": "Both linear layers of the MLP have",
        "all_kept": "neither E nor the MLP", "trained": "What trains is E and the MLP"},
    "prefix.front": {
        "heads_mixed": "gives a head whole vectors", "no_gradient": "are to be trained",
        "mask_short": "longer than the words", "from_zero": "positions without a prefix",
        "padding_counted": "Padding on the left was counted"},
    "prefix.generate": {
        "late": "The first call is right", "from_zero": "would stand without a prefix",
        "twice": "counted twice", "forgets": "the next call needs these"},
    "prefix.share": {
        "no_gradient": "to be differentiated by K, and by q and k",
        "overflow": f"exp of {LARGEST} is infinite in float32",
        "words_share": "1 − λ, the share of the words", "ratio": "λ / (1 − λ)",
        "no_scale": "the square root of a head's width", "no_mask": "has no part in the sum"},
    "prefix.gate": {
        "added": "whatever g is", "words_kept_less": "With the gate at 0",
        "above_zero": "A gate may fall below 0", "heads_interleaved": "not the row of all heads",
        "not_silent": "not multiplied by the gate", "no_slope": "never opens"},
}

# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "prefix.count": ("E + first + second, length * wide", "(0, 0)", {
        "one vector": "length == 1", "a wide hidden layer": "hidden > 10 * d_model",
        "narrow keys": "10 * d_kv < d_model"}),
    "prefix.front": ("pairs, wide, positions", "(pairs, wide, 0 * positions)", {
        "one token": "mask.shape[1] == 1", "heads of one entry": "heads == K.shape[-1]",
        "one head": "heads == 1"}),
    "prefix.generate": ("torch.cat(words, 1)", "torch.cat(words, 1)[:, 1:]", {
        "many words": "new > 10", "a prefix of one": "length == 1",
        "three sentences": "len(ids) == 3"}),
    "prefix.share": ("torch.sigmoid(a - b)", "0 * a", {
        "one query": "q.shape[2] == 1", "one word": "k.shape[2] == 1",
        "a long prefix": "K.shape[2] > 20", "a prefix of one": "K.shape[2] == 1"}),
    "prefix.gate": ("(w + lam * (r - w)).flatten(-2)", "words + 1", {
        "heads of one entry": "words.shape[-1] == heads",
        "gates beyond 1": "len(words) == 1 and g.abs().max() > 1",
        "many sentences": "len(words) > 2"}),
}
