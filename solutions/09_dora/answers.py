"""Answers to the exercises of lesson 09."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── dora.layer ───────────────────────────────────────────────────────────────────────────────

LAYER = solution("dora.layer")
A = "torch.randn(rank, base.in_features) / base.in_features**0.5"
B = "torch.zeros(base.out_features, rank)"
V = "self.base.weight + self.scale * self.B @ self.A"
NORM = "V.norm(dim=1).detach()"
Y = "g * (x @ V.T)"
OUT = "y if self.base.bias is None else y + self.base.bias"
SCALE = "self.scale = alpha / rank"

RIGHT["dora.layer"] = {
    "as peft": but(LAYER, Y, "Wx + (g - 1) * Wx + g * self.scale * (x @ self.A.T @ self.B.T)",
                   "        V =", "        Wx = self.base(x) - (0 if self.base.bias is None else "
                                  "self.base.bias)\n        V ="),
    "no_grad": but(LAYER, NORM, "norm", "        g =", """        with torch.no_grad():
            norm = V.square().sum(1).sqrt()
        g ="""),
    "einsum": but(LAYER, V, "self.base.weight + torch.einsum('or,ri->oi', self.scale * self.B, "
                            "self.A)", NORM, "torch.einsum('oi,oi->o', V, V).sqrt().detach()",
                  Y, "torch.einsum('...i,oi,o->...o', x, V, g)"),
    "A zero, and the norm by NumPy": but(
        "import numpy as np\n" + LAYER, A, "torch.zeros(rank, base.in_features)", B,
        "torch.randn(base.out_features, rank) / rank**0.5", NORM,
        "torch.from_numpy(np.linalg.norm(V.detach().numpy(), axis=1))"),
    "inherits from LoRALinear": """
LoRALinear = pt.mine("lora.layer")

class DoRALinear(LoRALinear):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        self.m = nn.Parameter(torch.empty(base.out_features))
        with torch.no_grad():
            self.m.copy_(torch.linalg.norm(base.weight, dim=1))

    def forward(self, x):
        b = 0 if self.base.bias is None else self.base.bias
        with torch.no_grad():
            norm = (self.base.weight + self.scale * self.B @ self.A).norm(dim=1)
        return self.m / norm * (super().forward(x) - b) + b
""",
}

WRONG["dora.layer"] = {
    "bias_scaled": but(LAYER, Y, "x @ V.T", OUT, f"g * ({OUT})"),
    "norm_of_W": but(LAYER, NORM, "self.base.weight.norm(dim=1)"),
    "no_scale": but(LAYER, V, "self.base.weight + self.B @ self.A"),
    "norm_unscaled": but(LAYER, NORM, "(self.base.weight + self.B @ self.A).norm(dim=1).detach()"),
    "wrong_axis": but(LAYER, Y, "x @ (self.m[:, None] * V / V.detach().norm(dim=0)).T"),
    "norm_learns": but(LAYER, NORM, "V.norm(dim=1)"),
    "not_loras_start": but(LAYER, "base.in_features**0.5", "rank**0.5"),
    "no_scale_attribute": but(LAYER, SCALE, "self.s = alpha / rank", V,
                              "self.base.weight + self.s * self.B @ self.A"),
    "copy": but(LAYER, SCALE, f"{SCALE}\n        self.W = base.weight.detach().clone()", V,
                V.replace("base.weight", "W")),
    "stale": but(LAYER, f"self.m / {NORM}", "self.m / self.norm", "        g =", f"""\
        if self.training:
            self.norm = {NORM}
        g ="""),
    "no_gradient": but(LAYER, V, f"({V}).detach()"),
    "no_bias": but(LAYER, OUT, "y"),
    "": but(LAYER, "self.m / ", "self.m.abs() / "),
}

BEYOND["dora.layer"] = but(LAYER, Y, f"({Y})[:, :]")

# ── dora.law ─────────────────────────────────────────────────────────────────────────────────

LAW = solution("dora.law")
STARTS = "    torch.testing.assert_close(layer(x), base(x), rtol=1e-4, atol=1e-5)\n"
BIAS = "    torch.testing.assert_close(bias[0], base.bias, rtol=1e-4, atol=1e-5)\n"
LENGTHS = LAW[LAW.index("    torch.testing.assert_close(columns"):LAW.index("    columns.square")]
REACHED = "    assert min(p.grad.norm() for p in (layer.A, layer.B, layer.m)) > 1e-3\n"
FROZEN = "    assert not any(p.requires_grad for p in base.parameters())\n"

RIGHT["dora.law"] = {
    "by hand, two outputs": """
