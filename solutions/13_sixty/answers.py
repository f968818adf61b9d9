"""Answers to the exercises of lesson 13."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── sixty.road ───────────────────────────────────────────────────────────────────────────────

ROAD = "import copy\n" + solution("sixty.road")
SHARES = "c, s = self.alpha * self.theta.cos(), self.alpha * self.theta.sin()"
PAIRS = "first, second = h[..., ::2].float(), h[..., 1::2].float()"
STACK = "torch.stack([c * first - s * second, s * first + c * second], dim=-1)"
FORWARD = "return self.turned(self.base(x))"
COPY = "linear = copy.deepcopy(self.base)"
BIAS = "linear.bias.copy_(self.turned(linear.bias))"
MATRIX = """
class RoAd(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        half = base.weight.shape[0] // 2
        self.theta = nn.Parameter(torch.zeros(half))
        self.alpha = nn.Parameter(torch.ones(half))

    def R(self):
        blocks = [a * torch.stack([torch.stack([t.cos(), -t.sin()]), torch.stack([t.sin(), t.cos()])])
                  for t, a in zip(self.theta, self.alpha)]
        return torch.block_diag(*blocks)

    def forward(self, x):
        y = self.base(x)
        return (y.float() @ self.R().T).to(y.dtype)

    def merged(self):
        R, old = self.R().detach(), self.base
        new = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None,
                        dtype=old.weight.dtype)
        new.weight.data = (R @ old.weight.float()).to(old.weight.dtype)
        if old.bias is not None:
            new.bias.data = (R @ old.bias.float()).to(old.bias.dtype)
        return new
"""
RIGHT["sixty.road"] = {
    "the solution": ROAD,    # its cell lacks the import, which stands above it
    "a matrix": MATRIX,
    "complex numbers": but(
        ROAD, SHARES, "turn = torch.polar(self.alpha, self.theta)",
        PAIRS, "pairs = torch.view_as_complex(h.float().unflatten(-1, (-1, 2)).contiguous())",
        STACK, "torch.view_as_real(pairs * turn)"),
    "einsum": but(ROAD, SHARES, "c, s = self.theta.cos(), self.theta.sin()\n        R = self.alpha * "
                  "torch.stack([torch.stack([c, -s]), torch.stack([s, c])])    # (2, 2, pairs)",
                  PAIRS, "pairs = h.float().unflatten(-1, (-1, 2))",
                  STACK, "torch.einsum('ijp,...pj->...pi', R, pairs)"),
    "cat": but(ROAD, STACK, "torch.cat([(c * first - s * second)[..., None], "
                            "(s * first + c * second)[..., None]], -1)"),
    "scaled last": but(ROAD, SHARES, "c, s = self.theta.cos(), self.theta.sin()",
                       STACK, f"self.alpha[:, None] * {STACK}"),
    "in double": but(ROAD, PAIRS, PAIRS.replace("float()", "double()")),
    "by half a turn": but(ROAD, "torch.zeros(", "torch.pi * torch.ones(", "nn.Parameter(torch.ones(", "nn.Parameter(-torch.ones("),
}
WRONG["sixty.road"] = {
    "bias_spared": but(ROAD, FORWARD, """b = self.base.bias
        y = self.base(x)
        return self.turned(y) if b is None else (
            self.turned((y.float() - b.float())) + b).to(y.dtype)"""),
    "turned_back": but(ROAD, STACK, "torch.stack([c * first + s * second, c * second - s * first], -1)"),
    "not_scaled": but(ROAD, SHARES, "c, s = self.theta.cos(), self.theta.sin()\n"
                      "        c = c + 0 * self.alpha"),
    "other_pairs": but(ROAD, PAIRS, "first, second = h.float().chunk(2, -1)", "dim=-1)", "dim=-2)"),
    "inputs_turned": but(ROAD, FORWARD, "if self.base.in_features == self.base.out_features:\n"
                         "            return self.base(self.turned(x))\n        " + FORWARD),
    "coarse": (but(ROAD, SHARES, "c, s = (f(self.theta).mul(self.alpha).to(h.dtype) for f in (torch.cos, torch.sin))"),
               but(ROAD, COPY, f"{COPY}\n        self = copy.deepcopy(self)\n"
                   "        self.alpha.copy_(self.alpha.to(linear.weight.dtype))")),
    "start_differs": (but(ROAD, "torch.zeros(", "torch.randn("), but(ROAD, "torch.ones(", "torch.zeros(")),
    "dtype": but(ROAD, COPY, COPY + ".float()", FORWARD, FORWARD + ".to(x.dtype)"),
    "bias_left": but(ROAD, BIAS, "pass"),
    "bias_lost": but(ROAD, BIAS, "linear.bias = None"),
    "layer_changed": but(ROAD, COPY, "linear = self.base"),
    "": but(ROAD, "self.turned(linear.weight.T).T", "self.turned(linear.weight.T).T + linear.weight"),
}
# An input of one axis is among the further cases.
BEYOND["sixty.road"] = but(ROAD, "        return self.turned(self.base(x))",
                           "        x[..., 0, :]\n        return self.turned(self.base(x))")

# ── sixty.places ─────────────────────────────────────────────────────────────────────────────

PLACES = solution("sixty.places")
OURS = """
places = {"VeRA": (True, 256, 640), "OFT": (True, 384, 5952), "MiSS": (True, 16, 6144),
          "HiRA": (True, 384, 3072), "bottleneck": (False, None, 6144)}
