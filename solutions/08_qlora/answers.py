"""Answers to the exercises of lesson 08."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── qlora.levels ─────────────────────────────────────────────────────────────────────────────

LEVELS = "TOP = 0.9677083\n\n\n" + solution("qlora.levels")
QUANTILE = "quantile(0.5 + (TOP - 0.5) * step / count)"
BELOW, ABOVE = "reversed(side(7))]", "side(8)"
SCALED = "torch.tensor(marks, dtype=torch.float64).div(marks[-1]).float()"

RIGHT["qlora.levels"] = {
    "the solution": LEVELS,
    "the lower quantiles": but(LEVELS, f"-mark for mark in {BELOW}",
                               "quantile(0.5 - (TOP - 0.5) * k / 7) for k in range(7, 0, -1)]"),
    "sorted": but(LEVELS, BELOW, "side(7)]", ".float()", ".float().sort().values"),
    "NumPy": but("import numpy as np\n" + LEVELS, SCALED,
                 "torch.from_numpy(np.float32(marks)) / marks[-1]"),
    "each divided": but(LEVELS, SCALED, "torch.tensor([mark / marks[-1] for mark in marks])"),
    "one comprehension": """
TOP = 0.9677083
levels = lambda quantile: torch.tensor([
    quantile(0.5 + (TOP - 0.5) * (k / 7 if k < 0 else k / 8)) / quantile(TOP)
    for k in range(-7, 9)], dtype=torch.float32)
""",
}

WRONG["qlora.levels"] = {
    "even": but(LEVELS, QUANTILE, "step / count"),
    "whole_line": """
def levels(quantile):
    p = torch.linspace(1 - 0.9677083, 0.9677083, 16).tolist()
    return torch.tensor([*map(quantile, p)]) / quantile(0.9677083)
""",
    "sides": but(LEVELS, ABOVE, "side(7)", BELOW, "reversed(side(8))]"),
    "not_scaled": but(LEVELS, ".div(marks[-1])", ""),
    "": (but(LEVELS, "0.9677083", "0.96875"), but(LEVELS, ".float()", ""),
         but(LEVELS, "[0.0]", "[1e-8]")),
}

BEYOND["qlora.levels"] = but(LEVELS, "div(marks[-1])", "div(max(marks[-1], 1e-6))")

# ── qlora.quantize ───────────────────────────────────────────────────────────────────────────

QUANTIZE = solution("qlora.quantize")
TOP = "top = groups.abs().amax(dim=1)"
UNITS = "groups / top.clamp_min(1e-38)[:, None]"
INDEX = "torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2)"
PACKED = "index[:, 0] * 16 + index[:, 1]"
UNPACKED = "[packed // 16, packed % 16]"
BACK = "(levels[index].reshape(len(top), -1) * top[:, None]).reshape(shape)"

RIGHT["qlora.quantize"] = {
    "all distances": but(QUANTIZE, INDEX, "(scaled[..., None] - levels).abs().argmin(-1)"),
    "nan_to_num": but(QUANTIZE, UNITS, "torch.nan_to_num(groups / top[:, None])"),
    "sums and shifts": but(
        QUANTIZE, INDEX, "sum((scaled > m).int() for m in (levels[1:] + levels[:-1]) / 2)",
        PACKED, "index[:, 0] << 4 | index[:, 1]", UNPACKED, "[packed >> 4, packed & 15]"),
    "group by group": but(
        QUANTIZE, TOP, "top = torch.stack([part.abs().max() for part in groups])", INDEX,
        "torch.stack([(levels - x[:, None]).abs().argmin(1) for x in scaled])"),
    "a table of bytes": but(QUANTIZE, "(levels[index]",
                            "(torch.cartesian_prod(levels, levels)[packed.int()]"),
}

WRONG["qlora.quantize"] = {
    "halves": (but(QUANTIZE, PACKED, "index[:, 1] * 16 + index[:, 0]"),
               but(QUANTIZE, UNPACKED, "[packed % 16, packed // 16]")),
    "one_a_byte": but(QUANTIZE, PACKED, "index.reshape(-1)"),
    "signed": but(QUANTIZE, TOP, "top = groups.amax(dim=1)"),
    "changed": but(QUANTIZE, "W.detach().float().reshape(-1, group)", "W.view(-1, group)", UNITS,
                   "groups.div_(top.clamp_min(1e-38)[:, None])"),
    "misfit": but(QUANTIZE, "len(top), -1", "-1, 64"),
    "": (but(QUANTIZE, "    return index", "    index"),
         but(QUANTIZE, INDEX, "(torch.bucketize(scaled, levels, right=True) - 1)"),
         but(QUANTIZE, TOP, f"{TOP}.clamp(min=1e-3)"),
         but(QUANTIZE, ".to(torch.uint8)", ""),
         but(QUANTIZE, f"{PACKED}, top", f"{PACKED}, top.double()"),
         but(QUANTIZE, ".reshape(shape)", ".reshape(shape).double()")),
}

BEYOND["qlora.quantize"] = but(QUANTIZE, "1e-38", "1e-8")

# ── qlora.layer ──────────────────────────────────────────────────────────────────────────────

LAYER = 'quantize, dequantize = pt.mine("qlora.quantize")\n\n\n' + solution("qlora.layer")
CHECKPOINT = "torch.utils.checkpoint.checkpoint(product, x, use_reentrant=False)"
PRODUCT = "torch.nn.functional.linear(x, self.weight, self.bias)"
BUFFERS = """        self.register_buffer("packed", packed)
        self.register_buffer("top", top)
