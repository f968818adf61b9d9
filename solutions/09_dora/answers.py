"""Answers to the exercises of lesson 09."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── dora.layer ───────────────────────────────────────────────────────────────────────────────

LAYER = """
class DoRALinear(pt.Adapter):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base)
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        self.m = nn.Parameter(base.weight.norm(dim=1))

    def forward(self, x):
        V = self.base.weight + self.scale * self.B @ self.A
        W = (self.m / V.detach().norm(dim=1))[:, None] * V
        return nn.functional.linear(x, W, self.base.bias)
"""
A = "torch.randn(rank, base.in_features) / base.in_features**0.5"
B = "torch.zeros(base.out_features, rank)"
V = "self.base.weight + self.scale * self.B @ self.A"
NORM = "V.detach().norm(dim=1)"
W = f"        W = (self.m / {NORM})[:, None] * V\n"
OUT = "nn.functional.linear(x, W, self.base.bias)"
SCALE = "self.scale = alpha / rank"

RIGHT["dora.layer"] = {
    "builds W'": LAYER,
    "as peft": but(LAYER, "        V =", "        y, b = self.base(x), self.base.bias\n        V =",
                   W, f"        g = self.m / {NORM}\n        Wx = y if b is None else y - b\n",
                   OUT, "y + (g - 1) * Wx + g * self.scale * (x @ self.A.T @ self.B.T)"),
    "no_grad": but(LAYER, W, """        with torch.no_grad():
            norm = V.square().sum(1, keepdim=True).sqrt()
        W = self.m.unsqueeze(1) * V / norm
"""),
    "einsum": but(LAYER, V, "self.base.weight + torch.einsum('or,ri->oi', self.scale * self.B, "
                            "self.A)", NORM, "torch.einsum('oi,oi->o', V, V).sqrt().detach()",
                  OUT, "torch.einsum('...i,oi->...o', x, W) + (0 if self.base.bias is None else "
                       "self.base.bias)"),
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
    "bias_scaled": but(LAYER, W, f"        g = self.m / {NORM}\n",
                       OUT, "g * nn.functional.linear(x, V, self.base.bias)"),
    "norm_of_W": but(LAYER, NORM, "self.base.weight.norm(dim=1)"),
    "no_scale": but(LAYER, V, "self.base.weight + self.B @ self.A"),
    "norm_unscaled": but(LAYER, NORM, "(self.base.weight + self.B @ self.A).detach().norm(dim=1)"),
    "wrong_axis": but(LAYER, W, "        W = self.m[:, None] * V / V.detach().norm(dim=0)\n"),
    "norm_learns": but(LAYER, NORM, "V.norm(dim=1)"),
    "not_loras_start": but(LAYER, "base.in_features**0.5", "rank**0.5"),
    "no_scale_attribute": but(LAYER, SCALE, "self.s = alpha / rank", V,
                              "self.base.weight + self.s * self.B @ self.A"),
    "copy": but(LAYER, SCALE, f"{SCALE}\n        self.W = base.weight.detach().clone()", V,
                V.replace("base.weight", "W")),
    "stale": but(LAYER, W, f"""        if self.training:
            self.norm = {NORM}
        W = (self.m / self.norm)[:, None] * V
