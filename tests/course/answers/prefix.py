"""Answers to the exercises of lesson 04."""

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
    "a loop": """
def prefix_counts(length, layers, d_kv, d_model, hidden):
    kept = 0
    for _ in range(layers):
        kept += length * d_kv    # keys
        kept += length * d_kv    # values
    widths = [d_model, hidden, kept // length]
    trained = length * d_model
    for n_in, n_out in zip(widths, widths[1:]):
        trained += n_in * n_out + n_out
    return trained, kept
""",
}

WRONG["prefix.count"] = {
    "values_missing": but(COUNT, "2 * layers", "layers"),
    "no_return": but(COUNT, "return", "counts ="),
    "not_two": (but(COUNT, BOTH, "E + first + second"),
                but(COUNT, BOTH, "E + first + second, length * wide / 1")),
    "swapped": but(COUNT, BOTH, "length * wide, E + first + second"),
    "one_layer": but(COUNT, "2 * layers", "2"),
    "no_biases": but(COUNT, " + hidden\n", "\n", " + wide\n", "\n"),
    "no_vectors": but(COUNT, BOTH, "first + second, length * wide"),
    "both_trained": but(COUNT, "E + first", "length * wide + E + first"),
    "model_wide": but(COUNT, "layers * d_kv", "layers * d_model"),
    "all_kept": (but(COUNT, BOTH, "E + first + second, E + first + second"),
                 but(COUNT, BOTH, "E + first + second, E + first + second + length * wide")),
    "trained": but(COUNT, "E + first", "E + hidden * hidden + first"),
    "kept": but(COUNT, "length * wide", "wide"),
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
PAIR = "(k[None].repeat(batch, 1, 1, 1), v[None].repeat(batch, 1, 1, 1))"
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
    "lists": but(FRONT, RETURN, "return [[list(p)[0], p[1]] for p in pairs], wide, positions"),
    "a zip": but(FRONT, RETURN,
                 "return zip([k for k, _ in pairs], [v for _, v in pairs]), wide, positions"),
    "a mask of bools": but(FRONT, WIDE, "torch.cat([ones, mask], dim=1).bool()"),
    "a mask of floats": but(FRONT, WIDE, "torch.cat([ones, mask], dim=1).float()"),
    "padding at zero": but(FRONT, POSITIONS, "(length + mask.cumsum(1) - 1) * mask"),
    "sentence by sentence": but(FRONT, POSITIONS, """torch.zeros_like(mask)
    for row, m in zip(positions, mask):
        place = length
        for i, real in enumerate(m.tolist()):
            if real:
                row[i] = place
                place += 1"""),
    "chunks": """
def split(x, heads, batch):
    return torch.stack([torch.stack(x.chunk(heads, dim=-1))] * batch)


def prefixed(K, V, mask, heads):
    batch, length = len(mask), K.size(1)
    pairs = tuple((split(k, heads, batch), split(v, heads, batch)) for k, v in zip(K, V))
    wide = torch.hstack((mask.new_ones((batch, length)), mask))
    positions = (mask.cumsum(-1) - 1).clamp(min=0) + length
    return pairs, wide, positions
""",
}

