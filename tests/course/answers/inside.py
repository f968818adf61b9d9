"""Answers to the exercises of lesson 00."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── inside.linear ────────────────────────────────────────────────────────────────────────────

LINEAR = """
def linear_count(n_in, n_out):
    return n_in * n_out + n_out
"""

RIGHT["inside.linear"] = {
    "plain": LINEAR,
    "in brackets": but(LINEAR, "n_in * n_out + n_out", "(n_in + 1) * n_out"),
    "in steps": """
def linear_count(n_in: int, n_out: int) -> int:
    weight = n_out * n_in
    bias = n_out
    total = weight + bias
    return total
""",
    "a lambda": "linear_count = lambda n_in, n_out: sum((n_in * n_out, n_out))",
    "shapes": """
def linear_count(n_in, n_out):
    shapes = [(n_out, n_in), (n_out,)]
    return sum(math.prod(shape) for shape in shapes)
""",
    "a loop": """
def linear_count(n_in, n_out):
    count = 0
    for shape in ((n_out, n_in), (n_out,)):
        numbers = 1
        for size in shape:
            numbers *= size
        count += numbers
    return count
""",
    "a layer that is built": """
def linear_count(n_in, n_out):
    layer = nn.Linear(n_in, n_out)
    return layer.weight.numel() + layer.bias.numel()
""",
    "NumPy": """
import numpy as np

def linear_count(n_in, n_out):
    return np.prod([n_out, n_in], dtype=np.int64) + np.int64(n_out)
""",
    "a helper": """
def numbers(*shape):
    return shape[0] if len(shape) == 1 else shape[0] * numbers(*shape[1:])

def linear_count(n_in, n_out):
    return numbers(n_out, n_in) + numbers(n_out)