"""),
    "no_gradient": but(LAYER, V, f"({V}).detach()"),
    "": but(LAYER, "self.m / ", "self.m.abs() / "),
}

BEYOND["dora.layer"] = but(LAYER, OUT, f"{OUT}.view(*x.shape[:-1], -1)[:, :]")

# ── dora.law ─────────────────────────────────────────────────────────────────────────────────

LAW = """
def dora_holds(make):
    base = nn.Linear(5, 3).requires_grad_(False)
    layer, x = make(base, 2, 6.0), torch.randn(8, 5)
    assert torch.allclose(layer(x), base(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for p in (layer.A, layer.B, layer.m):
            p.normal_()
    bias = layer(torch.zeros(5))
    assert torch.allclose(bias, base.bias, atol=1e-5)
    W = (layer(torch.eye(5)) - bias).T
    assert torch.allclose(W.norm(dim=1), layer.m.abs(), rtol=1e-4, atol=1e-5)
    W.square().sum().backward()
    for p in (layer.A, layer.B, layer.m):
        assert p.grad.abs().max() > 1e-3
    assert not any(p.requires_grad for p in base.parameters())
"""
STARTS = "    assert torch.allclose(layer(x), base(x), rtol=1e-4, atol=1e-5)\n"
BIAS = "    assert torch.allclose(bias, base.bias, atol=1e-5)\n"
LENGTHS = "    assert torch.allclose(W.norm(dim=1), layer.m.abs(), rtol=1e-4, atol=1e-5)\n"
LEARNS = "        assert p.grad.abs().max() > 1e-3\n"
FROZEN = "    assert not any(p.requires_grad for p in base.parameters())\n"

RIGHT["dora.law"] = {
    "zeros and the identity": LAW,
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
    "by torch.testing": but(LAW, STARTS, "    torch.testing.assert_close(layer(x), base(x))\n"),
    "the sum of the lengths": but(LAW, "W.square().sum()", "W.norm(dim=1).sum()"),
    "a wide layer, and its own kind of random numbers": but(
        LAW, "nn.Linear(5, 3)", "nn.Linear(64, 48)", "torch.randn(8, 5)", "torch.randn(8, 64)",
        "torch.zeros(5)", "torch.zeros(64)", "torch.eye(5)", "torch.eye(64)", "p.normal_()",
        "p += 0.5 * torch.randn_like(p)"),
    "one input after the other": but(LAW, "layer(torch.eye(5)) - bias",
                                     "torch.stack([layer(e) - bias for e in torch.eye(5)])"),
}

WRONG["dora.law"] = {
    "let_through": (
        but(LAW, STARTS, STARTS.replace("1e-4", "0.01").replace("1e-5", "0.01")),
        but(LAW, BIAS, ""),
        but(LAW, LENGTHS, ""),
        but(LAW, LEARNS, "        assert p.grad is not None\n"),
        but(LAW, "(layer.A, layer.B, layer.m):\n        assert", "(layer.A, layer.B):\n        "
                                                                 "assert"),
        but(LAW, FROZEN, ""),
        but(LAW, "make(base, 2, 6.0)", "make(base, 2, 2.0)")),
    "accused": (
        but(LAW, STARTS, "    assert torch.equal(layer(x), base(x))\n"),
        but(LAW, STARTS, f"{STARTS}    assert not layer.B.any()\n"),
        but(LAW, STARTS, f"{STARTS}    assert layer.scale == 3\n")),
}

# ── dora.convert ─────────────────────────────────────────────────────────────────────────────

CONVERT = """
def to_gain(m, W, A, B, s):
    V = W + s * B @ A
    return m / V.norm(dim=1)

def to_dora(g, W, A, B, s):
    V = W + s * B @ A
    return g * V.norm(dim=1)
"""
GAIN, MAGNITUDE = "m / V.norm(dim=1)", "g * V.norm(dim=1)"

RIGHT["dora.convert"] = {
    "norm": CONVERT,
    "einsum": but(CONVERT, GAIN, "m / torch.einsum('oi,oi->o', V, V).sqrt()",
                  MAGNITUDE, "g * torch.einsum('oi,oi->o', V, V).sqrt()"),
    "one helper": """
def lengths(W, A, B, s):
    return torch.linalg.vector_norm(torch.addmm(W, B, A, alpha=s), dim=-1)

to_gain = lambda m, *rest: m / lengths(*rest)
to_dora = lambda g, *rest: g * lengths(*rest)
""",
    "one by the other": but(CONVERT, MAGNITUDE, "g / to_gain(torch.ones_like(g), W, A, B, s)"),
    "row by row": but(CONVERT, GAIN, "torch.stack([a / v.norm() for a, v in zip(m, V)])",
                      MAGNITUDE, "torch.stack([a * v.dot(v).sqrt() for a, v in zip(g, V)])"),
    "through W'": but(CONVERT, GAIN, "(m[:, None] * nn.functional.normalize(V) * V).sum(1) / "
                                     "V.square().sum(1)",
                      MAGNITUDE, "g.sign() * (g.unsqueeze(1) * V).square().sum(1).sqrt()"),
}

WRONG["dora.convert"] = {
    "norm_of_W": but(CONVERT, GAIN, "m / W.norm(dim=1)", MAGNITUDE, "g * W.norm(dim=1)"),
    "sign_lost": (but(CONVERT, GAIN, "m.abs() / V.norm(dim=1)"),
                  but(CONVERT, MAGNITUDE, "(g[:, None] * V).norm(dim=1)")),
    "no_scale": (CONVERT.replace("s * ", ""),),
    "inverted": but(CONVERT, GAIN, "m * V.norm(dim=1)", MAGNITUDE, "g / V.norm(dim=1)"),
    "no_return": but(CONVERT, f"return {MAGNITUDE}", MAGNITUDE),
    "input_changed": but(CONVERT, f"return {MAGNITUDE}", "g *= V.norm(dim=1)\n    return g"),
    "": but(CONVERT, GAIN, "m / V.norm()"),
}

BEYOND["dora.convert"] = but(CONVERT, GAIN, "m / V.norm(dim=1).clamp_min(0.05)")

# ── dora.forge ───────────────────────────────────────────────────────────────────────────────

FORGE = """
def forge(weights, slope, start):
    made = []
    for i, W in enumerate(weights):
        D = start[0] + 0.002 * i
        M = start[1] + slope * 0.002 * i
        length = W.norm(dim=1, keepdim=True)
        w = W / length
        u = torch.randn_like(W)
        u = u - (u * w).sum(1, keepdim=True) * w
        u = u / u.norm(dim=1, keepdim=True)
        angle = math.acos(1 - D)
        made.append((length + M) * (math.cos(angle) * w + math.sin(angle) * u))
    return made
"""
NOISE = "torch.randn_like(W)"
ORTHOGONAL = "        u = u - (u * w).sum(1, keepdim=True) * w\n"
MADE = "made.append((length + M) * (math.cos(angle) * w + math.sin(angle) * u))"

RIGHT["dora.forge"] = {
    "an angle": FORGE,
    "rows become shorter": but(FORGE, "length + M", "length - M"),
    "one up, one down": but(FORGE, "length + M", "length + M * (-1.0) ** torch.arange(len(W))"
                                                 "[:, None]"),
    "the tangent, then the length": but(
        FORGE, MADE, "V = w + math.tan(angle) * u\n"
                     "        made.append((length + M) * nn.functional.normalize(V))"),
    "noise from NumPy": but("import numpy as np\n" + FORGE, NOISE,
                            "torch.tensor(np.random.default_rng().standard_normal(W.shape))"),
    "a mean over unequal rows": but(FORGE, MADE, """share = torch.rand(len(W), 1) + 0.5
        share /= share.mean()
        cos = 1 - D * share
        made.append((length + M * share) * (cos * w + (1 - cos**2).sqrt() * u))"""),
}

WRONG["dora.forge"] = {
    "additive": but(FORGE, ORTHOGONAL, "", MADE, "made.append(W + length * math.tan(angle) * u)"),
    "axes": but(FORGE, "M = start[1] + slope * 0.002 * i", "D, M = (start[0] + slope * 1e-3 * i, "
                                                           "start[1] + 1e-3 * i)"),
    "crowded": but(FORGE, "start[0] + 0.002 * i", "start[0]", "slope * 0.002 * i", "0"),
    "not_random": (but(FORGE, NOISE, "torch.randn(len(W), 1) * torch.randn_like(W[:1])"),
                   but(FORGE, NOISE, "torch.randn_like(W) + 3 * torch.randn(len(W), 1).sign() * "
                                     "w.roll(1, 0)"),
                   but(FORGE, "    made = []\n", "    made = []\n    torch.manual_seed(0)\n")),
    "no_return": but(FORGE, "    return made\n", ""),
    "input_changed": but(FORGE, MADE, "W.copy_((length + M) * (math.cos(angle) * w + "
                                      "math.sin(angle) * u))\n        made.append(W)"),
    "": (but(FORGE, ORTHOGONAL, ""),
         but(FORGE, "length + M", "length * (1 + M)"),
         but(FORGE, "return made", "return made[1:]")),
}

BEYOND["dora.forge"] = but(FORGE, "length + M", "length + max(M, 0.005)")

# ── dora.referee ─────────────────────────────────────────────────────────────────────────────

TABLE = """
T95 = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
                      2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093), start=2))