def dora_holds(make):
    base = nn.Linear(2, 2).requires_grad_(False)
    base.weight.copy_(torch.tensor([[3.0, 4.0], [1.0, 2.0]]))
    layer = make(base, 1, 3.0)
    off = [layer(base.weight) - base(base.weight)]
    with torch.no_grad():
        layer.A.copy_(torch.tensor([[1.0, -2.0]]))
        layer.B.copy_(torch.tensor([[0.7], [-0.2]]))
        layer.m.fill_(-2.0)
    W = torch.stack([layer(e) - base.bias for e in torch.eye(2)])
    off += [W.norm(dim=0) - 2, layer(torch.zeros(2)) - base.bias]
    (W ** 2).sum().backward()
    if max(each.abs().max() for each in off) > 1e-4:
        raise ValueError("start, length or bias")
    if min(p.grad.norm() for p in (layer.A, layer.B, layer.m)) < 0.01:
        raise ValueError("the norm is not a constant")
    if any(p.requires_grad for p in layer.base.parameters()):
        raise ValueError("the base trains")
""",
    "by allclose": but(LAW, STARTS, "    assert torch.allclose(layer(x), base(x), atol=1e-5)\n"),
    "the sum of the lengths": but(LAW, "columns.square().sum()", "columns.norm(dim=0).sum()"),
    "a wide layer, and its own kind of random numbers": but(
        LAW, "nn.Linear(5, 3)", "nn.Linear(64, 48)", "torch.randn(4, 5)", "torch.randn(4, 64)",
        "torch.zeros(1, 5)", "torch.zeros(1, 64)", "torch.eye(5)", "torch.eye(64)",
        "p.copy_(torch.randn_like(p))", "p += 0.5 * torch.randn_like(p)"),
    "one input after the other": but(LAW, "layer(torch.eye(5)) - bias",
                                     "torch.stack([layer(e) - bias[0] for e in torch.eye(5)])"),
}

WRONG["dora.law"] = {
    "let_through": (
        but(LAW, STARTS, STARTS.replace("1e-4", "0.01").replace("1e-5", "0.01")),
        but(LAW, BIAS, ""),
        but(LAW, LENGTHS, ""),
        but(LAW, REACHED, "    assert None not in (layer.A.grad, layer.B.grad, layer.m.grad)\n"),
        but(LAW, "(layer.A, layer.B, layer.m)) >", "(layer.A, layer.B)) >"),
        but(LAW, "(layer.A, layer.B, layer.m)) >", "(layer.A, layer.m)) >"),
        but(LAW, "(layer.A, layer.B, layer.m)) >", "(layer.B, layer.m)) >"),
        but(LAW, FROZEN, ""),
        but(LAW, "make(base, 2, 6.0)", "make(base, 2, 2.0)")),
    "accused": (
        but(LAW, STARTS, "    assert torch.equal(layer(x), base(x))\n"),
        but(LAW, STARTS, f"{STARTS}    assert not layer.B.any()\n"),
        but(LAW, STARTS, f"{STARTS}    assert layer.scale == 3\n")),
}

# ── dora.broken ──────────────────────────────────────────────────────────────────────────────

BROKEN = solution("dora.broken")
RIGHT_V = "self.base.weight + self.scale * self.B @ self.A"
LEAKY = "V.norm(dim=1)"

RIGHT["dora.broken"] = {
    "a scaled bias": but(BROKEN, LEAKY, "V.detach().norm(dim=1)", "(x, W, self.base.bias)",
                         "(x, V, self.base.bias) * self.m / V.detach().norm(dim=1)"),
    "a norm without s": but(BROKEN, LEAKY, "(self.base.weight + self.B @ self.A).detach()"
                                           ".norm(dim=1)"),
    "a base that trains": """
class BrokenDoRA(pt.mine("dora.layer")):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        base.bias.requires_grad_()
""",
    "a bias times s": but(BROKEN, LEAKY, "V.detach().norm(dim=1)", "(x, W, self.base.bias)",
                          "(x, W, self.scale * self.base.bias)"),
    "without the first": """
class BrokenDoRA(pt.mine("dora.layer")):
    def forward(self, x):
        b = 0 if self.base.bias is None else self.base.bias
        return super().forward(x) * 2 - b if self.scale != 1 else super().forward(x)