WRONG["prefix.front"] = {
    "padding_counted": but(FRONT, POSITIONS,
                           "torch.arange(length, length + mask.shape[1]).repeat(batch, 1)"),
    "no_return": but(FRONT, RETURN, "result = pairs, wide, positions"),
    "not_three": (but(FRONT, RETURN, "return pairs, wide"),
                  but(FRONT, RETURN, 'return {"pairs": pairs, "mask": wide}')),
    "input_changed": but(FRONT, "    positions =", "    mask[:, 0] = 1\n    positions =",
                         WIDE, "torch.cat([ones, mask.clone()], dim=1)"),
    "layers": (but(FRONT, RETURN, "return pairs[:1] * 2, wide, positions"),
               but(FRONT, RETURN, "return [pairs[0]] * len(pairs), wide, positions"),
               but(FRONT, RETURN, "return dict(enumerate(pairs)), wide, positions")),
    "shape": but(FRONT, RETURN, "return [(k.mT, v.mT) for k, v in pairs], wide, positions"),
    "one_sentence": but(FRONT, PAIR, "(k[None], v[None])"),
    "not_by_head": but(FRONT, CUT_K, "k", CUT_V, "v", PAIR,
                       "(k.expand(batch, -1, -1), v.expand(batch, -1, -1))"),
    "misfit": but(FRONT, CUT_K, "k.view(length, heads, heads)"),
    "swapped": but(FRONT, "zip(K, V)", "zip(V, K)"),
    "heads_mixed": but(FRONT, CUT_K, "k.view(heads, length, -1)", CUT_V,
                       "v.view(heads, length, -1)"),
    "interleaved": but(FRONT, CUT_K, "k.view(length, -1, heads).permute(2, 0, 1)", CUT_V,
                       "v.view(length, -1, heads).permute(2, 0, 1)"),
    "no_gradient": (but(FRONT, "zip(K, V)", "zip(K.detach(), V)"),
                    but(FRONT, "    pairs = []",
                        "    K = torch.tensor(K.tolist())\n    pairs = []")),
    "mask_short": but(FRONT, WIDE, "mask"),
    "mask_shape": (but(FRONT, WIDE, "torch.cat([ones, mask], dim=1)[:, None]"),
                   but(FRONT, WIDE, "torch.cat([ones, ones, mask], dim=1)")),
    "mask_behind": but(FRONT, WIDE, "torch.cat([mask, ones], dim=1)"),
    "mask_hides": but(FRONT, WIDE, "torch.cat([0 * ones, mask], dim=1)"),
    "mask_kind": but(FRONT, WIDE, "torch.cat([-ones, mask], dim=1)"),
    "mask_reads_padding": but(FRONT, WIDE, "torch.cat([ones, 0 * mask + 1], dim=1)"),
    "positions_shape": (but(FRONT, POSITIONS, "wide.cumsum(1) - 1"),
                        but(FRONT, POSITIONS, "torch.arange(length, length + mask.shape[1])")),
    "positions_kind": (but(FRONT, POSITIONS, "(length + mask.cumsum(1) - 1).float()"),
                       but(FRONT, POSITIONS, "(length + mask.cumsum(1) - 1).to(torch.int8)")),
    "from_zero": (but(FRONT, POSITIONS, "mask.cumsum(1) - 1"),
                  but(FRONT, POSITIONS, "torch.arange(mask.shape[1]).repeat(batch, 1)")),
    "one_off": but(FRONT, POSITIONS, "length + mask.cumsum(1)"),
    "twice": but(FRONT, POSITIONS, "2 * length + mask.cumsum(1) - 1"),
    "padding_nowhere": but(FRONT, POSITIONS, "(length + mask.cumsum(1)) * mask - 1"),
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
    "from the positions": but(GENERATE, LATER, "positions[-1:] + 1"),
    "two axes": but(GENERATE, FIRST, f"{FIRST}[None]", LATER, "positions[:, -1:] + 1"),
    "a row for each sentence": but(GENERATE, FIRST, f"{FIRST}.expand(len(ids), -1)", LATER,
                                   "positions[:, -1:] + 1"),
    "one loop": """
def generate(read, pairs, ids, new):
    out = []
    for _ in range(new):
        seen = pairs[0][0].size(2)
        logits, pairs = read(ids, torch.arange(ids.size(1)) + seen, pairs)
        ids = logits[:, -1].argmax(-1)[:, None]
        out.append(ids)
    return torch.hstack(out)
""",
    "all anew each time": """
def generate(read, pairs, ids, new):
    P, n = pairs[0][0].shape[2], ids.shape[1]
    for _ in range(new):
        logits, _ = read(ids, P + torch.arange(ids.shape[1]), pairs)
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
    return ids[:, n:]
""",
    "a counter": but(GENERATE, "    while", "    place = length + ids.shape[1]\n    while",
                     LATER, "torch.tensor([place])", "cache)\n        words",
                     "cache)\n        place += 1\n        words"),
}

