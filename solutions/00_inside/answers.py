"""Answers to the exercises of lesson 00."""


from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

LINEAR = solution("inside.linear")

RIGHT["inside.linear"] = {
    "in brackets": but(LINEAR, "n_in * n_out + n_out", "(n_in + 1) * n_out"),
    "a lambda": "linear_count = lambda n_in, n_out: sum((n_in * n_out, n_out))",
    "output by output": but(LINEAR, "n_in * n_out + n_out", "sum(n_in + 1 for _ in range(n_out))"),
    "a layer that is built": """
def linear_count(n_in, n_out):
    layer = nn.Linear(n_in, n_out)
    return layer.weight.numel() + layer.bias.numel()
""",
    "NumPy": "import numpy as np\n\n" + but(LINEAR, "+ n_out", "+ np.int64(n_out)"),
}

WRONG["inside.linear"] = {
    "no_bias": but(LINEAR, " + n_out", ""),
    "not_whole": but(LINEAR, "+ n_out", "+ n_out / 1"),
    "added": but(LINEAR, "n_in * n_out", "n_in"),
    "bias_of_inputs": but(LINEAR, "+ n_out", "+ n_in"),
}

BEYOND["inside.linear"] = but(LINEAR, "n_in * n_out + n_out",
                              "int(torch.tensor(float(n_in * n_out + n_out)))")

ONE_HEAD = solution("inside.head")
SCORES = "q @ k.T / q.shape[1]**0.5"

RIGHT["inside.head"] = {
    "einsum": """
def one_head(q, k, v):
    scores = torch.einsum("iw,jw->ij", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("ij,jw->iw", scores.softmax(dim=-1), v)
""",
    "torch's own": """
def one_head(q, k, v):
    return nn.functional.scaled_dot_product_attention(q[None], k[None], v[None])[0]
""",
    "a softmax by hand": but(ONE_HEAD, "    return", f"    raised = torch.exp({SCORES})\n    return",
                             f"torch.softmax({SCORES}, dim=1)",
                             "raised / raised.sum(1, keepdim=True)"),
    "a lambda": "one_head = lambda q, k, v: (q @ k.mT * q.shape[-1]**-0.5).softmax(-1) @ v",
    "reader by reader": """
def one_head(q, k, v):
    return torch.stack([(k @ each / len(each)**0.5).softmax(0) @ v for each in q])
""",
}

WRONG["inside.head"] = {
    "no_scale": but(ONE_HEAD, SCORES, "q @ k.T"),
    "other_axis": but(ONE_HEAD, "dim=1", "dim=0"),
    "transposed": but(ONE_HEAD, "q @ k.T", "k @ q.T"),
    "no_softmax": but(ONE_HEAD, f"torch.softmax({SCORES}, dim=1)", f"({SCORES})"),
    "": but(ONE_HEAD, "q.shape[1]", "len(q)"),
}

BEYOND["inside.head"] = but(ONE_HEAD, "@ v", "@ v if len(q) > 1 else 0 * v")

BY_HEAD = solution("inside.attention")
AT_ONCE = """
def attention(q, k, v, heads, mask):
    batch, queries, d = q.shape
    def split(x):
        return x.view(batch, x.shape[1], heads, d // heads).transpose(1, 2)
    scores = split(q) @ split(k).transpose(-1, -2) / math.sqrt(d // heads)
    scores = scores.masked_fill(mask.unsqueeze(1) == 0, -1e9)
    out = scores.softmax(dim=-1) @ split(v)
    return out.transpose(1, 2).reshape(batch, queries, d)
"""
OUTPUT, WEIGHTS = "torch.cat(read, dim=-1)", 'fit.masked_fill(~mask, float("-inf")).softmax(-1)'
SOFTMAX = but(BY_HEAD, "        read.append(", """
        fit = fit.masked_fill(~mask, float("-inf"))
        raised = torch.exp(fit - fit.amax(-1, keepdim=True))
        read.append(""", WEIGHTS, "raised / raised.sum(-1, keepdim=True)")

FILL = "scores = scores.masked_fill(mask.unsqueeze(1) == 0, -1e9)"
ADD = "scores = scores + (1 - mask[:, None].to(scores.dtype)) *"

