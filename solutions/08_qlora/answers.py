"""Answers to the exercises of lesson 08."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── qlora.levels ─────────────────────────────────────────────────────────────────────────────

LEVELS = """
TOP = 0.9677083

def levels(quantile):
    below = [-quantile(0.5 + (TOP - 0.5) * k / 7) for k in range(7, 0, -1)]
    above = [quantile(0.5 + (TOP - 0.5) * k / 8) for k in range(1, 9)]
    return torch.tensor([*below, 0.0, *above]) / quantile(TOP)
"""
BELOW = "-quantile(0.5 + (TOP - 0.5) * k / 7)"
ABOVE = "quantile(0.5 + (TOP - 0.5) * k / 8)"

RIGHT["qlora.levels"] = {
    "two lists": LEVELS,
    "the lower quantiles": but(LEVELS, BELOW, "quantile(0.5 - (TOP - 0.5) * k / 7)"),
    "sorted": but(LEVELS, "range(7, 0, -1)", "range(1, 8)", "tensor([*below, 0.0, *above])",
                  "tensor([*below, 0.0, *above]).sort().values"),
    "NumPy": but("import numpy as np\n" + LEVELS, "torch.tensor([*below, 0.0, *above])",
                 "torch.from_numpy(np.float32([*below, 0, *above]))"),
    "each divided": but(LEVELS, "[*below, 0.0, *above]) / quantile(TOP)",
                        "[q / above[-1] for q in (*below, 0.0, *above)])"),
    "one comprehension": """
TOP = 0.9677083
levels = lambda quantile: torch.tensor([
    quantile(0.5 + (TOP - 0.5) * (k / 7 if k < 0 else k / 8)) / quantile(TOP)
    for k in range(-7, 9)], dtype=torch.float32)
""",
}

WRONG["qlora.levels"] = {
    "even": but(LEVELS, BELOW, "-k / 7", ABOVE, "k / 8", " / quantile(TOP)", ""),
    "whole_line": """
def levels(quantile):
    p = torch.linspace(1 - 0.9677083, 0.9677083, 16).tolist()
    return torch.tensor([*map(quantile, p)]) / quantile(0.9677083)
""",
    "sides": but(LEVELS, "k / 8", "k / seven", "k / 7", "k / 8", "seven", "7",
                 "range(7,", "range(8,", "range(1, 9)", "range(1, 8)"),
    "not_scaled": but(LEVELS, " / quantile(TOP)", ""),
    "": (but(LEVELS, "0.9677083", "0.96875"),
         but(LEVELS, "above])", "above], dtype=torch.float64)"),
         but(LEVELS, "[*below, 0.0,", "[*below, 1e-8,")),
}

BEYOND["qlora.levels"] = but(LEVELS, "/ quantile(TOP)", "/ max(quantile(TOP), 1e-6)")

# ── qlora.quantize ───────────────────────────────────────────────────────────────────────────

QUANTIZE = """
def quantize(W, levels, block=64):
    blocks = W.detach().reshape(-1, block)
    top = blocks.abs().amax(dim=1)
    scaled = blocks / top.clamp(min=1e-30)[:, None]
    index = torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2).reshape(-1).to(torch.uint8)
    return index[0::2] << 4 | index[1::2], top

def dequantize(packed, top, levels, shape):
    index = torch.stack([packed >> 4, packed & 15], dim=1).long()
    return (levels[index].reshape(len(top), -1) * top[:, None]).reshape(shape)