""",
}

WRONG["inside.linear"] = {
    "no_bias": (but(LINEAR, " + n_out", ""),
                "def linear_count(n_in, n_out):\n    return nn.Linear(n_in, n_out).weight.numel()"),
    "no_return": (but(LINEAR, "return", "count ="), but(LINEAR, "return ", "print(") + ")"),
    "not_whole": (but(LINEAR, "n_in * n_out + n_out", "float(n_in * n_out + n_out)"),
                  but(LINEAR, "n_in * n_out + n_out", "n_in * n_out + n_out / 1"),
                  but(LINEAR, "n_in * n_out + n_out", "torch.tensor(n_in * n_out + n_out)")),
    "added": but(LINEAR, "n_in * n_out + n_out", "n_in + n_out"),
    "bias_of_inputs": but(LINEAR, "+ n_out", "+ n_in"),
    "two_biases": but(LINEAR, "+ n_out", "+ n_in + n_out"),
    "one_bias": but(LINEAR, "+ n_out", "+ 1"),
    "bias_only": but(LINEAR, "n_in * n_out + ", ""),
}

BEYOND["inside.linear"] = but(LINEAR, "n_in * n_out + n_out",
                              "int(torch.tensor(float(n_in * n_out + n_out)))")

# ── inside.attention ─────────────────────────────────────────────────────────────────────────

BY_HEAD = """
def attention(q, k, v, heads, mask):
    width = q.shape[-1] // heads
    read = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        scores = q[:, :, part] @ k[:, :, part].transpose(1, 2) / width**0.5
        scores = scores.masked_fill(~mask, float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        read.append(weights @ v[:, :, part])
    return torch.cat(read, dim=-1)
"""
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
SCALE, FILLED = " / width**0.5", 'scores.masked_fill(~mask, float("-inf"))'

RIGHT["inside.attention"] = {
    "head by head": BY_HEAD,
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
    "query by query": """
def attention(q, k, v, heads, mask):
    width = q.shape[-1] // heads
    sentences = []
    for one in range(len(q)):
        rows = []
        for i in range(q.shape[1]):
            keys = [j for j in range(k.shape[1]) if mask[one, i, j]]
            pieces = []
            for h in range(heads):
                part = slice(h * width, h * width + width)
                fit = torch.stack([q[one, i, part].dot(k[one, j, part]) for j in keys])
                share = (fit / width**0.5).softmax(0)
                pieces.append(sum(s * v[one, j, part] for s, j in zip(share, keys)))
            rows.append(torch.cat(pieces))
        sentences.append(torch.stack(rows))
    return torch.stack(sentences)
""",
    "a softmax by hand": but(BY_HEAD, """        scores = scores.masked_fill(~mask, float("-inf"))
        weights = torch.softmax(scores, dim=-1)
""", """        raised = torch.exp(scores - scores.amax(dim=-1, keepdim=True)) * mask
        weights = raised / raised.sum(dim=-1, keepdim=True)
"""),
    "something large taken away": but(
        AT_ONCE, "scores = scores.masked_fill(mask.unsqueeze(1) == 0, -1e9)",
        "scores = scores + (1 - mask[:, None].to(scores.dtype)) * torch.finfo(scores.dtype).min"),
    "heads among the sentences": """
def attention(q, k, v, heads, mask):
    batch, queries, d = q.shape
    w = d // heads
    q, k, v = [x.reshape(batch, -1, heads, w).permute(0, 2, 1, 3).reshape(batch * heads, -1, w)
               for x in (q, k, v)]
    scores = torch.bmm(q, k.transpose(1, 2)) / w**0.5
    allowed = mask.repeat_interleave(heads, dim=0)
    out = torch.bmm(scores.masked_fill(allowed.logical_not(), -math.inf).softmax(-1), v)
    return out.reshape(batch, heads, queries, w).permute(0, 2, 1, 3).reshape(batch, queries, d)
""",
}

WRONG["inside.attention"] = {
    "scale_of_d": (but(BY_HEAD, SCALE, " / q.shape[-1]**0.5"),
                   but(AT_ONCE, "math.sqrt(d // heads)", "math.sqrt(d)")),
    "no_return": but(BY_HEAD, "return torch.cat", "found = torch.cat"),
    "not_a_tensor": (but(BY_HEAD, "torch.cat(read, dim=-1)", "torch.cat(read, dim=-1), weights"),
                     but(BY_HEAD, "torch.cat(read, dim=-1)", "read")),
    "input_changed": (but(BY_HEAD, "    read = []", "    mask[0, 0, 0] = False\n    read = []"),
                      but(BY_HEAD, "    return", "    mask.logical_not_()\n    return"),
                      but(BY_HEAD, "    read = []", "    q /= width**0.5\n    read = []",
                          SCALE, "")),
    "no_gradient": (but(BY_HEAD, "torch.cat(read, dim=-1)", "torch.cat(read, dim=-1).detach()"),
                    but(AT_ONCE, "    batch,", "    q, k, v = q.data, k.data, v.data\n    batch,")),
    "nan": (but(BY_HEAD, FILLED, "scores + mask.logical_not() * float('-inf')"),
            but(BY_HEAD, "dim=-1)\n        read", "dim=-2)\n        read")),
    "shape": (but(BY_HEAD, "torch.cat(read, dim=-1)", "torch.cat(read, dim=1)"),
              but(BY_HEAD, "torch.cat(read, dim=-1)", "torch.stack(read)")),
    "overflow": but(BY_HEAD, """        scores = scores.masked_fill(~mask, float("-inf"))
        weights = torch.softmax(scores, dim=-1)
""", """        raised = torch.exp(scores) * mask
        weights = raised / raised.sum(dim=-1, keepdim=True)
"""),
    "misfit": but(BY_HEAD, FILLED, "scores.masked_fill(~mask[:, :, :mask.shape[1]], -1e9)"),
    "leak": (but(BY_HEAD, 'float("-inf")', "-15"), but(AT_ONCE, "-1e9", "-100.0"),
             but(BY_HEAD, FILLED, "scores - 15 * mask.logical_not()")),
    "no_scale": but(BY_HEAD, SCALE, ""),
    "scale_not_root": but(BY_HEAD, SCALE, " / width"),
    "one_head": (but(BY_HEAD, "    width", "    heads = 1\n    width"),
                 but(BY_HEAD, SCALE, " / w**0.5", "    width", "    w = q.shape[-1] // heads\n"
                     "    heads = 1\n    width")),
    "over_queries": (but(AT_ONCE, "softmax(dim=-1)", "softmax(dim=-2)"),
                     but(AT_ONCE, "softmax(dim=-1)", "softmax(2)")),
    "no_mask": but(BY_HEAD, FILLED, "scores"),
    "mask_inverted": but(BY_HEAD, "~mask", "mask"),
    "scores_to_zero": (but(BY_HEAD, FILLED, "scores.masked_fill(~mask, 0)"),
                       but(BY_HEAD, FILLED, "scores * mask")),
    "mask_after": but(BY_HEAD, FILLED, "scores", "torch.softmax(scores, dim=-1)",
                      "torch.softmax(scores, dim=-1) * mask"),
    "no_softmax": but(BY_HEAD, "torch.softmax(scores, dim=-1)", "scores.masked_fill(~mask, 0)"),
    "values_forgotten": but(BY_HEAD, "weights @ v", "weights @ k"),
    "heads_mixed": (but(AT_ONCE, "x.view(batch, x.shape[1], heads, d // heads).transpose(1, 2)",
                        "x.reshape(batch, heads, -1, d // heads)"),
                    but(AT_ONCE, "x.view(batch, x.shape[1], heads, d // heads).transpose(1, 2)",
                        "x.reshape(batch, heads, -1, d // heads)", "out.transpose(1, 2)", "out")),
    "interleaved": but(BY_HEAD, "slice(h * width, (h + 1) * width)", "slice(h, None, heads)"),
    "not_joined": but(AT_ONCE, "out.transpose(1, 2)", "out"),
    "heads_apart": (but(AT_ONCE, ".reshape(batch, queries, d)", ""),
                    but(AT_ONCE, "out.transpose(1, 2).reshape(batch, queries, d)", "out")),
    "weights_alone": but(AT_ONCE, "out.transpose(1, 2).reshape(batch, queries, d)",
                         "scores.softmax(-1)"),
    "heads_averaged": but(BY_HEAD, "torch.cat(read, dim=-1)", "sum(read) / heads"),
}

BEYOND["inside.attention"] = but(BY_HEAD, "torch.cat(read, dim=-1)",
                                 "torch.cat(read, dim=-1).squeeze(1)")

# ── inside.transformer ───────────────────────────────────────────────────────────────────────

TRANSFORMER = """
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
FUNCTIONAL = """
import torch.nn.functional as F

def transformer_block(x, mask, weights, heads, attention):
    w = weights
    d = x.shape[-1]
    q = F.linear(x, w["query.weight"], w["query.bias"])
    k = F.linear(x, w["key.weight"], w["key.bias"])
    v = F.linear(x, w["value.weight"], w["value.bias"])
    readable = (mask == 1).unsqueeze(1).repeat(1, q.size(1), 1)
    a = attention(q, k, v, heads, readable)
    a = F.linear(a, w["attention_out.weight"], w["attention_out.bias"])
    h = F.layer_norm(a + x, (d,), w["attention_norm.weight"], w["attention_norm.bias"], 1e-12)
    f = F.gelu(F.linear(h, w["ffn_in.weight"], w["ffn_in.bias"]))
    f = F.linear(f, w["ffn_out.weight"], w["ffn_out.bias"])
    return F.layer_norm(f + h, (d,), w["ffn_norm.weight"], w["ffn_norm.bias"], 1e-12)
"""
MEAN = "    var = ((x - mean)**2).mean(dim=-1, keepdim=True)\n"

RIGHT["inside.transformer"] = {
    "with two helpers": TRANSFORMER,
    "functional": FUNCTIONAL,
    "modules that are filled": """
def transformer_block(x, mask, weights, heads, attention):
    def module(name):
        W, b = weights[name + ".weight"], weights[name + ".bias"]
        made = (nn.LayerNorm(len(W), eps=1e-12) if W.dim() == 1
                else nn.Linear(W.shape[1], W.shape[0]))
        with torch.no_grad():
            made.weight.copy_(W)
            made.bias.copy_(b)
        return made

    allowed = torch.stack([mask.bool()] * x.shape[1], dim=1)
    y = attention(module("query")(x), module("key")(x), module("value")(x), heads, allowed)
    y = module("attention_norm")(x + module("attention_out")(y))
    z = nn.Sequential(module("ffn_in"), nn.GELU(), module("ffn_out"))(y)
    return module("ffn_norm")(y + z)
""",
    "the GELU from its formula": but(
        TRANSFORMER, 'nn.functional.gelu(linear("ffn_in", x1))',
        'gelu(linear("ffn_in", x1))', "    def norm(", """    def gelu(x):
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))

    def norm("""),
    "var of torch": but(TRANSFORMER, MEAN,
                        "    var = x.var(dim=-1, unbiased=False, keepdim=True)\n"),
    "einsum, and no eps": but(
        TRANSFORMER, 'x @ weights[name + ".weight"].T',
        'torch.einsum("btj,ij->bti", x, weights[name + ".weight"])', "(var + 1e-12)", "(var)"),
    "one projection for three": but(
        FUNCTIONAL, """    q = F.linear(x, w["query.weight"], w["query.bias"])
    k = F.linear(x, w["key.weight"], w["key.bias"])
    v = F.linear(x, w["value.weight"], w["value.bias"])
""", """    three = ("query", "key", "value")
    W = torch.cat([w[f"{name}.weight"] for name in three])
    b = torch.cat([w[f"{name}.bias"] for name in three])
    q, k, v = F.linear(x, W, b).split(d, dim=-1)
"""),
    "a sum that is written into": but(
        FUNCTIONAL, "F.layer_norm(a + x,", "F.layer_norm(a.add_(x),", "F.layer_norm(f + h,",
        "F.layer_norm(f.add_(h),"),
}

WRONG["inside.transformer"] = {
    "eps": (but(TRANSFORMER, "var + 1e-12", "var + 1e-5"),
            FUNCTIONAL.replace(", 1e-12)", ")")),
    "no_return": but(TRANSFORMER, 'return norm("ffn_norm"', 'found = norm("ffn_norm"'),
    "not_a_tensor": but(TRANSFORMER, 'return norm("ffn_norm", x1 + ffn)',
                        'return norm("ffn_norm", x1 + ffn), read'),
    "input_changed": (but(FUNCTIONAL, "F.layer_norm(a + x,", "F.layer_norm(x.add_(a),"),
                      but(TRANSFORMER, "    may_read", "    x += 0.1\n    may_read"),
                      but(FUNCTIONAL, 'w["query.weight"], w["query.bias"]',
                          'w.pop("query.weight"), w.pop("query.bias")')),
    "nan": but(TRANSFORMER, "torch.sqrt(var + 1e-12)", "torch.sqrt(var - 1e6)"),
    "padded_queries": (but(TRANSFORMER, "[:, None, :].expand(-1, x.shape[1], -1)",
                           "[:, :, None].expand(-1, -1, x.shape[1])"),
                       but(TRANSFORMER, "[:, None, :].expand(-1, x.shape[1], -1)",
                           "[:, None, :] & mask.bool()[:, :, None]")),
    "shape": (but(TRANSFORMER, "x1 + ffn)", "x1 + ffn)[:, 0]"),
              but(TRANSFORMER, "x1 + ffn)", "x1 + ffn).mean(1)")),
    "misfit": but(TRANSFORMER, '.weight"].T', '.weight"]'),
    "own_attention": but(
        TRANSFORMER, "    read = attention(", """    def own(q, k, v, heads, mask):
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.mT / q.shape[-1]**0.5
        scores = scores.masked_fill(~mask[:, None], -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    read = own("""),
    "mask_not_bool": (but(TRANSFORMER, "mask.bool()[", "mask["),
                      but(FUNCTIONAL, "(mask == 1).unsqueeze", "mask.float().unsqueeze")),
    "no_first_residual": but(TRANSFORMER, "x + mixed", "mixed"),
    "no_second_residual": but(TRANSFORMER, "x1 + ffn", "ffn"),
    "no_residuals": but(TRANSFORMER, "x + mixed", "mixed", "x1 + ffn", "ffn"),
    "residual_of_start": but(TRANSFORMER, "x1 + ffn", "x + ffn"),
    "norm_before": but(
        TRANSFORMER, "    read", '    n = norm("attention_norm", x)\n    read',
        'linear("query", x), linear("key", x), linear("value", x)',
        'linear("query", n), linear("key", n), linear("value", n)',
        'norm("attention_norm", x + mixed)', "x + mixed", 'linear("ffn_in", x1)',
        'linear("ffn_in", norm("ffn_norm", x1))', 'norm("ffn_norm", x1 + ffn)', "x1 + ffn"),
    "no_first_norm": but(TRANSFORMER, 'norm("attention_norm", x + mixed)', "x + mixed"),
    "no_second_norm": but(TRANSFORMER, 'norm("ffn_norm", x1 + ffn)', "x1 + ffn"),
    "norms_swapped": but(TRANSFORMER, '"attention_norm"', '"ffn_norm_"', '"ffn_norm"',
                         '"attention_norm"', '"ffn_norm_"', '"ffn_norm"'),
    "one_norm_twice": (but(TRANSFORMER, '"ffn_norm"', '"attention_norm"'),
                       but(TRANSFORMER, '"attention_norm"', '"ffn_norm"')),
    "not_scaled": but(TRANSFORMER, 'x * weights[name + ".weight"] + weights[name + ".bias"]', "x"),
    "unbiased": (but(TRANSFORMER, MEAN, "    var = x.var(dim=-1, keepdim=True)\n"),
                 but(TRANSFORMER, "torch.sqrt(var + 1e-12)", "x.std(dim=-1, keepdim=True)")),
    "no_gelu": but(TRANSFORMER, 'nn.functional.gelu(linear("ffn_in", x1))', 'linear("ffn_in", x1)'),
    "gelu_tanh": but(TRANSFORMER, 'linear("ffn_in", x1))',
                     'linear("ffn_in", x1), approximate="tanh")'),
    "relu": but(TRANSFORMER, "functional.gelu", "functional.relu"),
    "no_out": but(TRANSFORMER, 'linear("attention_out", read)', "read"),
    "not_transposed": but(
        FUNCTIONAL, 'F.linear(x, w["query.weight"],', 'F.linear(x, w["query.weight"].T,',
        'F.linear(x, w["key.weight"],', 'F.linear(x, w["key.weight"].T,',
        'F.linear(x, w["value.weight"],', 'F.linear(x, w["value.weight"].T,',
        'F.linear(a, w["attention_out.weight"],', 'F.linear(a, w["attention_out.weight"].T,'),
    "no_biases": but(TRANSFORMER, '.weight"].T + weights[name + ".bias"]', '.weight"].T'),
    "mask_unused": but(TRANSFORMER, "mask.bool()", "torch.ones_like(mask).bool()"),
}

BEYOND["inside.transformer"] = but(
    TRANSFORMER, "        return x @", """        if name.startswith("ffn"):
            W = weights[name + ".weight"]
            return x @ (W if len(W) == x.shape[-1] else W.T) + weights[name + ".bias"]
        return x @""")

# ── inside.order ─────────────────────────────────────────────────────────────────────────────

RIGHT["inside.order"] = {
    "a text": 'order = "cadb"',
    "a list": 'order = ["c", "a", "d", "b"]',
    "a tuple": 'order = ("c", "a", "d", "b")',
    "by place": 'order = {"attention_out": "b", "query": "c", "key": "a", "value": "d"}',
    "capitals": 'order = "CADB"',
}

WRONG["inside.order"] = {
    "query_for_key": 'order = "acdb"',
    "value_for_out": 'order = "cabd"',
    "halves": ('order = "dbca"', 'order = "bdac"'),
    "other": ('order = "dcab"', 'order = list("bcad")'),
    "not_an_order": ('order = "cad"', "order = [2, 0, 3, 1]", 'order = "c, a, d, b"',
                     'order = {"q": "c", "k": "a", "v": "d", "o": "b"}'),
}

# ── inside.block ─────────────────────────────────────────────────────────────────────────────

BLOCK = """
def block_count(d_model, d_ff, heads, kv_heads):
    kv = d_model // heads * kv_heads
    query = d_model * d_model + d_model
    key = value = d_model * kv + kv
    attention_out = d_model * d_model + d_model
    ffn_in = d_model * d_ff + d_ff
    ffn_out = d_ff * d_model + d_model
    norms = 2 * 2 * d_model
    return query + key + value + attention_out + ffn_in + ffn_out + norms
"""
FFN = "    ffn_in = d_model * d_ff + d_ff\n    ffn_out = d_ff * d_model + d_model\n"
KV = "d_model // heads * kv_heads"
SHORT = """
def block_count(d_model, d_ff, heads, kv_heads):
    kv = d_model // heads * kv_heads
    attention = 2 * (d_model * d_model + d_model) + 2 * (d_model * kv + kv)
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    return attention + feed_forward + 4 * d_model
"""

RIGHT["inside.block"] = {
    "part by part": BLOCK,
    "in brackets": SHORT,
    "a helper": """
def linear(n_in, n_out):
    return (n_in + 1) * n_out

def block_count(d_model: int, d_ff: int, heads: int, kv_heads: int) -> int:
    kv = kv_heads * (d_model // heads)
    layers = 2 * linear(d_model, d_model) + 2 * linear(d_model, kv)
    layers += linear(d_model, d_ff) + linear(d_ff, d_model)
    norm = 2 * d_model
    return layers + 2 * norm
""",
    "a list of shapes": """
def block_count(d_model, d_ff, heads, kv_heads):
    kv = d_model * kv_heads // heads
    shapes = [(d_model, d_model), (d_model,), (kv, d_model), (kv,)] * 2
    shapes += [(d_ff, d_model), (d_ff,), (d_model, d_ff), (d_model,)]
    shapes += [(d_model,)] * 4
    return sum(math.prod(shape) for shape in shapes)
""",
    "head by head": """
def block_count(d_model, d_ff, heads, kv_heads):
    one = d_model * (d_model // heads) + d_model // heads
    count = 0
    for query in range(heads):
        count += one
    for key_and_value in range(kv_heads):
        count += 2 * one
    count += d_model * d_model + d_model
    count += d_model * d_ff + d_ff
    count += d_ff * d_model + d_model
    for norm in range(2):
        count += d_model + d_model
    return count
""",
    "a dict": """
def block_count(d_model, d_ff, heads, kv_heads):
    outputs = {"query": d_model, "key": d_model * kv_heads // heads, "attention_out": d_model}
    outputs["value"] = outputs["key"]
    parts = {name: n_out * (d_model + 1) for name, n_out in outputs.items()}
    parts["ffn_in"] = d_ff * (d_model + 1)
    parts["ffn_out"] = d_model * (d_ff + 1)
    parts["norms"] = 4 * d_model
    return sum(parts.values())
""",
    "NumPy": """
import numpy as np

def block_count(d_model, d_ff, heads, kv_heads):
    kv = d_model // heads * kv_heads
    n_in = np.array([d_model] * 4 + [d_model, d_ff])
    n_out = np.array([d_model, kv, kv, d_model] + [d_ff, d_model])
    return (n_in * n_out + n_out).sum() + 4 * d_model
""",
    "layers that are built": """
def block_count(d_model, d_ff, heads, kv_heads):
    kv = d_model // heads * kv_heads
    layers = [nn.Linear(d_model, n_out) for n_out in (d_model, kv, kv, d_model)]
    layers += [nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)]
    layers += [nn.LayerNorm(d_model), nn.LayerNorm(d_model)]
    return sum(p.numel() for layer in layers for p in layer.parameters())
""",
}

NO_BIASES = but(SHORT, "(d_model * d_model + d_model)", "d_model**2", "(d_model * kv + kv)",
                "d_model * kv", "* d_ff + d_ff + d_model", "* d_ff")

WRONG["inside.block"] = {
    "all_as_wide": but(BLOCK, KV, "d_model"),
    "no_return": but(BLOCK, "return", "total ="),
    "not_whole": but(BLOCK, "2 * 2 * d_model", "4.0 * d_model"),
    "matrices_only": but(NO_BIASES, " + 4 * d_model", ""),
    "no_norms": but(BLOCK, " + norms", ""),
    "no_attention_biases": but(SHORT, "(d_model * d_model + d_model)", "d_model**2",
                               "(d_model * kv + kv)", "d_model * kv"),
    "no_brackets": (
        but(SHORT, "(d_model * d_model + d_model)", "d_model * d_model + d_model",
            "(d_model * kv + kv)", "d_model * kv + kv"),
        but(SHORT, "(d_model * d_model + d_model)", "d_model * d_model + d_model"),
        but(SHORT, "(d_model * kv + kv)", "d_model * kv + kv"),
        but(BLOCK, "attention_out = d_model * d_model + d_model",
            "attention_out = d_model * d_model")),
    "half_norms": but(BLOCK, "2 * 2 * d_model", "2 * d_model"),
    "no_biases": NO_BIASES,
    "one_key_value": but(BLOCK, "+ key + value", "+ key"),
    "wide_biases": (but(BLOCK, "value = d_model * kv + kv", "value = d_model * kv + d_model"),
                    but(BLOCK, "key = value = d_model * kv + kv",
                        "key = d_model * kv + kv\n    value = d_model * kv + d_model")),
    "all_shared": but(BLOCK, "query = d_model * d_model + d_model", "query = d_model * kv + kv",
                      "attention_out = d_model * d_model + d_model",
                      "attention_out = kv * d_model + kv"),
    "only_query_wide": (but(BLOCK, "attention_out = d_model * d_model + d_model",
                            "attention_out = d_model * kv + kv"),
                        but(BLOCK, "attention_out = d_model * d_model + d_model",
                            "attention_out = kv * d_model + d_model")),
    "kv_heads_as_width": but(BLOCK, KV, "kv_heads"),
    "one_head_wide": but(BLOCK, KV, "d_model // heads"),
    "ffn_bias": but(BLOCK, "* d_ff + d_ff", "* d_ff + d_model"),
    "ffn_out_bias": but(BLOCK, "* d_model + d_model\n    norms", "* d_model + d_ff\n    norms"),
    "attention_out_missing": but(BLOCK, " + attention_out +", " +"),
    "ffn_out_missing": but(BLOCK, " + ffn_out", ""),
    "four_d": but(BLOCK, FFN, FFN.replace("d_ff", "4 * d_model")),
    "no_ffn": but(BLOCK, " + ffn_in + ffn_out", ""),
    "no_attention": but(BLOCK, "query + key + value + attention_out + ", ""),
    "times_heads": (but(BLOCK, "return query", "return heads * query"),
                    but(BLOCK, "return query", "return heads * query",
                        " + attention_out +", " + heads * attention_out +")),
}

BEYOND["inside.block"] = but(BLOCK, "    ffn_in", "    d_ff = max(d_model, d_ff)\n    ffn_in")

# ── inside.ledger ────────────────────────────────────────────────────────────────────────────

LEDGER = """
def ledger(total, trained, bytes_each=4, moments=2):
    weights = total * bytes_each
    gradients = trained * bytes_each
    optimizer = moments * trained * bytes_each
    return {"weights": weights, "gradients": gradients, "optimizer": optimizer}
"""
OPTIMIZER = "optimizer = moments * trained * bytes_each"
RETURN = 'return {"weights": weights, "gradients": gradients, "optimizer": optimizer}'

RIGHT["inside.ledger"] = {
    "line by line": LEDGER,
    "one dict": """
def ledger(total: int, trained: int, bytes_each: int = 4, moments: int = 2) -> dict[str, int]:
    return {"weights": total * bytes_each, "gradients": trained * bytes_each,
            "optimizer": moments * trained * bytes_each}
""",
    "dict()": but(LEDGER, RETURN,
                  "return dict(optimizer=optimizer, weights=weights, gradients=gradients)"),
    "from the gradients": but(LEDGER, OPTIMIZER, "optimizer = moments * gradients"),
    "frozen and trained": """
def ledger(total, trained, bytes_each=4, moments=2):
    frozen = total - trained
    held = {"weights": frozen + trained, "gradients": trained, "optimizer": trained * moments}
    return {part: numbers * bytes_each for part, numbers in held.items()}
""",
    "zip": """
PARTS = ("weights", "gradients", "optimizer")

def ledger(total, trained, bytes_each=4, moments=2):
    return dict(zip(PARTS, [n * bytes_each for n in (total, trained, trained * moments)]))
""",
    "a loop over the moments": but(LEDGER, OPTIMIZER, """optimizer = 0
    for _ in range(moments):
        optimizer += gradients"""),
    "NumPy": """
import numpy as np

def ledger(total, trained, bytes_each=4, moments=2):
    held = np.array([total, trained, moments * trained]) * bytes_each
    return {"weights": held[0], "gradients": held[1], "optimizer": held[2]}
""",
    "a counter": """
from collections import Counter

def ledger(total, trained, bytes_each=4, moments=2):
    held = Counter()
    held["weights"] += total * bytes_each
    held["gradients"] += trained * bytes_each
    held["optimizer"] += trained * bytes_each * moments
    return held
""",
    "whole division": but(LEDGER, "bytes_each\n    gradients",
                          "(8 * bytes_each) // 8\n    gradients"),
}

WRONG["inside.ledger"] = {
    "numbers": but(LEDGER, "total * bytes_each", "total", "= trained * bytes_each", "= trained",
                   OPTIMIZER, "optimizer = moments * trained"),
    "no_return": but(LEDGER, "return {", "found = {"),
    "not_a_dict": (but(LEDGER, RETURN, "return weights, gradients, optimizer"),
                   but(LEDGER, RETURN, "return weights + gradients + optimizer")),
    "keys": (but(LEDGER, RETURN, 'return {"weights": weights}'),
             but(LEDGER, RETURN, "return {}"),
             but(LEDGER, '"optimizer": optimizer', '"moments": optimizer'),
             but(LEDGER, '"optimizer": optimizer',
                 '"optimizer": optimizer, "sum": weights + gradients + optimizer')),
    "not_whole": (but(LEDGER, "total * bytes_each", "total * bytes_each / 1e6"),
                  but(LEDGER, "total * bytes_each", "torch.tensor(total * bytes_each)")),
    "always_four": but(LEDGER, "total * bytes_each", "total * 4", "= trained * bytes_each",
                       "= trained * 4", OPTIMIZER, "optimizer = moments * trained * 4"),
    "moments_float32": but(LEDGER, OPTIMIZER, "optimizer = moments * trained * 4"),
    "all_train": but(LEDGER, "= trained * bytes_each", "= total * bytes_each",
                     OPTIMIZER, "optimizer = moments * total * bytes_each"),
    "gradients_of_all": but(LEDGER, "= trained * bytes_each", "= total * bytes_each"),
    "optimizer_of_all": but(LEDGER, OPTIMIZER, "optimizer = moments * total * bytes_each"),
    "one_moment": but(LEDGER, OPTIMIZER, "optimizer = trained * bytes_each"),
    "always_two": but(LEDGER, OPTIMIZER, "optimizer = 2 * trained * bytes_each"),
    "with_gradients": but(LEDGER, OPTIMIZER, "optimizer = (1 + moments) * trained * bytes_each"),
    "frozen_only": but(LEDGER, "total * bytes_each", "(total - trained) * bytes_each"),
    "trained_twice": but(LEDGER, "total * bytes_each", "(total + trained) * bytes_each"),
    "trained_only": but(LEDGER, "total * bytes_each", "trained * bytes_each"),
}

BEYOND["inside.ledger"] = but(
    LEDGER, "    weights", "    bytes_each = 4 if bytes_each == 4 else 2\n    weights")

# ── inside.activations ───────────────────────────────────────────────────────────────────────

ACTIVATIONS = """
def activation_bytes(batch, tokens, measured):
    (t1, bytes1), (t2, bytes2) = measured.items()
    b = (bytes2 / t2 - bytes1 / t1) / (t2 - t1)
    a = bytes1 / t1 - b * t1
    return batch * (a * tokens + b * tokens**2)
"""
LAW = "batch * (a * tokens + b * tokens**2)"
B = "(bytes2 / t2 - bytes1 / t1) / (t2 - t1)"
SORTED = but(ACTIVATIONS, "measured.items()", "sorted(measured.items())")

RIGHT["inside.activations"] = {
    "a line": ACTIVATIONS,
    "a linear system": """
def activation_bytes(batch, tokens, measured):
    lengths = torch.tensor([[t, t * t] for t in measured], dtype=torch.float64)
    sizes = torch.tensor(list(measured.values()), dtype=torch.float64)
    a, b = torch.linalg.solve(lengths, sizes).tolist()
    return batch * (a * tokens + b * tokens * tokens)
""",
    "rounded": but(ACTIVATIONS, LAW, f"round({LAW})"),
    "an integer": but(ACTIVATIONS, LAW, f"int({LAW})"),
    "lists": """
def activation_bytes(batch: int, tokens: int, measured: dict[int, int]) -> float:
    t1, t2 = list(measured)
    y1, y2 = [measured[t] / t for t in (t1, t2)]
    slope = (y2 - y1) / (t2 - t1)
    return batch * tokens * (y1 + slope * (tokens - t1))
""",
    "by elimination": """
def activation_bytes(batch, tokens, measured):
    t1, t2 = min(measured), max(measured)
    b = (t1 * measured[t2] - t2 * measured[t1]) / (t1 * t2 * (t2 - t1))
    a = (measured[t1] - b * t1**2) / t1
    one = a * tokens + b * tokens**2
    return one * batch
""",
    "polyfit": """
import numpy as np

def activation_bytes(batch, tokens, measured):
    lengths = np.array(list(measured))
    b, a = np.polyfit(lengths, np.array(list(measured.values())) / lengths, 1)
    return batch * (a * tokens + b * tokens**2)
""",
    "interpolated": """
def activation_bytes(batch, tokens, measured):
    (t1, bytes1), (t2, bytes2) = sorted(measured.items())
    w = (tokens - t1) / (t2 - t1)
    per_token = (1 - w) * bytes1 / t1 + w * bytes2 / t2
    return per_token * tokens * batch
""",
    "NumPy": """
import numpy as np

def activation_bytes(batch, tokens, measured):
    t = np.array(sorted(measured))
    a, b = np.linalg.solve(np.stack([t, t**2], axis=1), [measured[i] for i in t])
    return batch * np.dot([tokens, tokens**2], [a, b])
""",
    "fractions": """
from fractions import Fraction

def activation_bytes(batch, tokens, measured):
    (t1, bytes1), (t2, bytes2) = measured.items()
    b = (Fraction(bytes2, t2) - Fraction(bytes1, t1)) / (t2 - t1)
    a = Fraction(bytes1, t1) - b * t1
    return float(batch * (a * tokens + b * tokens**2))
""",
}

WRONG["inside.activations"] = {
    "proportional": (
        but(ACTIVATIONS, LAW, "batch * bytes1 / t1 * tokens"),
        but(SORTED, LAW, "batch * bytes1 / t1 * tokens"),
        but(SORTED, LAW, "batch * bytes2 / t2 * tokens")),
    "no_return": but(ACTIVATIONS, "return", "found ="),
    "not_a_number": (but(ACTIVATIONS, LAW, f"[{LAW}]"), but(ACTIVATIONS, LAW, "batch > 0"),
                     but(ACTIVATIONS, LAW, f'f"{{{LAW}}} bytes"')),
    "straight_line": (
        but(ACTIVATIONS, B, "(bytes2 - bytes1) / (t2 - t1)", "bytes1 / t1 - b * t1",
            "bytes1 - b * t1", LAW, "batch * (a + b * tokens)"),
        but(ACTIVATIONS, B, "(bytes2 - bytes1) / (t2 - t1)", LAW, "batch * b * tokens")),
    "squares_only": (but(SORTED, LAW, "batch * bytes1 * (tokens / t1)**2"),
                     but(SORTED, LAW, "batch * bytes2 * (tokens / t2)**2")),
    "no_batch": but(ACTIVATIONS, LAW, "a * tokens + b * tokens**2"),
    "batch_squared": (but(ACTIVATIONS, LAW, "a * batch * tokens + b * (batch * tokens)**2"),
                      but(ACTIVATIONS, LAW, f"batch * {LAW}")),
    "batch_once": (but(ACTIVATIONS, LAW, "batch * a * tokens + b * tokens**2"),
                   but(ACTIVATIONS, LAW, "a * tokens + batch * b * tokens**2")),
    "swapped": but(ACTIVATIONS, LAW, "batch * (b * tokens + a * tokens**2)"),
    "no_pairs": but(ACTIVATIONS, LAW, "batch * a * tokens"),
    "pairs_alone": but(ACTIVATIONS, LAW, "batch * b * tokens**2"),
    "b_not_squared": but(ACTIVATIONS, LAW, "batch * (a * tokens + b * tokens)"),
    "times_tokens_missing": but(ACTIVATIONS, LAW, "batch * (a + b * tokens)"),
    "not_divided": (
        but(SORTED, B, "(bytes2 - bytes1) / (t2 - t1)", "bytes1 / t1 - b * t1",
            "(bytes1 - b * t1) / t1"),
        but(SORTED, B, "(bytes2 - bytes1) / (t2 - t1)", "bytes1 / t1 - b * t1",
            "bytes1 - b * t1")),
    "by_squares": (
        but(SORTED, B, "(bytes2 - bytes1) / (t2**2 - t1**2)", "bytes1 / t1 - b * t1",
            "(bytes1 - b * t1**2) / t1"),
        but(SORTED, B, "(bytes2 - bytes1) / (t2**2 - t1**2)")),
    "input_changed": but(ACTIVATIONS, "measured.items()", "measured.popitem(), measured.popitem()"),
    "whole_division": (
        but(ACTIVATIONS, B, B.replace("/", "//"), "a = bytes1 / t1", "a = bytes1 // t1"),
        but(ACTIVATIONS, B, B.replace("/", "//")),
        but(ACTIVATIONS, B, B.replace(") / (", ") // (")),
        but(ACTIVATIONS, "a = bytes1 / t1", "a = bytes1 // t1"),
        but(RIGHT["inside.activations"]["by elimination"], ") / (t1 * t2", ") // (t1 * t2"),
        but(RIGHT["inside.activations"]["by elimination"], "/ t1\n", "// t1\n")),
    "fixed_lengths": """
def activation_bytes(batch, tokens, measured):
    b = (measured[128] / 128 - measured[32] / 32) / (128 - 32)
    a = measured[32] / 32 - b * 32
    return batch * (a * tokens + b * tokens**2)
""",
}

BEYOND["inside.activations"] = but(
    RIGHT["inside.activations"]["a linear system"], "list(measured.values()), dtype=torch.float64)",
    "list(measured.values()), dtype=torch.int32).double()")