RIGHT["inside.attention"] = {
    "all heads at once": AT_ONCE,
    "einsum": """
def attention(q, k, v, heads, mask):
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (q, k, v))
    scores = torch.einsum("bqhw,bkhw->bhqk", q, k) * q.shape[-1]**-0.5
    scores = torch.where(mask[:, None], scores, -torch.inf)
    return torch.einsum("bhqk,bkhw->bqhw", scores.softmax(-1), v).flatten(2)
""",
    "torch's own": """
def attention(q, k, v, heads, mask):
    q, k, v = (torch.stack(x.chunk(heads, dim=-1), dim=1) for x in (q, k, v))
    out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
    return torch.cat(out.unbind(1), dim=-1)
""",
    "a softmax by hand": SOFTMAX,
    "something large taken away": but(
        AT_ONCE, FILL, f"{ADD} torch.finfo(scores.dtype).min"),
}

INTERLEAVED = "x.view(batch, x.shape[1], d // heads, heads).permute(0, 3, 1, 2)"
SPLIT = "x.view(batch, x.shape[1], heads, d // heads).transpose(1, 2)"

WRONG["inside.attention"] = {
    "no_scale": (but(BY_HEAD, " / width**0.5", ""),
                 but(BY_HEAD, "/ width**0.5", "/ q.shape[-1]**0.5")),
    "mask_after": but(BY_HEAD, WEIGHTS, "(fit.softmax(-1) * mask)"),
    "heads_mixed": (but(AT_ONCE, SPLIT, "x.reshape(batch, heads, -1, d // heads)"),
                    but(AT_ONCE, "out.transpose(1, 2)", "out"),
                    but(AT_ONCE, SPLIT, "x.reshape(batch, heads, -1, d // heads)",
                        "out.transpose(1, 2)", "out")),
    "mask_inverted": (but(BY_HEAD, "~mask", "mask"), but(AT_ONCE, "== 0", "== 1")),
    "interleaved": (but(AT_ONCE, SPLIT, INTERLEAVED), but(
        AT_ONCE, SPLIT, INTERLEAVED, "out.transpose(1, 2)", "out.permute(0, 2, 3, 1)")),
    "leak": (but(AT_ONCE, "-1e9", "-1e4"), but(AT_ONCE, "-1e9", "-100.0")),
    "added": (but(AT_ONCE, FILL, f"{ADD} -1e4"), but(AT_ONCE, FILL, f"{ADD} -1e9")),
    "overflow": but(SOFTMAX, " - fit.amax(-1, keepdim=True)", ""),
    "": (but(BY_HEAD, OUTPUT, f"{OUTPUT}, fit"), but(BY_HEAD, OUTPUT, f"{OUTPUT}.detach()"),
         but(SOFTMAX, 'fit = fit.masked_fill(~mask, float("-inf"))', "pass",
             "keepdim=True))\n", "keepdim=True)) * mask\n"),
         but(BY_HEAD, "    return", "    mask.logical_not_()\n    return")),
}

BEYOND["inside.attention"] = but(BY_HEAD, OUTPUT, f"{OUTPUT}.squeeze(1)")

TRANSFORMER = solution("inside.transformer")
READABLE = "mask.bool().unsqueeze(1).repeat(1, x.shape[1], 1)"
RESULT = 'F.layer_norm(x, x.shape[-1:], *layer["ffn_norm"], eps=1e-12)'
HELPERS = """
def transformer_block(x, mask, weights, heads, attention):
    def linear(name, x):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(name, x):
        mean = x.mean(dim=-1, keepdim=True)
        var = ((x - mean)**2).mean(dim=-1, keepdim=True)
        x = (x - mean) / torch.sqrt(var + 1e-12)
        return x * weights[name + ".weight"] + weights[name + ".bias"]

    may_read = mask.bool()[:, None, :].expand(-1, x.shape[1], -1)
    read = attention(linear("query", x), linear("key", x), linear("value", x), heads, may_read)
    mixed = linear("attention_out", read)
    x1 = norm("attention_norm", x + mixed)
    ffn = linear("ffn_out", nn.functional.gelu(linear("ffn_in", x1)))
    return norm("ffn_norm", x1 + ffn)
"""