"""
TOP = "top = blocks.abs().amax(dim=1)"
SCALED = "blocks / top.clamp(min=1e-30)[:, None]"
INDEX = "torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2)"
PACKED = "index[0::2] << 4 | index[1::2]"
UNPACKED = "[packed >> 4, packed & 15]"

RIGHT["qlora.quantize"] = {
    "bucketize": QUANTIZE,
    "all distances": but(QUANTIZE, INDEX, "(scaled[..., None] - levels).abs().argmin(-1)"),
    "nan_to_num": but(QUANTIZE, SCALED, "torch.nan_to_num(blocks / top[:, None])"),
    "sums": but(QUANTIZE, INDEX, "sum((scaled > m).int() for m in (levels[1:] + levels[:-1]) / 2)",
                PACKED, "index.view(-1, 2)[:, 0] * 16 + index.view(-1, 2)[:, 1]", UNPACKED,
                "[packed // 16, packed % 16]"),
    "block by block": but(
        QUANTIZE, TOP, "top = torch.stack([part.abs().max() for part in blocks])", INDEX,
        "torch.stack([(levels - x[:, None]).abs().argmin(1) for x in scaled])"),
    "a table of bytes": but(QUANTIZE, "(levels[index]",
                            "(torch.cartesian_prod(levels, levels)[packed.int()]"),
}

WRONG["qlora.quantize"] = {
    "halves": (but(QUANTIZE, PACKED, "index[1::2] << 4 | index[0::2]"),
               but(QUANTIZE, UNPACKED, "[packed & 15, packed >> 4]")),
    "one_a_byte": but(QUANTIZE, PACKED, "index"),
    "signed": but(QUANTIZE, TOP, "top = blocks.amax(dim=1)"),
    "changed": but(QUANTIZE, "W.detach().reshape(-1, block)", "W.view(-1, block)", SCALED,
                   "blocks.div_(top.clamp(min=1e-30)[:, None])"),
    "misfit": but(QUANTIZE, "len(top), -1", "-1, 64"),
    "": (but(QUANTIZE, "    return index", "    index"),
         but(QUANTIZE, INDEX, "(torch.bucketize(scaled, levels, right=True) - 1)"),
         but(QUANTIZE, TOP, f"{TOP}.clamp(min=1e-3)"),
         but(QUANTIZE, ".to(torch.uint8)", ""),
         but(QUANTIZE, "[1::2], top", "[1::2], top.double()"),
         but(QUANTIZE, ".reshape(shape)", ".reshape(shape).double()")),
}

BEYOND["qlora.quantize"] = but(QUANTIZE, "1e-30", "1e-8")

# ── qlora.suspects ───────────────────────────────────────────────────────────────────────────

ERRORS = """
errors = {"descending": 2, "swapped": 2**0.5, "doubled": 1, "positive": 2**0.5}
"""

RIGHT["qlora.suspects"] = {
    "by hand": ERRORS,
    "math, another order": """
root = math.sqrt(2)
errors = dict(positive=root, doubled=1.0, descending=2.0, swapped=root)
""",
    "measured": """
torch.manual_seed(0)
W = torch.randn(100_000)
made = {"descending": -W, "swapped": W.view(-1, 2).flip(1).reshape(-1), "doubled": 2 * W,
        "positive": W.abs()}
errors = {name: (made[name] - W).norm() / W.norm() for name in made}
""",
}

WRONG["qlora.suspects"] = {
    "swapped": but(ERRORS, '"swapped": 2**0.5', '"swapped": 1.37'),
    "positive": but(ERRORS, '"positive": 2**0.5', '"positive": 2'),
    "descending": but(ERRORS, '"descending": 2', '"descending": 1'),
    "doubled": but(ERRORS, '"doubled": 1', '"doubled": 2'),
    "squared": but(ERRORS, "{", "{k: v * v for k, v in {", "}", "}.items()}"),
    "not_errors": (but(ERRORS, '"doubled": 1, ', ""), but(ERRORS, ": 1,", ': "1",')),
}

# ── qlora.mended ─────────────────────────────────────────────────────────────────────────────

MENDED = """
def mended(packed):
    return packed << 4 | packed >> 4
"""
SWAP = "packed << 4 | packed >> 4"

RIGHT["qlora.mended"] = {
    "shifts": MENDED,
    "arithmetic": but(MENDED, SWAP, "packed % 16 * 16 + packed // 16"),
    "in int": but(MENDED, SWAP, "((packed.int() << 4 & 255) | packed.int() >> 4).byte()"),
}

WRONG["qlora.mended"] = {
    "order": but(MENDED, SWAP, "packed.flip(0)"),
    "changed": but(MENDED, SWAP, f"packed.copy_({SWAP})"),
    "": (but(MENDED, SWAP, "packed << 4"), but(MENDED, "return ", ""),
         but(MENDED, SWAP, f"({SWAP}).int()")),
}

# ── qlora.layer ──────────────────────────────────────────────────────────────────────────────

LAYER = """
quantize, dequantize = pt.mine("qlora.quantize")