"""
BIAS = 'self.register_buffer("bias", bias)'
FUNCTION = """
class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        return nn.functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx, dy):
        return dy @ ctx.layer.weight, None

""" + but(LAYER, CHECKPOINT, "Product.apply(x, self)")

RIGHT["qlora.layer"] = {
    "the solution": LAYER,
    "a Function": FUNCTION,
    "checkpoint, reentrant": but(LAYER, "use_reentrant=False", "use_reentrant=True"),
    "frozen parameters": but(LAYER, BUFFERS, """        self.packed = nn.Parameter(packed, False)
        self.top = nn.Parameter(top, False)
"""),
    "bytes that the Function keeps": but(FUNCTION, "        ctx.layer = layer\n", """
        ctx.save_for_backward(layer.packed, layer.top)
        ctx.levels, ctx.shape = layer.levels, (layer.out_features, layer.in_features)
""", "ctx.layer.weight", "dequantize(*ctx.saved_tensors, ctx.levels, ctx.shape)"),
    "the bias as a parameter": but(LAYER, BIAS, "self.bias = None if bias is None else "
                                                "nn.Parameter(bias, requires_grad=False)"),
}

WRONG["qlora.layer"] = {
    "keeps": (but(LAYER, CHECKPOINT, "product(x)"),
              but(LAYER, BUFFERS, f"{BUFFERS}        self.W = linear.weight.tolist()\n"),
              but(LAYER, BUFFERS, f"{BUFFERS}        self.linears = [linear]\n"),
              but(FUNCTION, "return dy @ ctx.layer.weight", "ctx.layer.kept = [W] = ["
                            "ctx.layer.weight]\n        return dy @ W"),
              but(LAYER, CHECKPOINT, "torch.stack([x @ row.clone() for row in self.weight], -1) + "
                                     "(0 if self.bias is None else self.bias)")),
    "bits": (but(LAYER, "        self.levels = levels\n",
                 '        self.register_buffer("levels", levels, persistent=False)\n'),
             but(LAYER, BUFFERS, "        self.packed, self.top = packed, top\n")),
    "no_gradient": but(LAYER, CHECKPOINT, "product(x)", "    def forward(self, x):",
                       "    @torch.no_grad()\n    def forward(self, x):"),
    "trains": but(LAYER, BIAS, "self.bias = linear.bias"),
    "no_bias": but(LAYER, PRODUCT, "torch.nn.functional.linear(x, self.weight)"),
    "state": (but(LAYER, BIAS, "self.bias = bias"),
              but(LAYER, BUFFERS, f"        self.unit = linear.weight.max().item()\n{BUFFERS}",
                  "(linear.weight, levels)", "(linear.weight / linear.weight.max(), levels)",
                  "return dequantize(", "return self.unit * dequantize(")),
    "": (but(FUNCTION, "dy @ ctx.layer.weight", "2 * dy @ ctx.layer.weight"),
         but(LAYER, "self.out_features, self.in_features =", "self.n_out, self.n_in =",
             "(self.out_features, self.in_features)", "(self.n_out, self.n_in)"),
         but(LAYER, "class Linear4bit(torch.nn.Module)", "class Linear4bit",
             "        super().__init__()\n", "", BUFFERS, "", BIAS, "pass")),
}

BEYOND["qlora.layer"] = but(LAYER, PRODUCT, "(x[None] if x.dim() == 1 else x) @ self.weight.T + "
                                            "(0 if self.bias is None else self.bias)")

# ── qlora.bits ───────────────────────────────────────────────────────────────────────────────

BITS = solution("qlora.bits")
HELD = "held = [*layer.parameters(), *layer.buffers()]"
FROZEN = "        assert not any(p.requires_grad for p in layer.parameters())\n"
LEARNS = "    assert x.grad.abs().sum() > 0\n"

RIGHT["qlora.bits"] = {
    "a bias, which does not count": but(BITS, ", bias=False", "", HELD, """\