RIGHT["inside.transformer"] = {
    "with two helpers": HELPERS,
    "the GELU from its formula": but(
        TRANSFORMER, "wide = F.gelu(", "wide = (lambda x: x / 2 * (1 + torch.erf(x / 2**0.5)))("),
    "the GELU in float64": but(TRANSFORMER, '*layer["ffn_in"])', '*layer["ffn_in"]).double()',
                               "F.linear(wide,", "F.linear(wide.float(),"),
    "einsum, and no eps": but(
        HELPERS, 'x @ weights[name + ".weight"].T',
        'torch.einsum("btj,ij->bti", x, weights[name + ".weight"])', "(var + 1e-12)", "(var)"),
    "a sum that is written into": but(TRANSFORMER, "x + mixed", "mixed.add_(x)"),
}

WRONG["inside.transformer"] = {
    "eps": but(HELPERS, "var + 1e-12", "var + 1e-5"),
    "padded_queries": but(TRANSFORMER, READABLE, f"{READABLE} & mask.bool()[:, :, None]"),
    "residual_of_start": but(HELPERS, "x1 + ffn", "x + ffn"),
    "no_residual": (but(HELPERS, "x1 + ffn", "ffn"), but(TRANSFORMER, "x + mixed", "mixed")),
    "norm_first": but(
        HELPERS, 'norm("attention_norm", x + mixed)', 'x + norm("attention_norm", mixed)',
        'norm("ffn_norm", x1 + ffn)', 'x1 + norm("ffn_norm", ffn)'),
    "no_gelu": but(HELPERS, 'nn.functional.gelu(linear("ffn_in", x1))', 'linear("ffn_in", x1)'),
    "other_gelu": (but(HELPERS, "x1))", 'x1), approximate="tanh")'),
                   but(TRANSFORMER, "F.gelu", "F.relu")),
    "no_bias": (but(HELPERS, '.T + weights[name + ".bias"]', ".T"),
                but(TRANSFORMER, 'F.linear(wide, *layer["ffn_out"])',
                    'wide @ layer["ffn_out"][0].T'),
                but(HELPERS, "    may_read", """
    def bare(name, x):
        return x @ weights[name + ".weight"].T

    may_read""", 'linear("query", x), linear("key", x), linear("value", x)',
                    'bare("query", x), bare("key", x), bare("value", x)',
                    'linear("attention_out"', 'bare("attention_out"')),
    "not_transposed": but(
        HELPERS, '        return x @ weights[name + ".weight"].T',
        """        W = weights[name + ".weight"]
        W = W.T if len(W) == len(W[0]) else W
        return x @ W.T"""),
    "": (but(TRANSFORMER, "x + mixed", "x.add_(mixed)"),
         but(TRANSFORMER, "attention(q, k", 'pt.mine("inside.attention")(q, k'),
         but(TRANSFORMER, "mask.bool()", "mask")),
}

BEYOND["inside.transformer"] = but(
    HELPERS, "        return x @", """        if name.startswith("ffn"):
            W = weights[name + ".weight"]
            return x @ (W if len(W) == x.shape[-1] else W.T) + weights[name + ".bias"]
        return x @""")

RIGHT["inside.order"] = {
    "a list": 'order = ["c", "a", "d", "b"]',
    "by place": 'order = {"attention_out": "b", "query": "c", "key": "a", "value": "d"}',
    "capitals": 'order = "CADB "',
}

WRONG["inside.order"] = {
    "query_for_key": 'order = "acdb"',
    "other": 'order = "dcab"',
    "not_an_order": ('order = "cad"', "order = [2, 0, 3, 1]"),
}

BLOCK = solution("inside.block")
KV, NORMS = "kv_heads * (d_model // heads)", "2 * 2 * d_model"

RIGHT["inside.block"] = {
    "layers that are built": """
def block_count(d_model, d_ff, heads, kv_heads):
    kv = d_model // heads * kv_heads
    layers = [nn.Linear(d_model, n_out) for n_out in (d_model, kv, kv, d_model)]
    layers += [nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)]
    layers += [nn.LayerNorm(d_model), nn.LayerNorm(d_model)]
    return sum(p.numel() for layer in layers for p in layer.parameters())
""",
    "a lambda": """
block_count = lambda d, f, heads, shared: 2 * (d + 1) * (d + d // heads * shared) + (
    d + 1) * f + (f + 1) * d + 4 * d
""",
    "divided last": but(BLOCK, KV, "d_model * kv_heads // heads"),
    "a float, rounded": but(BLOCK, KV, "round(kv_heads * d_model / heads)"),
    "NumPy": "import numpy as np\n\n" + but(BLOCK, NORMS, "np.int64(4) * d_model"),
}