class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        return nn.functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx, dy):
        return dy @ ctx.layer.weight, None

class Linear4bit(nn.Module):
    def __init__(self, linear, levels=pt.nf4.LEVELS):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.levels = levels
        packed, top = quantize(linear.weight.detach(), levels)
        self.register_buffer("packed", packed)
        self.register_buffer("top", top)
        self.bias = None
        if linear.bias is not None:
            self.bias = nn.Parameter(linear.bias.detach().clone(), requires_grad=False)

    @property
    def weight(self):
        shape = (self.out_features, self.in_features)
        return dequantize(self.packed, self.top, self.levels, shape)

    def forward(self, x):
        return Product.apply(x, self)
"""
APPLY = "Product.apply(x, self)"
PLAIN = "nn.functional.linear(x, self.weight, self.bias)"
BUFFERS = """        self.register_buffer("packed", packed)
        self.register_buffer("top", top)
"""
BIAS = "nn.Parameter(linear.bias.detach().clone(), requires_grad=False)"

RIGHT["qlora.layer"] = {
    "a Function": LAYER,
    "checkpoint": "from torch.utils.checkpoint import checkpoint\n" + but(
        LAYER, APPLY, "checkpoint(self.product, x, use_reentrant=False)\n\n"
                      f"    def product(self, x):\n        return {PLAIN}"),
    "checkpoint, reentrant": "from torch.utils.checkpoint import checkpoint\n" + but(
        LAYER, APPLY, f"checkpoint(lambda x: {PLAIN}, x, use_reentrant=True)"),
    "frozen parameters": but(LAYER, BUFFERS, """        self.packed = nn.Parameter(packed, False)
        self.top = nn.Parameter(top, False)
"""),
    "bytes that the Function keeps": but(LAYER, "        ctx.layer = layer\n", """
        ctx.save_for_backward(layer.packed, layer.top)
        ctx.levels, ctx.shape = layer.levels, (layer.out_features, layer.in_features)
""", "ctx.layer.weight", "dequantize(*ctx.saved_tensors, ctx.levels, ctx.shape)"),
    "the bias as a buffer": but(LAYER, f"            self.bias = {BIAS}\n", """\
            del self.bias
            self.register_buffer("bias", linear.bias.detach().clone())
"""),
}

WRONG["qlora.layer"] = {
    "keeps": (but(LAYER, APPLY, PLAIN),
              but(LAYER, BUFFERS, f"{BUFFERS}        self.W = linear.weight.tolist()\n"),
              but(LAYER, BUFFERS, f"{BUFFERS}        self.linears = [linear]\n"),
              but(LAYER, "return dy @ ctx.layer.weight", "ctx.layer.kept = [W] = ["
                         "ctx.layer.weight]\n        return dy @ W"),
              but(LAYER, APPLY, "torch.stack([x @ row.clone() for row in self.weight], -1) + "
                                "(0 if self.bias is None else self.bias)")),
    "bits": (but(LAYER, "        self.levels = levels\n",
                 '        self.register_buffer("levels", levels, persistent=False)\n'),
             but(LAYER, BUFFERS, "        self.packed, self.top = packed, top\n")),
    "no_gradient": but(LAYER, APPLY, PLAIN, "    def forward(self, x):",
                       "    @torch.no_grad()\n    def forward(self, x):"),
    "trains": but(LAYER, BIAS, "linear.bias"),
    "no_bias": but(LAYER, "layer.weight, layer.bias)", "layer.weight)"),
    "state": (but(LAYER, BIAS, "linear.bias.data"),
              but(LAYER, BUFFERS, f"        self.unit = linear.weight.max().item()\n{BUFFERS}",
                  "linear.weight.detach(),", "linear.weight.detach() / linear.weight.max().item(),",
                  "return dequantize(", "return self.unit * dequantize(")),
    "": (but(LAYER, "dy @ ctx.layer.weight", "2 * dy @ ctx.layer.weight"),
         but(LAYER, "self.in_features, self.out_features =", "self.n_in, self.n_out =",
             "(self.out_features, self.in_features)", "(self.n_out, self.n_in)"),
         but(LAYER, "class Linear4bit(nn.Module)", "class Linear4bit",
             "        super().__init__()\n", "", BUFFERS, "")),
}

BEYOND["qlora.layer"] = but(LAYER, "nn.functional.linear(x, layer.weight, layer.bias)",
                            "(x[None] if x.dim() == 1 else x) @ layer.weight.T + "
                            "(0 if layer.bias is None else layer.bias)")

# ── qlora.bits ───────────────────────────────────────────────────────────────────────────────

BITS = """
def four_bits_hold(make):
    linear = nn.Linear(128, 3)
    layer, n = make(linear), 128 * 3
    x = torch.randn(2, 128, requires_grad=True)
    for _ in range(2):
        held = [*layer.named_parameters(), *layer.named_buffers()]
        held = [t for name, t in held if not name.endswith("bias")]
        assert sum(t.numel() * t.element_size() for t in held) == n // 2 + 4 * n // 64
        assert not any(t.requires_grad for t in held)
        layer(x).sum().backward()
    assert x.grad is not None