WRONG["prefix.generate"] = {
    "late": but(GENERATE, LATER, "torch.tensor([ids.shape[1] + len(words) - 1])"),
    "no_return": but(GENERATE, "return torch.cat(words, 1)", "torch.cat(words, 1)"),
    "input_changed": but(GENERATE, "    return", "    ids[:, 0] = 0\n    return"),
    "shape": (but(GENERATE, "torch.cat(words, 1)", "torch.cat([ids, *words], 1)"),
              but(GENERATE, "torch.cat(words, 1)", "words"),
              but(GENERATE, "len(words) < new", "len(words) <= new")),
    "positions_kind": but(GENERATE, "read(ids, positions, pairs)",
                          "read(ids, positions.float(), pairs)"),
    "from_zero": but(GENERATE, FIRST, "torch.arange(ids.shape[1])", LATER,
                     "torch.tensor([ids.shape[1] + len(words) - 1])"),
    "twice": but(GENERATE, LATER, "torch.tensor([cache[0][0].shape[2] + length])"),
    "stands_still": but(GENERATE, LATER, "torch.tensor([length + ids.shape[1]])"),
    "one_off": (but(GENERATE, LATER, "torch.tensor([length + ids.shape[1] + len(words)])"),
                but(GENERATE, LATER, "torch.tensor([length + ids.shape[1] + len(words) - 2])")),
    "no_prefix": but(GENERATE, "read(ids, positions, pairs)", "read(ids, positions, None)"),
    "forgets": but(GENERATE, LATER, "torch.tensor([length])", "read(words[-1], positions, cache)",
                   "read(words[-1], positions, pairs)"),
    "again": but(GENERATE, LATER, "cache[0][0].shape[2] + torch.arange(ids.shape[1] + len(words))",
                 "read(words[-1], positions, cache)",
                 "read(torch.cat([ids, *words], 1), positions, cache)"),
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
    "a helper": """
def in_pieces(read, ids, sizes):
    cache, found, start = None, [], 0
    for size in sizes:
        logits, cache = read(ids[:, start:start + size], cache)
        found.append(logits)
        start += size
    return torch.cat(found, dim=1)


def stepwise_holds(read, ids):
    n = ids.shape[1]
    one = in_pieces(read, ids, [n])
    two = in_pieces(read, ids, [1] * n)
    three = in_pieces(read, ids, [2, 3, n - 5])
    assert torch.allclose(one, two, rtol=1e-3, atol=1e-3)
    assert torch.allclose(one, three, rtol=1e-3, atol=1e-3)
""",
    "pytest": but("import pytest\n" + STEPWISE, f"assert {CLOSE}",
                  "assert torch.cat(parts, 1).flatten().tolist() == "
                  "pytest.approx(whole.flatten().tolist(), abs=1e-3)"),
}