""",
}

WRONG["dora.broken"] = {
    "caught": (but(BROKEN, f"{RIGHT_V}\n", "self.base.weight\n"),
               but(BROKEN, "self.m / ", "self.m.detach() / "),
               but(BROKEN, LEAKY, "self.base.weight.norm(dim=1)")),
    "lawful": (but(BROKEN, LEAKY, "V.detach().norm(dim=1)"),
               but(BROKEN, LEAKY, "V.detach().norm(dim=1)", "(x, W, ", "(1.0 * x, W, ")),
}

# ── dora.convert ─────────────────────────────────────────────────────────────────────────────

CONVERT = solution("dora.convert")
BOTH = "(W + s * B @ A)"
GAIN, MAGNITUDE = f"m / {BOTH}.norm(dim=1)", f"g * {BOTH}.norm(dim=1)"

RIGHT["dora.convert"] = {
    "einsum": but(CONVERT, GAIN, f"m / torch.einsum('oi,oi->o', {BOTH}, {BOTH}).sqrt()",
                  MAGNITUDE, f"g * torch.einsum('oi,oi->o', {BOTH}, {BOTH}).sqrt()"),
    "one helper": """
def lengths(W, A, B, s):
    return torch.linalg.vector_norm(torch.addmm(W, B, A, alpha=s), dim=-1)

to_gain = lambda m, *rest: m / lengths(*rest)
to_dora = lambda g, *rest: g * lengths(*rest)
""",
    "one by the other": but(CONVERT, MAGNITUDE, "g / to_gain(torch.ones_like(g), W, A, B, s)"),
    "row by row": but(CONVERT, GAIN, f"torch.stack([a / v.norm() for a, v in zip(m, {BOTH})])",
                      MAGNITUDE, f"torch.stack([a * v.dot(v).sqrt() for a, v in zip(g, {BOTH})])"),
    "through W'": but(CONVERT, GAIN, f"(m[:, None] * nn.functional.normalize({BOTH}) * {BOTH})"
                                     f".sum(1) / {BOTH}.square().sum(1)",
                      MAGNITUDE, f"g.sign() * (g.unsqueeze(1) * {BOTH}).square().sum(1).sqrt()"),
}

WRONG["dora.convert"] = {
    "norm_of_W": but(CONVERT, GAIN, "m / W.norm(dim=1)", MAGNITUDE, "g * W.norm(dim=1)"),
    "sign_lost": (but(CONVERT, "m / ", "m.abs() / "),
                  but(CONVERT, MAGNITUDE, f"(g[:, None] * {BOTH}).norm(dim=1)")),
    "no_scale": (CONVERT.replace("s * ", ""),),
    "inverted": but(CONVERT, "m / ", "m * ", "g * ", "g / "),
    "no_return": but(CONVERT, "return g", "g"),
    "input_changed": but(CONVERT, MAGNITUDE, f"g.mul_({BOTH}.norm(dim=1))"),
    "": but(CONVERT, GAIN, f"m / {BOTH}.norm()"),
}

BEYOND["dora.convert"] = but(CONVERT, GAIN, f"{GAIN}.clamp_min(0.05)")

# ── dora.forge ───────────────────────────────────────────────────────────────────────────────

FORGE = solution("dora.forge")
NOISE = "torch.randn_like(W)"
ASIDE = "u - (u * w).sum(dim=1, keepdim=True) * w"
MADE = "(length + change) * (cosine * w + (1 - cosine**2) ** 0.5 * u)"
TANGENT = "math.tan(math.acos(cosine)) * u"

RIGHT["dora.forge"] = {
    "rows become shorter": but(FORGE, "length + change", "length - change"),
    "one up, one down": but(FORGE, "+ change", "+ change * (-1.0) ** torch.arange(len(W))[:, None]"),
    "the tangent, then the length": but(
        FORGE, MADE, f"(length + change) * nn.functional.normalize(w + {TANGENT})"),
    "noise from NumPy": but("import numpy as np\n" + FORGE, NOISE,
                            "torch.tensor(np.random.default_rng().standard_normal(W.shape))"),
    "a mean over unequal rows": but(FORGE, "cosine = 1 - turn", """share = torch.rand(len(W), 1) + 0.5
        share /= share.mean()
        cosine, change = 1 - turn * share, change * share"""),
}

WRONG["dora.forge"] = {
    "additive": but(FORGE, ASIDE, "u", MADE, f"W + length * {TANGENT}"),
    "axes": but(FORGE, "start[0] + 0.002 * k", "start[0] + slope * 1e-3 * k", "slope * 0.002 * k",
                "1e-3 * k"),
    "crowded": but(FORGE, "start[0] + 0.002 * k", "start[0]", "slope * 0.002 * k", "0"),
    "not_random": (but(FORGE, NOISE, "torch.randn(len(W), 1) * torch.randn_like(W[:1])"),
                   but(FORGE, NOISE, f"{NOISE} + 3 * torch.randn(len(W), 1).sign() * w.roll(1, 0)"),
                   but(FORGE, "    forged = []\n", "    forged = []\n    torch.manual_seed(0)\n")),
    "no_return": but(FORGE, "    return forged\n", ""),
    "input_changed": but(FORGE, MADE, f"W.copy_({MADE})"),
    "": (but(FORGE, ASIDE, "u"), but(FORGE, "length + change", "length * (1 + change)"),
         but(FORGE, "return forged", "return forged[1:]")),
}

BEYOND["dora.forge"] = but(FORGE, "length + change", "length + max(change, 0.005)")

# ── dora.referee ─────────────────────────────────────────────────────────────────────────────

REFEREE = solution("dora.referee")
D = "torch.tensor(a) - torch.tensor(b)"
HALF = "T95[len(d)] * d.std() / len(d) ** 0.5"
ENDS = "(d.mean() - half).item(), (d.mean() + half).item()"
SAME = """    if -margin < low and high < margin:
        return low, high, "the same"