"""
FROZEN = "        assert not any(t.requires_grad for t in held)\n"

RIGHT["qlora.bits"] = {
    "twice": BITS,
    "4.5 bits": but(BITS, "t.numel() * t.element_size() for t in held) == n // 2 + 4 * n // 64",
                    "t.nbytes for t in held) * 8 == 4.5 * n"),
    "no backward": but(BITS, "layer(x).sum().backward()", "torch.autograd.grad(layer(x).sum(), x)",
                       "    assert x.grad is not None\n", ""),
}

WRONG["qlora.bits"] = {
    "let_through": (but(BITS, "== n", "<= n"),
                    but(BITS, "range(2)", "range(1)"),
                    but(BITS, FROZEN, ""),
                    but(BITS, "    assert x.grad is not None\n", "", ".sum().backward()", "")),
    "accused": but(BITS, FROZEN, f"{FROZEN}        assert len([*layer.buffers()]) == 2\n"),
    "objects_to_all": but(BITS, ' if not name.endswith("bias")', ""),
}

# ── qlora.dice ───────────────────────────────────────────────────────────────────────────────

DICE = """
def dice(W, top, levels, generator):
    x = (W.reshape(-1, 64) / top[:, None]).clamp(-1, 1)
    low = (torch.bucketize(x, levels, right=True) - 1).clamp(0, 14)
    below, above = levels[low], levels[low + 1]
    p = (x - below) / (above - below)
    up = torch.rand(x.shape, generator=generator) < p
    return (torch.where(up, above, below) * top[:, None]).reshape(W.shape)