WRONG["inside.block"] = {
    "all_as_wide": but(BLOCK, KV, "d_model"),
    "not_whole": but(BLOCK, NORMS, "4.0 * d_model"),
    "half_norms": but(BLOCK, NORMS, "2 * d_model"),
    "wide_biases": but(BLOCK, NORMS, f"{NORMS} + 2 * (d_model - kv)"),
    "kv_heads_as_width": but(BLOCK, KV, "kv_heads"),
}

BEYOND["inside.block"] = but(BLOCK, "    kv =", "    d_ff = max(d_model, d_ff)\n    kv =")

LEDGER = solution("inside.ledger")
RETURN = "return {part: count * bytes_each for part, count in numbers.items()}"

RIGHT["inside.ledger"] = {
    "from the gradients": """
def ledger(total, trained, bytes_each=4, moments=2):
    gradients = trained * bytes_each
    return {"optimizer": moments * gradients, "weights": total * bytes_each, "gradients": gradients}
""",
    "a lambda": """
ledger = lambda total, trained, size, moments: dict(
    weights=size * total, gradients=size * trained, optimizer=size * trained * moments)
""",
    "in place": but(LEDGER, RETURN, """for part in numbers:
        numbers[part] *= bytes_each
    return numbers"""),
    "NumPy": "import numpy as np\n\n" + but(LEDGER, '"weights": total',
                                              '"weights": np.int64(total)'),
    "a counter": "from collections import Counter\n\n" + but(
        LEDGER, "return {part", "return Counter({part", "numbers.items()}", "numbers.items()})"),
}

WRONG["inside.ledger"] = {
    "always_four": but(LEDGER, "count * bytes_each", "count * 4"),
    "always_two": but(LEDGER, "moments * trained", "2 * trained"),
    "moments_float32": but(LEDGER, RETURN, RETURN + ' | {"optimizer": 4 * moments * trained}'),
    "all_train": but(LEDGER, "    numbers", "    trained = total\n    numbers"),
    "trained_only": but(LEDGER, '"weights": total', '"weights": trained'),
    "trained_twice": but(LEDGER, '"weights": total', '"weights": total + trained'),
    "": (but(LEDGER, RETURN, "return sum(numbers.values()) * bytes_each"),
         but(LEDGER, '"weights": total', '"weights": total, "sum": total'),
         but(LEDGER, "count * bytes_each", "count * bytes_each / 1")),
}

BEYOND["inside.ledger"] = but(
    LEDGER, "    numbers", "    bytes_each = 4 if bytes_each == 4 else 2\n    numbers")


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "inside.linear": ("n_in * n_out + n_out", "0", {
        "one input, one output": "n_in == n_out == 1", "one input": "n_in == 1 < n_out",
        "one output": "n_out == 1 < n_in", "more than float32 holds": "n_in * n_out > 2**24"}),
    "inside.head": (f"torch.softmax({SCORES}, dim=1) @ v", "0 * v", {
        "one token": "len(q) == 1", "one entry": "q.shape[1] == 1", "long": "len(q) > 64"}),
    "inside.attention": (OUTPUT, "0 * q", {
        "one head": "heads == 1", "heads of one entry": "heads == q.shape[-1]",
        "one query": "q.shape[1] == 1", "a wider model": "q.shape[-1] > 384"}),
    "inside.transformer": (RESULT, "mixed", {
        "one head": "heads == 1",
        "a narrow feed-forward part": "len(weights['ffn_in.bias']) < x.shape[-1] / 2",
        "all is square": "len(weights['ffn_in.bias']) == x.shape[-1]"}),
    "inside.block": ("layers + 2 * 2 * d_model", "0", {
        "BERT-base": "heads == kv_heads and d_model > 384", "one head": "heads == 1",
        "all is square": "d_ff == d_model", "many heads": "heads > 12",
        "heads of one entry": "heads == d_model"}),
    "inside.ledger": ("count * bytes_each", "0", {
        "nothing trains": "trained == 0", "everything trains": "trained == total",
        "eight bytes": "bytes_each == 8", "one byte": "bytes_each == 1",
        "three moments": "moments == 3"}),
}