WRONG["prefix.stepwise"] = {
    "one_size": but(STEPWISE, "(1, 2)", "(1,)"),
    "returned_bool": but(STEPWISE, f"        assert {CLOSE}", f"        good = {CLOSE}\n"
                                                              "    return good"),
    "objects_to_all": (but(STEPWISE, "whole, _ = read(ids, None)", "whole = read(ids, None)"),
                       but(STEPWISE, "ids.split(size, dim=1)", "ids")),
    "accused": but(STEPWISE, "    for size", "    _, cache = read(ids, None)\n"
                                             "    assert isinstance(cache, list)\n    for size"),
    "old_cache": but(STEPWISE, "    for size", "    _, cache = read(ids[:, :4], None)\n"
                               "    one, _ = read(ids[:, 4:5], cache)\n"
                               "    two, _ = read(ids[:, 4:5], cache)\n"
                               "    assert torch.allclose(one, two, atol=1e-4)\n    for size"),
    "let_through": (but(STEPWISE, "torch.cat(parts, 1), whole,", "parts[0], whole[:, :size],"),
                    but(STEPWISE, CLOSE, "torch.allclose(parts[-1][:, -1], whole[:, -1], "
                                         "atol=1e-4)"),
                    but(STEPWISE, CLOSE,
                        "torch.equal(torch.cat(parts, 1).argmax(-1), whole.argmax(-1))")),
    "one_number": tuple(but(STEPWISE, CLOSE, CLOSE.replace("torch.cat(parts, 1)", f"torch.cat("
                            f"parts, 1){of}").replace("whole", f"whole{of}"))
                        for of in ("[..., 0]", ".sum(-1)", ".amax(-1)")),
    "exact": but(STEPWISE, CLOSE, "torch.equal(torch.cat(parts, 1), whole)"),
    "too_short": """
def stepwise_holds(read, ids):
    whole, _ = read(ids[:, :2], None)
    first, cache = read(ids[:, :1], None)
    second, _ = read(ids[:, 1:2], cache)
    assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-4)
""",
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
    "a softmax": but(SHARE, SIGMOID, "torch.stack([a, b]).softmax(0)[0]"),
    "the weights added up": """
def prefix_share(q, k, K, heads, mask):
    cut = lambda x: x.view(*x.shape[:2], heads, -1).transpose(1, 2)
    both = cut(torch.cat([K, k], 1))
    scores = cut(q) @ both.transpose(-1, -2) / math.sqrt(q.shape[-1] // heads)
    shut = torch.cat([torch.zeros_like(mask[:, :, :1]).expand(-1, -1, K.shape[1]), ~mask], -1)
    weights = scores.masked_fill(shut[:, None], -math.inf).softmax(-1)
    return weights[..., :K.shape[1]].sum(-1)
""",
    "head by head": """
def prefix_share(q, k, K, heads, mask):
    width, found = q.shape[-1] // heads, []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        a = torch.logsumexp(q[..., part] @ K[..., part].transpose(1, 2) / width ** 0.5, dim=-1)
        words = q[..., part] @ k[..., part].transpose(1, 2) / width ** 0.5
        b = torch.logsumexp(words.masked_fill(mask == 0, -1e9), dim=-1)
        found.append(torch.sigmoid(a - b))
    return torch.stack(found, 1)
""",
    "einsum": but(SHARE, "q @ K.mT / scale", 'torch.einsum("bhqw,bhkw->bhqk", q, K) / scale'),
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
    "input_changed": but(SHARE, "    q, k, K =", "    k *= mask.any(1)[..., None]\n    q, k, K ="),
    "shape": but(SHARE, SIGMOID, "torch.sigmoid(a - b)[..., None]"),
    "misfit": but(SHARE, LOGS, "a, b = prefix, words"),
    "one_head": but(SHARE, SIGMOID, "torch.sigmoid(a - b).mean(1)"),
    "axes": but(SHARE, SIGMOID, "torch.sigmoid(a - b).mT"),
    "no_gradient": (but(SHARE, SIGMOID, "torch.sigmoid(a - b).detach()"),
                    but(SHARE, "q, k, K = split(q), split(k), split(K)",
                        "q, k, K = split(q), split(k), split(K.detach() + 0 * K)"),
                    but(SHARE, "q, k, K = split(q)", "q, k, K = split(q.detach())"),
                    but(SHARE, "split(q), split(k)", "split(q), split(k.detach())")),
    "overflow": but(SHARE, LOGS, "a, b = prefix.exp().sum(-1), words.exp().sum(-1)", SIGMOID,
                    "a / (a + b)"),
    "no_scale": but(SHARE, SCALE, "1"),
    "scale_of_d": but(SHARE, SCALE, "(heads * q.shape[-1]) ** 0.5"),
    "no_mask": but(SHARE, '.masked_fill(~mask[:, None], float("-inf"))', ""),
    "ratio": but(SHARE, SIGMOID, "torch.exp(a - b)"),
    "log_of_sums": but(SHARE, SIGMOID, "a / (a + b)"),
    "scores_summed": but(SHARE, LOGS, "a, b = prefix.sum(-1), words.masked_fill("
                                      "~mask[:, None], 0).sum(-1)"),
    "mean": but(SHARE, LOGS, "a = torch.logsumexp(prefix, -1) - math.log(prefix.shape[-1])\n"
                             "    b = torch.logsumexp(words, -1) - math.log(words.shape[-1])"),
    "strongest": but(SHARE, LOGS, "a, b = prefix.amax(-1), words.amax(-1)"),
    "heads_mixed": but(SHARE, "x.unflatten(-1, (heads, -1)).transpose(1, 2)",
                       "x.reshape(len(x), heads, -1, x.shape[-1] // heads)"),
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
MIXED = "w + lam * (r - w)"

RIGHT["prefix.gate"] = {
    "by head": GATE,
    "two shares": but(GATE, MIXED, "(1 - lam) * w + lam * r"),
    "lerp": but(GATE, MIXED, "torch.lerp(w, r, lam.expand_as(w))"),
    "stretched": """
def gated(words, read, share, g):
    width = words.shape[-1] // g.numel()
    lam = torch.einsum("h,bhq->bqh", g, share).repeat_interleave(width, dim=-1)
    return words + lam * (read - words)
""",
    "heads in front": """
def gated(words, read, share, g):
    b, n, d = words.shape
    cut = lambda x: x.view(b, n, len(g), -1).transpose(1, 2)
    lam = g.view(1, -1, 1, 1) * share.unsqueeze(-1)
    out = (1 - lam) * cut(words) + lam * cut(read)
    return out.transpose(1, 2).reshape(b, n, d)
""",
    "head by head": """
def gated(words, read, share, g):
    parts = []
    for h, (w, r) in enumerate(zip(words.chunk(len(g), -1), read.chunk(len(g), -1))):
        parts.append(w + (g[h] * share[:, h, :, None]) * (r - w))
    return torch.cat(parts, -1)
""",
    "kron": """
def gated(words, read, share, g):
    width = words.shape[-1] // len(g)
    spread = torch.kron(torch.eye(len(g)), torch.ones(1, width))    # (heads, d)
    lam = (share.mT * g) @ spread
    return torch.addcmul(words, lam, read - words)
""",
}

WRONG["prefix.gate"] = {
    "words_kept_less": but(GATE, MIXED, """(
        (1 - share.transpose(1, 2)[..., None]) * w + lam * r)"""),
    "no_return": but(GATE, "return", "mixed ="),
    "input_changed": but(GATE, "    return", "    words.zero_()\n    return",
                         "words.unflatten", "words.clone().unflatten"),
    "shape": (but(GATE, ".flatten(-2)", ""), but(GATE, "lam = (g", "lam = (2 * g",
                                                 ".flatten(-2)", ".mean(-1)")),
    "misfit": but(GATE, ".transpose(1, 2)[..., None]", "[..., None]"),
    "added": (but(GATE, MIXED, "w + lam * r"),
              but(GATE, MIXED, "w + g[:, None] * r")),
    "no_share": but(GATE, "g[None, :, None] * share", "g[None, :, None] + 0 * share"),
    "swapped": but(GATE, MIXED, "r + lam * (w - r)"),
    "no_gate": but(GATE, "g[None, :, None] * share", "share"),
    "above_zero": (but(GATE, "g[None, :, None] * share", "g.clamp(min=0)[None, :, None] * share"),
                   but(GATE, "g[None, :, None] * share", "g.relu()[None, :, None] * share"),
                   but(GATE, "g[None, :, None] * share",
                       "(g * g).sqrt()[None, :, None] * share")),
    "heads_interleaved": """
def gated(words, read, share, g):
    lam = (g[:, None] * share).transpose(1, 2).repeat(1, 1, words.shape[-1] // len(g))
    return words + lam * (read - words)
""",
    "not_silent": (but(GATE, MIXED, "w + lam * (r - w) + 1e-3"),
                   but(GATE, "g[None, :, None] * share",
                       "torch.sigmoid(g)[None, :, None] * share")),
    "not_mixture": but(GATE, "g[None, :, None] * share", "torch.tanh(g)[None, :, None] * share"),
    "not_in_step": (but(GATE, "g[None, :, None] * share", "g[None, :, None] ** 2 * share"),
                    but(GATE, "g[None, :, None] * share",
                        "torch.where(g < 0, 0.01 * g, g)[None, :, None] * share"),
                    """
def gated(words, read, share, g):
    heads = len(g)
    lam = g[None, :, None] * share / (1 - share + g[None, :, None] * share).clamp(min=1e-9)
    lam = lam.transpose(1, 2)[..., None]
    w, r = words.unflatten(-1, (heads, -1)), read.unflatten(-1, (heads, -1))
    return (w + lam * (r - w)).flatten(-2)
"""),
    "no_slope": but(GATE, "g[None, :, None] * share", "g.detach()[None, :, None] * share"),
    "other_slope": (
        but(GATE, "g[None, :, None] * share",
            "(g * g).sqrt()[None, :, None] * g.sign()[None, :, None] * share"),
        but(GATE, "g[None, :, None] * share",
            "torch.cat([g[:1], g[1:].detach()])[None, :, None] * share"),
        but(GATE, "g[None, :, None] * share", "(g / 2 + g.detach() / 2)[None, :, None] * share")),
    "cut": (but(GATE, "words.unflatten", "words.detach().unflatten"),
            but(GATE, "read.unflatten", "read.detach().unflatten"),
            but(GATE, "g[None, :, None] * share", "g[None, :, None] * share.detach()")),
}

BEYOND["prefix.gate"] = but(GATE, "g[None, :, None] * share",
                            "g.clamp(max=1)[None, :, None] * share")