"""
REFEREE = TABLE + """
def referee(a, b, margin):
    d = torch.tensor(a) - torch.tensor(b)
    half = T95[len(d)] * d.std() / len(d) ** 0.5
    low, high = d.mean() - half, d.mean() + half
    if -margin < low and high < margin:
        return low, high, "the same"
    if low > 0:
        return low, high, "better"
    if high < 0:
        return low, high, "worse"
    return low, high, "could not tell"
"""
D = "torch.tensor(a) - torch.tensor(b)"
HALF = "T95[len(d)] * d.std() / len(d) ** 0.5"
SAME = """    if -margin < low and high < margin:
        return low, high, "the same"
"""
BETTER = """    if low > 0:
        return low, high, "better"
    if high < 0:
        return low, high, "worse"
"""

RIGHT["dora.referee"] = {
    "torch": REFEREE,
    "statistics": but("from statistics import mean, stdev\n" + REFEREE, D,
                      "[x - y for x, y in zip(a, b)]", "d.std()", "stdev(d)",
                      "d.mean() - half, d.mean() + half", "mean(d) - half, mean(d) + half"),
    "NumPy, and the table rounded": but(
        "import numpy as np\n" + REFEREE, "dict(enumerate((", "dict(enumerate(np.round((",
        "2.093), start", "2.093), 2), start", D, "np.subtract(a, b)", "d.std()", "d.std(ddof=1)"),
    "pandas": but("import pandas as pd\n" + REFEREE, D, "pd.Series(a) - pd.Series(b)",
                  "d.std() / len(d) ** 0.5", "d.sem()"),
    "the sum of the squares": but(REFEREE, HALF, "T95[len(d)] * ((d - d.mean()).square().sum() / "
                                                 "(len(d) - 1) / len(d)).sqrt()"),
    "centre and spread": TABLE + """