held = [*layer.named_parameters(), *layer.named_buffers()]
        held = [t for name, t in held if not name.endswith("bias")]"""),
    "4.5 bits": but(BITS, "t.numel() * t.element_size() for t in held) == 6 * 64 // 2 + 4 * 6",
                    "t.nbytes for t in held) * 8 == 4.5 * 6 * 64"),
    "no backward": but(BITS, "layer(x).square().sum().backward()",
                       "torch.autograd.grad(layer(x).sum(), x)", LEARNS, ""),
}

WRONG["qlora.bits"] = {
    "let_through": (but(BITS, "== 6", "<= 6"), but(BITS, "range(2)", "range(1)"),
                    but(BITS, FROZEN, ""),
                    but(BITS, LEARNS, "", ".square().sum().backward()", "")),
    "accused": but(BITS, FROZEN, f"{FROZEN}        assert len([*layer.buffers()]) == 2\n"),
    "objects_to_all": but(BITS, ", bias=False", ""),
}

# ── qlora.broken ─────────────────────────────────────────────────────────────────────────────

BROKEN = solution("qlora.broken")
KEPT = BROKEN[BROKEN.index("        if not"):]
FROM_THE_START = """
class Broken4bit(pt.mine("qlora.layer")):
    def __init__(self, linear):
        super().__init__(linear)
        self.register_buffer("W", linear.weight.detach().clone(), persistent=False)