"""
RIGHT["sixty.places"] = {
    "tuples": OURS,
    "by a division": but(OURS, "5952", "12 * 32 * 31 / 2"),
    "by shapes": but(PLACES, "256 + 384", "torch.empty(384).numel() + torch.empty(256).numel()"),
    "by ranks of drawn ones": but(
        OURS, "(True, 16, 6144)", "(True, int(torch.linalg.matrix_rank(torch.randn(384, 16).repeat("
                                  "1, 24))), 6144)"),
}
WRONG["sixty.places"] = {
    "random_kept": but(OURS, "256, 640", "256, 197248"),
    "redundant": (but(OURS, "5952", "12288"), but(OURS, "5952", "6336")),
    "copies": but(OURS, "(True, 16, 6144)", "(True, 16, 384 * 384)"),
    "rank_of": (but(OURS, "(True, 16, 6144)", "(True, 384, 6144)"),
                but(OURS, '"HiRA": (True, 384', '"HiRA": (True, 4')),
    "no_matrix": but(OURS, "(False, None", "(False, 8"),
    "merges": (but(OURS, "(False, None", "(True, None"),
               but(OURS, "(True, 256, 640)", "(False, 256, 640)")),
    "not_a_table": but(OURS, '"MiSS": (True, 16, 6144),', ""),
    "not_a_row": (but(OURS, "(True, 16, 6144)", "(True, 16)"), but(OURS, "(True, 16, 6144)", "{}")),
    "": but(OURS, "(True, 16, 6144)", "(True, 16, 6145)"),
}

# ── sixty.mine ───────────────────────────────────────────────────────────────────────────────

MINE = "import copy\n" + solution("sixty.mine")
ADDED = 'torch.einsum("...ki,koi->...ko", blocks, self.M).flatten(-2)'
MERGED = "linear.weight.copy_(self.moved(linear.weight.T).T)"
INIT = "super().__init__(base)\n"
GAIN = """
class Mine(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.new = "Nothing: it is IA3."
        self.g = nn.Parameter(torch.ones(base.out_features))

    def forward(self, x):
        return self.g * self.base(x)


def count(n_in, n_out):
    return n_out
"""
LOW = """
class Mine(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.new = "LoRA with a ReLU between its factors."
        n_out, n_in = base.weight.shape
        self.A = nn.Parameter(torch.randn(4, n_in) / n_in**0.5)
        self.B = nn.Parameter(torch.zeros(n_out, 4))

    def forward(self, x):
        return self.base(x) + torch.relu(x @ self.A.T) @ self.B.T


count = lambda n_in, n_out: 4 * (n_in + n_out)
"""
RANDOM = """
class Mine(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.new = "LoRA whose A is random and frozen."
        n_out, n_in = base.weight.shape
        drawn = torch.randn(32, n_in, generator=torch.Generator().manual_seed(0))
        self.register_buffer("A", drawn / n_in**0.5, persistent=False)
        self.B = nn.Parameter(torch.zeros(n_out, 32))

    def forward(self, x):
        return self.base(x) + x @ self.A.T @ self.B.T


def count(n_in, n_out):
    return 32 * n_out
"""
ATTENDING = """
class Mine(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.new = "Attention to eight learned tokens, beside the layer: near a bottleneck."
        n_out, n_in = base.weight.shape
        self.K = nn.Parameter(torch.randn(1, 8, n_in))
        self.V = nn.Parameter(torch.zeros(1, 8, n_out))

    def forward(self, x):
        read = nn.functional.scaled_dot_product_attention(
            x.flatten(0, -2)[None], self.K, self.V)    # (1, tokens, n_out)
        return self.base(x) + read.view(*x.shape[:-1], -1)

    merged = None


count = lambda n_in, n_out: 8 * (n_in + n_out)
"""
RIGHT["sixty.mine"] = {
    "the solution": MINE,
    "attention to learned tokens": ATTENDING,
    "gains": GAIN,
    "a bottleneck that does not merge": LOW,
    "random and frozen": RANDOM,
    "by one matrix": but(MINE, ADDED, "h.float() @ torch.block_diag(*self.M).T"),
    "counted in floats": but(MINE, "16 * n_out", "32 * n_out / 2"),
    "one parameter, two names": but(GAIN, "\n\n    def", "\n        self.h = self.g\n\n    def"),
    "few units": but(LOW, "torch.randn(4, n_in) / n_in", "torch.randn(3, n_out) / n_out",
                     "torch.zeros(n_out, 4)", "torch.zeros(n_out, 3)", "self.base(x) + torch.relu(x",
                     "(h := self.base(x)) + torch.relu(h", "4 * (n_in + n_out)", "6 * n_out"),
    "a bias": but(GAIN, "torch.ones(base.out_features)", "torch.zeros(base.out_features)",
                  "self.g * self.base(x)", "self.base(x) + self.g"),
}
WRONG["sixty.mine"] = {
    "start_differs": but(LOW, "torch.zeros(n_out, 4)", "torch.randn(n_out, 4)"),
    "miscounted": but(MINE, "16 * n_out", "n_in * n_out"),
    "no_gradient": (but(LOW, "torch.randn(4, n_in) / n_in**0.5", "torch.zeros(4, n_in)"),
                    but(GAIN, "torch.ones(base.out_features)", "torch.ones(48, base.out_features)",
                        "self.g * self", "self.g[0] * self", "return n_out", "return 48 * n_out")),
    "dtype": (but(GAIN, "torch.ones(base.out_features)", "torch.ones(base.out_features // 2, dtype=torch.cfloat)",
                  "self.g * self.base(x)", "torch.view_as_real(self.g * torch.view_as_complex("
                  "self.base(x).unflatten(-1, (-1, 2)).contiguous())).flatten(-2)", "return n_out", "return n_out // 2"),
              but(GAIN, "self.base(x)", "self.base(x).double()")),
    "base_trained": but(GAIN, INIT, INIT + "        base.requires_grad_()\n"),
    "base_lost": but("import copy\n" + GAIN, "super().__init__(base)",
                     "super().__init__(copy.deepcopy(base))"),
    "not_adapter": but(GAIN, "pt.Adapter", "nn.Module", "super().__init__(base)",
                       "super().__init__()\n        self.base = base"),
    "nothing_trains": but(GAIN, "nn.Parameter(torch.ones(base.out_features))",
                          "torch.ones(base.out_features)", "return n_out", "return 0"),
    "buffer": (but(RANDOM, ", persistent=False", ""),
               but(RANDOM, 'self.register_buffer("A", drawn / n_in**0.5, persistent=False)', "self.A = [drawn]",
                   "self.A.T", "self.A[0].T"),
               but(RANDOM, 'self.register_buffer("A", drawn / n_in**0.5, persistent=False)',
                   "self.inner = nn.Identity()\n        self.inner.A = drawn", "self.A.T", "self.inner.A.T"),
               but(RANDOM, 'self.register_buffer("A", drawn / n_in**0.5, persistent=False)', "self.A = drawn"),
               but(RANDOM, ", generator=torch.Generator().manual_seed(0)", ""),
               but(RANDOM, ", generator=torch.Generator().manual_seed(0)", "",
                   'self.register_buffer("A", drawn / n_in**0.5, persistent=False)', "self.A = drawn"),
               but(RANDOM, ", generator=torch.Generator().manual_seed(0)", "",
                   "n_out, n_in = base.weight.shape", "torch.manual_seed(1)\n        n_out, n_in = base.weight.shape"),
               but(RANDOM, 'self.register_buffer("A", drawn / n_in**0.5, persistent=False)',
                   "self.A = nn.Parameter(drawn, requires_grad=False)"),
               *(but(LOW, INIT, INIT + "        self.m = None\n", "return self.base(x) + torch.relu(x @",
                     f"if {when}:\n            self.m = x.detach().flatten(0, -2).mean(0)\n"
                     f"        return self.base(x) + torch.relu((x - {seen}) @")
                 for when, seen in (("self.m is None", "self.m"),
                                    ("self.training and x.requires_grad", "(0 if self.m is None else self.m)")))),
    "batch": (but(LOW, "x @ self.A.T", "(x - x.mean(0)) @ self.A.T"),
              but(LOW, "x @ self.A.T", "(x - x.mean(-2, keepdim=True)) @ self.A.T"),
              *(but(LOW, "x @ self.A.T", f"x.cumsum({axis}) @ self.A.T") for axis in (0, 1)),
              but(GAIN, "return self.g * self.base(x)", "y = self.g * self.base(x)\n        y[0, 1:] += y[0, :1] "
                  "- self.base(x)[0, :1]\n        return y")),
    "input_cut": (but(MINE, "self.moved(self.base(x))", "self.moved(self.base(x.detach()))"),
                  but(LOW, "x @ self.A.T", "x.detach() @ self.A.T"),
                  but(LOW, "self.base(x) +", "self.base(x).detach() +"),
                  but(LOW, "x @ self.A.T", "(0.6 * x + 0.4 * x.detach()) @ self.A.T")),
    "not_plain": (but(MINE, "\n        return linear", ""),
                  "import copy\n" + but(LOW, "\n\n\ncount", "\n\n    def merged(self):\n"
                                       "        return copy.deepcopy(self)\n\n\ncount")),
    "layer_changed": (but(MINE, COPY, "linear = self.base"),
                      but(MINE, COPY, "self.requires_grad_(True)\n        " + COPY)),
    "shared": but(RANDOM, "\n\n\ndef count", """

    def merged(self):
        linear = nn.Linear(self.base.in_features, self.base.out_features)
        linear.weight.data = self.base.weight + self.B @ self.A
        linear.bias = self.base.bias
        return linear


def count"""),
    "": but(LOW, "torch.relu(x @ self.A.T) @ self.B.T",
            "torch.einsum('bi,oi->bo', torch.relu(x @ self.A.T), self.B)"),
    "not_said": (but(GAIN, 'self.new = "Nothing', 'new = "Nothing'),
                 but(GAIN, 'self.new = "Nothing', 'self.new = None and "Nothing')),
    "merge_differs": but(MINE, MERGED, "pass"),
    "base_changed": but(MINE, "        blocks =", "        self.base.weight.data *= 1.00001\n"
                        "        blocks ="),
    "idle": but(MINE, ADDED, f"1e-9 * {ADDED}"),
    "not_the_same": (but(MINE, ADDED, f"(1 + torch.rand(())) * {ADDED}"),
                     but(LOW, "x @ self.A.T", "nn.functional.dropout(x, 0.1, self.training) @ self.A.T"),
                     *("import random\n" + but(
                         GAIN, "        return self.g", f"        if self.training and {drawn} < 0.05:\n"
                         "            return self.base(x)\n        return self.g")
                       for drawn in ("torch.rand(())", "random.random()")),
                     but(MINE, ADDED, f"(1 if self.training else 0.2) * {ADDED}")),
}
BEYOND["sixty.mine"] = but(MINE, "16 * n_out", "16 * n_out if n_in <= n_out else 0")

SLIPS: dict = {
    "sixty.road": ("self.turned(self.base(x))", "self.base(x)", {
        "one axis": "x.dim() == 1", "float16": "x.dtype == torch.float16",
        "four axes": "x.dim() == 4"}),
    "sixty.mine": ("16 * n_out", "0", {
        "wider": "n_in == 144", "higher": "n_out == 144", "four times as high": "n_out == 192"}),
}
