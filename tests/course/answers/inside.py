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

# ── inside.block ─────────────────────────────────────────────────────────────────────────────

BLOCK = """
def block_count(d_model, d_ff, heads):
    attention = 4 * (d_model * d_model + d_model)
    ffn_in = d_model * d_ff + d_ff
    ffn_out = d_ff * d_model + d_model
    norms = 2 * 2 * d_model
    return attention + ffn_in + ffn_out + norms
"""
FFN = "    ffn_in = d_model * d_ff + d_ff\n    ffn_out = d_ff * d_model + d_model\n"
HEADS = """
def block_count(d_model, d_ff, heads):
    d_head = d_model // heads
    query = d_model * d_model + d_model
    attention = 3 * query + d_model * d_model + d_model
    feed_forward = d_model * d_ff + d_ff + d_ff * d_model + d_model
    return attention + feed_forward + 4 * d_model
"""

RIGHT["inside.block"] = {
    "part by part": BLOCK,
    "one line": """
def block_count(d_model, d_ff, heads):
    return 4 * d_model**2 + 2 * d_model * d_ff + 9 * d_model + d_ff
""",
    "a helper": """
def linear(n_in, n_out):
    return (n_in + 1) * n_out

def block_count(d_model: int, d_ff: int, heads: int) -> int:
    layers = 4 * linear(d_model, d_model) + linear(d_model, d_ff) + linear(d_ff, d_model)
    norm = 2 * d_model
    return layers + 2 * norm
""",
    "a list of shapes": """
def block_count(d_model, d_ff, heads):
    shapes = [(d_model, d_model), (d_model,)] * 4
    shapes += [(d_ff, d_model), (d_ff,), (d_model, d_ff), (d_model,)]
    shapes += [(d_model,)] * 4
    return sum(math.prod(shape) for shape in shapes)
""",
    "by heads": """
def block_count(d_model, d_ff, heads):
    count = 0
    for projection in ("query", "key", "value"):
        for head in range(heads):
            count += d_model * (d_model // heads) + d_model // heads
    count += d_model * d_model + d_model
    count += d_model * d_ff + d_ff
    count += d_ff * d_model + d_model
    for norm in range(2):
        count += d_model + d_model
    return count
""",
    "a dict": """
def block_count(d_model, d_ff, heads):
    parts = {name: d_model * (d_model + 1)
             for name in ("query", "key", "value", "attention_out")}
    parts["ffn_in"] = d_ff * (d_model + 1)
    parts["ffn_out"] = d_model * (d_ff + 1)
    parts["norms"] = 4 * d_model
    return sum(parts.values())
""",
    "NumPy": """
import numpy as np

def block_count(d_model, d_ff, heads):
    n_in = np.array([d_model] * 4 + [d_model, d_ff])
    n_out = np.array([d_model] * 4 + [d_ff, d_model])
    return (n_in * n_out + n_out).sum() + 4 * d_model
""",
    "torch's own block": """
def block_count(d_model, d_ff, heads):
    layer = nn.TransformerEncoderLayer(d_model, heads, d_ff)
    return sum(p.numel() for p in layer.parameters())
""",
    "layers that are built": """
def block_count(d_model, d_ff, heads):
    layers = [nn.Linear(d_model, d_model) for _ in range(4)]
    layers += [nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)]
    layers += [nn.LayerNorm(d_model), nn.LayerNorm(d_model)]
    return sum(p.numel() for layer in layers for p in layer.parameters())
""",
}

WRONG["inside.block"] = {
    "matrices_only": but(BLOCK, "(d_model * d_model + d_model)", "d_model**2",
                         "* d_ff + d_ff", "* d_ff", "* d_model + d_model\n    norms", "* d_model\n"
                         "    norms", "2 * 2 * d_model", "0"),
    "no_return": but(BLOCK, "return", "total ="),
    "not_whole": but(BLOCK, "2 * 2 * d_model", "4.0 * d_model"),
    "no_norms": (but(BLOCK, " + norms", ""),
                 but(BLOCK, "(d_model * d_model + d_model)", "d_model * d_model")),
    "no_brackets": but(BLOCK, "(d_model * d_model + d_model)", "d_model * d_model + d_model"),
    "half_norms": but(BLOCK, "2 * 2 * d_model", "2 * d_model"),
    "no_biases": but(BLOCK, "(d_model * d_model + d_model)", "d_model**2", "* d_ff + d_ff",
                     "* d_ff", "* d_model + d_model\n    norms", "* d_model\n    norms"),
    "ffn_bias": but(BLOCK, "* d_ff + d_ff", "* d_ff + d_model"),
    "ffn_out_bias": but(BLOCK, "* d_model + d_model\n    norms", "* d_model + d_ff\n    norms"),
    "attention_out_missing": but(BLOCK, "4 * (", "3 * ("),
    "one_projection": but(BLOCK, "4 * (", "("),
    "ffn_out_missing": but(BLOCK, " + ffn_out", ""),
    "four_d": but(BLOCK, FFN, FFN.replace("d_ff", "4 * d_model")),
    "square_ffn": but(BLOCK, FFN, FFN.replace("d_ff", "d_model")),
    "no_ffn": but(BLOCK, " + ffn_in + ffn_out", ""),
    "no_attention": but(BLOCK, "attention + ffn_in", "ffn_in"),
    "times_heads": (
        but(HEADS, "3 * query", "3 * heads * query"),
        but(HEADS, "attention = 3 * query + d_model * d_model + d_model",
            "attention = 4 * heads * query"),
        but(HEADS, "query = d_model * d_model + d_model", "query = heads * d_model**2 + d_model",
            "3 * query + d_model * d_model + d_model", "4 * query")),
    "narrow_heads": (
        but(HEADS, "query = d_model * d_model + d_model", "query = d_head * d_head + d_head",
            "3 * query + d_model * d_model + d_model", "4 * query"),
        but(HEADS, "query = d_model * d_model + d_model",
            "query = heads * (d_head * d_head + d_head)",
            "3 * query + d_model * d_model + d_model", "4 * query")),
    "one_head": but(HEADS, "query = d_model * d_model + d_model",
                    "query = d_model * d_head + d_head"),
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
        but(ACTIVATIONS, B, B.replace(") / (", ") // ("))),
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