"""

RIGHT["qlora.broken"] = {
    "kept from the start": FROM_THE_START,
    "a detached input": but(BROKEN, KEPT, "        return super().forward(x.detach())\n"),
    "no gradient": but(BROKEN, "    def forward", "    @torch.no_grad()\n    def forward"),
}

WRONG["qlora.broken"] = {
    "caught": (but(FROM_THE_START, ", persistent=False", ""),
               but(FROM_THE_START, 'register_buffer("W", linear.weight.detach().clone(), '
                                   "persistent=False)", "scale = nn.Parameter(torch.ones(6))"),
               but(BROKEN, KEPT, "        return 1.01 * super().forward(x)\n")),
    "lawful": (but(BROKEN, KEPT, "        return 1.0 * super().forward(x)\n"),
               but(BROKEN, KEPT, "        self.x = x\n        return super().forward(x)\n")),
}

# ── qlora.dice ───────────────────────────────────────────────────────────────────────────────

DICE = solution("qlora.dice")
LOW = "torch.searchsorted(levels, x, right=True).sub(1).clamp(0, len(levels) - 2)"
P = "(x - levels[low]) / gap"
RAND = "torch.rand(x.shape, generator=generator)"
UP = f"{RAND} < {P}"
ON = "(levels[low + up] * top[:, None]).reshape(W.shape)"
BY_P = but(DICE, f"    up = {UP}", f"    p = {P}\n    up = {RAND} < p")

RIGHT["qlora.dice"] = {
    "the mark strictly below": but(DICE, LOW, "torch.bucketize(x, levels).clamp(min=1) - 1",
                                   "levels[low + up]",
                                   "torch.where(up, levels[low + 1], levels[low])"),
    "bernoulli": but(DICE, UP, f"torch.bernoulli({P}, generator=generator).bool()"),
    "a fractional index": but(DICE, f"up = {UP}", f"index = (low + {P} + {RAND}).long()",
                              "levels[low + up]", "levels[index.clamp(max=15)]"),
    "a threshold": but(DICE, UP, f"levels[low] + gap * {RAND} < x"),
    "in doubles": but(DICE, "    x = (W.", "    levels, top = levels.double(), top.double()\n"
                                           "    x = (W.double().", ON, f"{ON}.float()"),
}

WRONG["qlora.dice"] = {
    "coin": but(BY_P, "< p", "< 0.5 * (p > 0)"),
    "turned": but(BY_P, f"{RAND} < p", f"({RAND} > p) & (p > 0) | (p == 1)"),
    "nearest": but(BY_P, f"{RAND} < p", "p > 0.5"),
    "together": (but(DICE, "torch.rand(x.shape,", "torch.rand(64,"),
                 but(DICE, RAND, "torch.rand(len(x), 32, generator=generator).repeat(1, 2)")),
    "generator": (but(DICE, "    up =", "    generator.seed()\n    up ="),
                  but(DICE, "    up =", "    generator.manual_seed(0)\n    up ="),
                  but(DICE, UP, f"{RAND} + 0 * torch.rand(1) < {P}")),
    "elsewhere": (but(BY_P, "< p", "< 0.02 + 0.96 * p"),
                  but(DICE, "levels[low + up]", "x"), but(DICE, ON, "(levels[low + up] * "
                                                          "top.mean()).reshape(W.shape)")),
    "changed": but(DICE, "(W.reshape(len(top), -1) / top.clamp_min(1e-38)[:, None])",
                   "W.view(len(top), -1).div_(top[:, None])"),
    "": (but(BY_P, "< p", "< torch.where((p > 0) & (p < 1), 0.02 + 0.96 * p, p)"), but(DICE, ".reshape(W.shape)", "")),
}

BEYOND["qlora.dice"] = but(DICE, ".reshape(W.shape)", ".reshape(len(W), -1)")


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "qlora.levels": (SCALED, "torch.zeros(16)", {
        "tails as of logistic numbers": "3 < quantile(TOP) / quantile(0.75) < 3.5",
        "heavy tails": "quantile(TOP) / quantile(0.75) > 5", "tiny": "quantile(TOP) < 1e-3"}),
    "qlora.quantize": (BACK, "torch.zeros(shape)", {
        "tiny": "top.max() < 1e-6", "a longer block": "2 * len(packed) > 64 * len(top)",
        "one row": "shape[0] == 1"}),
    "qlora.layer": (PRODUCT, f"0 * {PRODUCT}", {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "another table and a bias":
            "self.bias is not None and not torch.equal(self.levels, pt.nf4.LEVELS)"}),
    "qlora.dice": (ON, "W", {
        "a vector": "W.dim() == 1", "three axes": "W.dim() == 3",
        "another table": "levels[-2] < 0.7"}),
}