"""
LAST = '    return low, high, "worse" if high < 0 else "cannot tell"\n'

RIGHT["dora.referee"] = {
    "tensors": but(REFEREE, ENDS, "d.mean() - half, d.mean() + half"),
    "statistics": but("from statistics import mean, stdev\n" + REFEREE, D,
                      "[x - y for x, y in zip(a, b)]", "d.std()", "stdev(d)",
                      ENDS, "mean(d) - half, mean(d) + half"),
    "NumPy, and the table rounded": but(
        "import numpy as np\n" + REFEREE, "dict(enumerate((", "dict(enumerate(np.round((",
        "2.093), start", "2.093), 2), start", D, "np.subtract(a, b)", "d.std()", "d.std(ddof=1)"),
    "pandas": but("import pandas as pd\n" + REFEREE, D, "pd.Series(a) - pd.Series(b)",
                  "d.std() / len(d) ** 0.5", "d.sem()"),
    "centre and spread": REFEREE[:REFEREE.index("def ")] + """
def referee(a, b, margin):
    d = torch.stack([torch.as_tensor(a), torch.as_tensor(b)]).double().diff(dim=0)[0].neg()
    middle, half = d.mean(), T95[d.numel()] * d.var().div(d.numel()).sqrt()
    verdicts = {bool(abs(middle) > half): "better" if middle > 0 else "worse",
                bool(abs(middle) + half < margin): "the same"}
    return (middle - half).item(), (middle + half).item(), verdicts.get(True, "cannot tell")
""",
}

WRONG["dora.referee"] = {
    "unpaired": but(REFEREE, HALF, "T95[len(d)] * (torch.tensor(a).var() / len(d) + "
                                   "torch.tensor(b).var() / len(d)) ** 0.5"),
    "normal": (but(REFEREE, "T95[len(d)]", "1.96"), but(REFEREE, "T95[len(d)]", "2.262")),
    "with_n": but(REFEREE, "d.std()", "d.std(correction=0)"),
    "no_root": but(REFEREE, " / len(d) ** 0.5", ""),
    "reversed": but(REFEREE, D, "torch.tensor(b) - torch.tensor(a)"),
    "zero_is_no_proof": but(REFEREE, '"cannot tell"', '"the same"'),
    "too_small": but(REFEREE, SAME, "", LAST, f"""    if high < 0:
        return low, high, "worse"
{SAME}{LAST}"""),
    "not_three": but(REFEREE, 'low, high, "worse"', '(low, high, "worse")'),
    "no_return": but(REFEREE, LAST, ""),
    "": but(REFEREE, HALF, "T95[len(d)] * d.std() / len(d)"),
}

BEYOND["dora.referee"] = but(REFEREE, "T95[len(d)]", "{3: 4.303, 5: 2.776, 10: 2.262}.get(len(d), "
                                                     "2.093)")


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "dora.layer": (Y, "self.base(x)", {
        "one axis": "x.dim() == 1", "one output": "len(self.m) == 1", "four axes": "x.dim() == 4"}),
    "dora.convert": (GAIN, "2 * m", {
        "short rows": f"{BOTH}.norm(dim=1).max() < 0.05", "one output": "len(m) == 1",
        "no change": "s == 0"}),
    "dora.forge": (MADE, "W", {
        "down to nearly zero": "change < 0.009", "a slope that is an int": "isinstance(slope, int)",
        "eight matrices": "len(weights) == 8"}),
    "dora.referee": (HALF, "0 * d.std()", {
        f"{n} pairs": f"len(d) == {n}" for n in (2, 7, 12)}),
}