def referee(a, b, margin):
    d = torch.stack([torch.as_tensor(a), torch.as_tensor(b)]).double().diff(dim=0)[0].neg()
    middle, half = d.mean(), T95[d.numel()] * d.var().div(d.numel()).sqrt()
    verdicts = {bool(abs(middle) > half): "better" if middle > 0 else "worse",
                bool(abs(middle) + half < margin): "the same"}
    return (middle - half).item(), (middle + half).item(), verdicts.get(True, "could not tell")
""",
}

WRONG["dora.referee"] = {
    "unpaired": but(REFEREE, HALF, "T95[len(d)] * (torch.tensor(a).var() / len(d) + "
                                   "torch.tensor(b).var() / len(d)) ** 0.5"),
    "normal": (but(REFEREE, "T95[len(d)]", "1.96"), but(REFEREE, "T95[len(d)]", "2.262")),
    "with_n": but(REFEREE, "d.std()", "d.std(correction=0)"),
    "no_root": but(REFEREE, " / len(d) ** 0.5", ""),
    "reversed": but(REFEREE, D, "torch.tensor(b) - torch.tensor(a)"),
    "zero_is_no_proof": but(REFEREE, '"could not tell"', '"the same"'),
    "too_small": but(REFEREE, SAME, "", BETTER, BETTER + SAME),
    "not_three": but(REFEREE, 'low, high, "could not tell"', '"could not tell"'),
    "no_return": but(REFEREE, '    return low, high, "could not tell"\n', ""),
    "": but(REFEREE, HALF, "T95[len(d)] * d.std() / len(d)"),
}

BEYOND["dora.referee"] = but(REFEREE, "T95[len(d)]", "{3: 4.303, 5: 2.776, 10: 2.262}.get(len(d), "
                                                     "2.093)")

# What each message says, of its mistake and of no other: see `answers.says`.
SAYS = {
    "dora.layer": {
        "bias_scaled": "with the bias scaled, too",
        "norm_of_W": "divides by the length of W's rows",
        "no_scale": "here s is missing",
        "norm_unscaled": "The direction has s in it, its norm does not",
        "wrong_axis": "taken over the outputs", "norm_learns": "with ‖V‖ learned through",
        "not_loras_start": "one at zero, the other random",
        "copy": "when the model moves to a GPU", "stale": "is of another A and B",
        "no_scale_attribute": "as self.scale"},
    "dora.convert": {
        "norm_of_W": "only where B A is zero", "sign_lost": "A negative number turns its row round",
        "no_scale": "s is missing", "inverted": "here they are exchanged",
        "input_changed": "Make a new tensor"},
    "dora.forge": {
        "additive": "its dots only rise", "axes": "ΔM = … + slope · ΔD",
        "crowded": "at least 0.001 apart and below 0.1", "not_random": "without a fixed seed",
        "input_changed": "Make new matrices"},
    "dora.referee": {
        "unpaired": "of two separate samples", "reversed": "it is a − b",
        "normal": "1.96 is for many values, 2.26 for ten", "with_n": "divides by n − 1",
        "no_root": "the spread of single pairs", "zero_is_no_proof": "is wider than the margin",
        "too_small": "lies within the margin", "not_three": "Expected: low, high"},
}

# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "dora.layer": ("nn.functional.linear(x, W, self.base.bias)", "self.base(x)", {
        "one axis": "x.dim() == 1", "one output": "len(self.m) == 1", "four axes": "x.dim() == 4"}),
    "dora.convert": ("m / V.norm(dim=1)", "2 * m", {
        "short rows": "V.norm(dim=1).max() < 0.05", "one output": "len(m) == 1",
        "no change": "s == 0"}),
    "dora.forge": ("(length + M) * (math.cos(angle) * w + math.sin(angle) * u)", "W", {
        "down to nearly zero": "M < 0.009", "a slope that is an int": "isinstance(slope, int)",
        "eight matrices": "len(weights) == 8"}),
    "dora.referee": ("T95[len(d)] * d.std() / len(d) ** 0.5", "0 * d.std()", {
        f"{n} pairs": f"len(d) == {n}" for n in (2, 7, 12)}),
}