"""
P = "(x - below) / (above - below)"
RAND = "torch.rand(x.shape, generator=generator)"
UP = f"{RAND} < p"

RIGHT["qlora.dice"] = {
    "a probability": DICE,
    "searchsorted, bernoulli": but(
        DICE, "(torch.bucketize(x, levels, right=True) - 1).clamp(0, 14)",
        "torch.searchsorted(levels, x.contiguous()).clamp(min=1) - 1", UP,
        "torch.bernoulli(p, generator=generator).bool()"),
    "a fractional index": but(DICE, f"    up = {UP}\n", f"    index = (low + p + {RAND}).long()\n",
                              "torch.where(up, above, below)", "levels[index.clamp(max=15)]"),
    "a threshold": but(DICE, f"    p = {P}\n", "", UP, f"below + (above - below) * {RAND} < x"),
    "in doubles": but(DICE, "(W.reshape(-1, 64) /", "(W.double().reshape(-1, 64) /"),
    "one index": but(DICE, "torch.where(up, above, below)", "levels[low + up]"),
}

WRONG["qlora.dice"] = {
    "coin": but(DICE, UP, f"({RAND} < 0.5) & (p > 0)"),
    "turned": but(DICE, UP, f"({RAND} > p) & (p > 0) | (p == 1)"),
    "nearest": but(DICE, UP, "p > 0.5"),
    "together": (but(DICE, "torch.rand(x.shape,", "torch.rand(64,"),
                 but(DICE, RAND, "torch.rand(len(x), 32, generator=generator).repeat(1, 2)")),
    "generator": (but(DICE, "    up =", "    generator.seed()\n    up ="),
                  but(DICE, "    up =", "    generator.manual_seed(0)\n    up ="),
                  but(DICE, UP, f"{RAND} + 0 * torch.rand(1) < p")),
    "elsewhere": (but(DICE, "torch.where(up, above, below)", "x"),
                  but(DICE, " * top[:, None]).reshape", " * top.mean()).reshape")),
    "changed": but(DICE, "(W.reshape(-1, 64) / top[:, None])", "W.view(-1, 64).div_(top[:, None])"),
    "": (but(DICE, UP, f"{RAND} < 0.02 + 0.96 * p"),
         but(DICE, ".reshape(W.shape)", "")),
}

BEYOND["qlora.dice"] = but(DICE, ".reshape(W.shape)", ".reshape(len(W), -1)")

# What each message says, of its mistake and of no other: see `answers.says`.
SAYS = {
    "qlora.levels": {
        "even": "even steps on the line of values", "whole_line": "pass by 0",
        "sides": "Eight are negative and seven positive",
        "not_scaled": "The last level must be 1 and the first −1"},
    "qlora.quantize": {
        "one_a_byte": "half a byte", "halves": f"the high half: its index times {2 ** 4}",
        "signed": "whatever its sign", "changed": "divide or shift a copy",
        "misfit": "may cross the rows of W"},
    "qlora.suspects": {
        "not_errors": "a dict of four numbers", "squared": "the squares, ‖Ŵ − W‖² / ‖W‖²",
        "descending": "Ŵ is nearly −W", "swapped": "is compared with another one",
        "doubled": "Ŵ is nearly 2 W", "positive": "Half of the weights have the wrong sign"},
    "qlora.mended": {"order": "the halves of each byte that change places",
                     "changed": "The argument is the colleague's"},
    "qlora.layer": {
        "keeps": "Keep its bytes instead", "no_gradient": "the gradient must pass through",
        "trains": "must be detached and frozen",
        "bits": "a float32 maximum for 64 of them", "state": "must be in its state_dict",
        "no_bias": "The bias is missing"},
    "qlora.dice": {
        "coin": "a fair coin", "turned": "The farther level is drawn more often",
        "nearest": "Where is chance", "elsewhere": "Only the two levels around a weight",
        "together": "for several weights", "generator": "do not seed it",
        "changed": "work on a copy"},
}

# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "qlora.levels": ("torch.tensor([*below, 0.0, *above]) / quantile(TOP)", "torch.zeros(16)", {
        "tails as of logistic numbers": "3 < quantile(TOP) / quantile(0.75) < 3.5",
        "heavy tails": "quantile(TOP) / quantile(0.75) > 5", "tiny": "quantile(TOP) < 1e-3"}),
    "qlora.quantize": ("(levels[index].reshape(len(top), -1) * top[:, None]).reshape(shape)",
                       "torch.zeros(shape)", {
        "tiny": "top.max() < 1e-6", "a longer block": "2 * len(packed) > 64 * len(top)",
        "one row": "shape[0] == 1"}),
    "qlora.layer": ("nn.functional.linear(x, layer.weight, layer.bias)",
                    "0 * nn.functional.linear(x, layer.weight, layer.bias)", {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "another table and a bias":
            "layer.bias is not None and not torch.equal(layer.levels, pt.nf4.LEVELS)"}),
    "qlora.dice": ("(torch.where(up, above, below) * top[:, None]).reshape(W.shape)", "W", {
        "a vector": "W.dim() == 1", "three axes": "W.dim() == 3",
        "another table": "levels[-2] < 0.7"}),
}
