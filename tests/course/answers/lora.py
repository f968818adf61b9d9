"""Answers to the exercises of lesson 07."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── lora.count ───────────────────────────────────────────────────────────────────────────────

COUNT = """
def lora_count(n_in, n_out, rank):
    return rank * (n_in + n_out)
"""
SUM = "rank * (n_in + n_out)"

RIGHT["lora.count"] = {
    "plain": COUNT,
    "two products": but(COUNT, SUM, "rank * n_in + n_out * rank"),
    "shapes": """
def lora_count(n_in, n_out, rank):
    return sum(math.prod(shape) for shape in [(rank, n_in), (n_out, rank)])
""",
    "a lambda": "lora_count = lambda n_in, n_out, rank: (n_out + n_in) * rank",
    "NumPy": """
import numpy as np

def lora_count(n_in, n_out, rank):
    return np.int64(rank) * np.array([n_in, n_out]).sum()
""",
    "tensors": """
def lora_count(n_in, n_out, rank):
    A = torch.empty(rank, n_in)
    B = torch.empty(n_out, rank)
    return A.numel() + B.numel()
""",
}

WRONG["lora.count"] = {
    "whole_matrix": but(COUNT, SUM, "n_in * n_out"),
    "square_only": but(COUNT, SUM, "2 * rank * n_in"),
    "no_return": but(COUNT, "return ", "print(") + ")",
    "not_whole": but(COUNT, SUM, f"float({SUM})"),
    "multiplied": but(COUNT, SUM, "(rank * n_in) * n_out"),
    "with_base": but(COUNT, SUM, f"n_in * n_out + {SUM}"),
}

BEYOND["lora.count"] = but(COUNT, SUM, f"int(torch.tensor(float({SUM})))")

# ── lora.layer ───────────────────────────────────────────────────────────────────────────────

LAYER = """
class LoRALinear(pt.Adapter):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base)
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        y = self.base(x)
        u = self.scale * (x.float() @ self.A.T @ self.B.T)
        return y + u.to(y.dtype)
"""
SUPER = "super().__init__(base)"
SCALE = "self.scale = alpha / rank"
A = "torch.randn(rank, base.in_features) / base.in_features**0.5"
B = "torch.zeros(base.out_features, rank)"
SCALED = "self.scale * ("
BRANCH = "x.float() @ self.A.T @ self.B.T"
ADDED = "y + u.to(y.dtype)"
Y = "        y = self.base(x)\n"
U = f"        u = self.scale * ({BRANCH})\n"

RIGHT["lora.layer"] = {
    "plain": LAYER,
    "in place": but(LAYER, ADDED, "y.add_(u.to(y.dtype))"),
    "einsum": but(LAYER, BRANCH, "torch.einsum('...i,ri,or->...o', x.float(), self.A, self.B)"),
    "F.linear": but(LAYER, BRANCH, "nn.functional.linear(nn.functional.linear("
                                   "x.float(), self.A), self.B)"),
    "A zero, B as a layer of PyTorch's starts": but(
        LAYER, A, "torch.zeros(rank, base.in_features)", f"nn.Parameter({B})",
        "nn.Linear(rank, base.out_features, bias=False).weight"),
    "kaiming": but(LAYER, A, "torch.empty(rank, base.in_features)", f"({B})\n",
                   f"({B})\n        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))\n"),
    "xavier": but(LAYER, A, "nn.init.xavier_normal_(torch.empty(rank, base.in_features))"),
    "a scale that is no file's": but(LAYER, SCALE, "self.register_buffer('scale', torch.tensor("
                                                   "alpha / rank), persistent=False)"),
    "products and sums": but(LAYER, U, "        h = (x.float().unsqueeze(-2) * self.A).sum(-1)\n"
                                       "        u = self.scale * (h.unsqueeze(-2) * self.B).sum(-1)"
                                       "\n"),
    "methods": """
class LoRALinear(pt.Adapter):
    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__(base)
        self.rank, self.alpha = rank, alpha
        self.A, self.B = self.start(base.in_features, base.out_features)

    def start(self, n_in, n_out):
        bound = 1 / math.sqrt(n_in)
        return (nn.Parameter(torch.empty(self.rank, n_in).uniform_(-bound, bound)),
                nn.Parameter(torch.zeros(n_out, self.rank)))

    @property
    def scale(self):
        return self.alpha / self.rank

    def correction(self, x):
        return self.scale * torch.matmul(torch.matmul(x, self.A.t()), self.B.t())

    def forward(self, x):
        return self.base(x) + self.correction(x.to(self.A.dtype)).type_as(x)
""",
}

WRONG["lora.layer"] = {
    "no_scale": but(LAYER, SCALED, "("),
    "both_zero": but(LAYER, A, "torch.zeros(rank, base.in_features)"),
    "both_random": but(LAYER, "torch.zeros", "1e-8 * torch.randn"),
    "A_size": (but(LAYER, "base.in_features**0.5", "rank**0.5"),
               but(LAYER, "base.in_features**0.5", "base.out_features**0.5"),
               but(LAYER, A, "torch.randn(rank, base.in_features) * 0.03")),
    "alike": but(LAYER, A, "torch.randn(rank, 1) * torch.randn(1, base.in_features) / "
                           "base.in_features**0.5"),
    "matrix_built": but(LAYER, Y, f"""{Y}        if not self.training:
            W = self.base.weight.float() + self.scale * self.B @ self.A
            b = None if self.base.bias is None else self.base.bias.float()
            return nn.functional.linear(x.float(), W, b).to(y.dtype)
"""),
    "halved": (but(LAYER, BRANCH, "(x @ self.A.T.to(x.dtype)).float() @ self.B.T"),
               but(LAYER, BRANCH, "(x.float() @ self.A.T).to(x.dtype) @ self.B.T.to(x.dtype)")),
    "": (but(LAYER, A, "torch.zeros(rank, base.in_features)", B,
             "torch.randn(base.out_features, rank) * 0.5"),
         but(LAYER, "torch.randn(rank", "torch.rand(rank"),
         but(LAYER, "self.base(x)", "x @ self.base.weight.T + (0 if self.base.bias is None else "
                                    "self.base.bias)")),
    "no_scale_attribute": but(LAYER, SCALE, "self.s = alpha / rank", SCALED, "self.s * ("),
}

BEYOND["lora.layer"] = but(LAYER, "u.to(y.dtype)",
                           "(u if y.dtype == torch.float32 else u.bfloat16())")

# ── lora.start ───────────────────────────────────────────────────────────────────────────────

START = """
def start_holds(make):
    base = nn.Linear(5, 3).requires_grad_(False)
    layer, x = make(base, 2, 4.0), torch.randn(7, 5)
    assert torch.equal(layer(x), base(x))
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad], lr=0.01)
    for step in range(2):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
    for name, p in layer.named_parameters():
        assert torch.equal(p, before[name]) != (name in ("A", "B")), name
"""
STARTS = "    assert torch.equal(layer(x), base(x))\n"
MOVED = """    for name, p in layer.named_parameters():
        assert torch.equal(p, before[name]) != (name in ("A", "B")), name
"""

RIGHT["lora.start"] = {
    "a copy of all": START,
    "more steps of SGD": but(START, "Adam([", "SGD([", "range(2)", "range(5)"),
    "by hand": """
def start_holds(make):
    base = nn.Linear(4, 4)
    for p in base.parameters():
        p.requires_grad = False
    W, b = base.weight.clone(), base.bias.clone()
    layer = make(base, rank=3, alpha=6)
    A, B = layer.A.detach().clone(), layer.B.detach().clone()
    x, y = torch.randn(10, 4), torch.randn(10, 4)
    if (layer(x) != base(x)).any():
        raise ValueError("the start is not the base")
    for _ in range(3):
        ((layer(x) - y) ** 2).mean().backward()
        with torch.no_grad():
            for p in layer.parameters():
                if p.grad is not None:
                    p -= 0.1 * p.grad
                    p.grad = None
    if torch.equal(layer.A, A) or torch.equal(layer.B, B):
        raise ValueError("a matrix did not move")
    if not (torch.equal(base.weight, W) and torch.equal(base.bias, b)):
        raise ValueError("the base moved")
""",
    "the base by its outputs": but(START, STARTS, f"{STARTS}    y = base(x)\n", MOVED, """
    assert not torch.equal(layer.A, before["A"])
    assert not torch.equal(layer.B, before["B"])
    assert torch.equal(base(x), y)
"""),
    "gradients after one step": """
def start_holds(make):
    base = nn.Linear(6, 5).requires_grad_(False)
    layer, x = make(base, 2, 3.0), torch.randn(9, 6)
    assert not (layer(x) - base(x)).any()
    seen, W = {"A": False, "B": False}, base.weight.clone()
    for _ in range(2):
        layer.zero_grad()
        layer(x).pow(2).sum().backward()
        assert base.weight.grad is None and base.bias.grad is None
        with torch.no_grad():
            for name in seen:
                p = getattr(layer, name)
                if p.grad is not None:
                    seen[name] = seen[name] or bool(p.grad.any())
                    p.sub_(0.01 * p.grad)
    assert all(seen.values()) and torch.equal(base.weight, W), seen
""",
    "helpers": """
import copy

def trained(layer, x, steps):
    ready = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(ready, lr=1e-2, weight_decay=0)
    for _ in range(steps):
        optimizer.zero_grad()
        layer(x).exp().mean().backward()
        optimizer.step()
    return layer

def start_holds(make):
    base = nn.Linear(8, 8, bias=True).requires_grad_(False)
    kept = copy.deepcopy(base)
    x = torch.randn(3, 2, 8)
    layer = make(base, 2, 4)
    A, B = (p.detach().clone() for p in (layer.A, layer.B))
    assert torch.equal(layer(x), kept(x)), "start"
    trained(layer, x, 4)
    assert (layer.A != A).any() and (layer.B != B).any(), "learns"
    assert torch.equal(base(x), kept(x)), "base"
""",
}

WRONG["lora.start"] = {
    "let_through": (
        but(START, "torch.equal(layer(x), base(x))", "torch.allclose(layer(x), base(x), "
                                                     "atol=1e-4)"),
        but(START, STARTS, ""),
        but(START, "optim.Adam(", "optim.AdamW("),
        but(START, MOVED, '    assert not torch.equal(layer.B, before["B"])\n'),
        but(START, MOVED, """    assert not torch.equal(layer.A, before["A"])
    assert not torch.equal(layer.B, before["B"])
    assert not any(p.requires_grad for p in layer.base.parameters())
""")),
    "accused": (but(START, STARTS, f"{STARTS}    assert not layer.B.any()\n"),
                but(START, STARTS, f"{STARTS}    assert layer.scale == 2\n")),
}

# ── lora.case ────────────────────────────────────────────────────────────────────────────────

CASE = """
clears = ({"rank": 64, "alpha": 128, "lr": 3e-3}, {"rank": 8, "alpha": 45.25, "lr": 3e-3})
convicts = ({"rank": 1, "alpha": 16, "lr": 3e-3}, {"rank": 1, "alpha": 128, "lr": 3e-3})
"""
SIXTY_FOUR = '{"rank": 64, "alpha": 128, "lr": 3e-3}'
AS_LARGE = '{"rank": 8, "alpha": 45.25, "lr": 3e-3}'
ONE = '{"rank": 1, "alpha": 16, "lr": 3e-3}'
LOUD = '{"rank": 1, "alpha": 128, "lr": 3e-3}'

RIGHT["lora.case"] = {
    "alpha, at rank 1": CASE,
    "rank 1 clears, too": but(CASE, AS_LARGE, ONE + " "),
    "a rank with a point": but(CASE, LOUD, LOUD.replace('"rank": 1', '"rank": 1.0')),
    "in another order": but(CASE, f"({SIXTY_FOUR}, {AS_LARGE})", f"[{AS_LARGE}, {SIXTY_FOUR}]"),
    "a longer step in alpha": but(CASE, ONE, '{"rank": 1, "alpha": 2, "lr": 3e-3}'),
    "a helper": """
def setting(rank, alpha, lr=0.003):
    return dict(lr=lr, rank=rank, alpha=alpha)

clears = [setting(8, 45.25), setting(64, 128)]
convicts = [setting(1, 16), setting(1, 128)]
""",
    "NumPy": """
import numpy as np

rank, alpha = np.int64(1), np.float64(16.0)
clears = ({"rank": 64, "alpha": 128, "lr": 3e-3}, {"rank": np.int64(1), "alpha": alpha, "lr": 3e-3})
convicts = tuple({"rank": rank, "alpha": a, "lr": np.float32(0.003)} for a in (alpha, 8 * alpha))
""",
}

WRONG["lora.case"] = {
    "asked_already": but(CASE, ONE, ONE.replace("1,", "8,"), LOUD, LOUD.replace(": 1,", ": 8,")),
    "not_controlled": but(CASE, ONE, '{"rank": 4, "alpha": 8, "lr": 3e-3}'),
    "other_size": but(CASE, AS_LARGE, '{"rank": 8, "alpha": 16, "lr": 3e-3}'),
    "rank_suspected": but(CASE, f"({ONE}, {LOUD})",
                          f'({{"rank": 64, "alpha": 16, "lr": 3e-3}}, {SIXTY_FOUR})'),
    "same_outcome": but(CASE, LOUD, '{"rank": 1, "alpha": 2, "lr": 3e-3}'),
    "not_recorded": (but(CASE, AS_LARGE, '{"rank": 2, "alpha": 22.6, "lr": 3e-3}'),
                     but(CASE, LOUD, '{"rank": 1, "alpha": 128, "lr": 1e-3}')),
    "not_settings": (but(CASE, f"({ONE}, {LOUD})", f"({ONE}, {LOUD}, {ONE})"),
                     but(CASE, AS_LARGE, "(8, 45.25, 3e-3)"),
                     but(CASE, ONE, '{"rank": 1, "alpha": 16}'),
                     but(CASE, ONE, ONE.replace("16", '"16"')),
                     but(CASE, ONE, ONE.replace("1,", "1.5,"))),
}

# ── lora.merge ───────────────────────────────────────────────────────────────────────────────

MERGE = """
def merged(layer):
    base = layer.base
    linear = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None,
                       dtype=base.weight.dtype, device=base.weight.device)
    with torch.no_grad():
        linear.weight.copy_(base.weight.float() + layer.scale * layer.B @ layer.A)
        if base.bias is not None:
            linear.bias.copy_(base.bias)
    return linear
"""
DELTA = "layer.scale * layer.B @ layer.A"
WEIGHT = f"base.weight.float() + {DELTA}"
COPIED = "            linear.bias.copy_(base.bias)\n"

RIGHT["lora.merge"] = {
    "plain": MERGE,
    "a copy of the base": """
import copy

def merged(layer):
    linear = copy.deepcopy(layer.base)
    with torch.no_grad():
        linear.weight.copy_(linear.weight.float() + layer.scale * (layer.B @ layer.A))
    return linear
""",
    "new parameters": """
def merged(layer):
    W, b = layer.base.weight, layer.base.bias
    linear = nn.Linear(W.shape[1], W.shape[0], bias=b is not None)
    weight = (W.float() + layer.scale * layer.B @ layer.A).to(W.dtype)
    linear.weight = nn.Parameter(weight.detach())
    if b is not None:
        linear.bias = nn.Parameter(b.detach().clone())
    return linear
""",
    "data": but(MERGE, "linear.weight.copy_(", "linear.weight.data = (", "layer.A)\n",
                "layer.A).to(base.weight.dtype)\n"),
    "in double": but(MERGE, WEIGHT, "base.weight.double() + layer.scale * "
                                    "layer.B.double() @ layer.A.double()"),
    "on the CPU, and back": but(MERGE, WEIGHT, "base.weight.cpu().float() + layer.scale * "
                                        "layer.B.cpu() @ layer.A.cpu()"),
    "NumPy": """
import numpy as np

def merged(layer):
    base = layer.base
    W, A, B = (p.detach().float().cpu().numpy() for p in (base.weight, layer.A, layer.B))
    linear = nn.Linear(*W.shape[::-1], bias=base.bias is not None).to(base.weight)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(W + np.float32(layer.scale) * B @ A))
        if base.bias is not None:
            linear.bias.copy_(base.bias)
    return linear
""",
    "a state": """
def merged(layer):
    state = {name: t.clone() for name, t in layer.base.state_dict().items()}
    W = state["weight"]
    state["weight"] = (W.float() + layer.scale * layer.B @ layer.A).to(W.dtype)
    linear = nn.Linear(W.shape[1], W.shape[0], bias="bias" in state, dtype=W.dtype)
    linear.load_state_dict(state, assign=True)
    return linear
""",
    "moved there": but(MERGE, "dtype=base.weight.dtype, device=base.weight.device", "",
                       "return linear", "return linear.to(base.weight)"),
}

WRONG["lora.merge"] = {
    "layer_changed": ("""
def merged(layer):
    with torch.no_grad():
        layer.base.weight += (layer.scale * layer.B @ layer.A).to(layer.base.weight.dtype)
    return layer.base
""", *(but(MERGE, "    return linear", f"    {line}\n    return linear")
       for line in ("layer.requires_grad_(False)", "layer.base.eval()"))),
    "no_scale": but(MERGE, DELTA, "layer.B @ layer.A"),
    "summed_in_half": but(MERGE, WEIGHT, f"base.weight + ({DELTA}).to(base.weight.dtype)"),
    "no_return": but(MERGE, "    return linear\n", ""),
    "dtype": but(MERGE, "dtype=base.weight.dtype, ", ""),
    "device": (but(MERGE, ", device=base.weight.device", ""),
               but(MERGE, DELTA, f"torch.eye(len(layer.B)) @ ({DELTA})")),
    "bias_lost": but(MERGE, "base.bias is not None,", "False,",
                     "        if base.bias is not None:\n" + COPIED, ""),
    "shared": but(MERGE, COPIED, "            linear.bias = base.bias\n"),
    "": (but(MERGE, "return linear", "return layer"),
         but(MERGE, "base.in_features, base.out_features", "base.out_features, base.in_features",
             f"        linear.weight.copy_({WEIGHT})\n",
             f"        W = {WEIGHT}\n"
             "        linear.weight = nn.Parameter(W.to(base.weight.dtype))\n",
             COPIED, "            linear.bias = nn.Parameter(base.bias.clone())\n"),
         but(MERGE, "bias=base.bias is not None,\n                       ", ""),
         but(MERGE, COPIED, "            pass\n")),
}

BEYOND["lora.merge"] = but(
    MERGE, "dtype=base.weight.dtype",
    "dtype=torch.float32 if base.weight.dtype == torch.float32 else torch.bfloat16")

# ── lora.pairs ───────────────────────────────────────────────────────────────────────────────

PAIRS = """
verdicts = ["better", "no difference seen", "worse"]
"""
LIST = '["better", "no difference seen", "worse"]'

RIGHT["lora.pairs"] = {
    "a list": PAIRS,
    "a tuple, in large letters": but(PAIRS, "[", "(", "]", ")", '"worse"', '"Worse"', '"better"',
                                     '"BETTER"'),
    "by number": but(PAIRS, LIST, '{1: "better", 2: "no difference seen", 3: "worse"}'),
    "by number, from the last": but(PAIRS, LIST, '{3: "worse", 2: "no difference seen", '
                                                 '1: "better"}'),
    "NumPy": but("import numpy as np\n" + PAIRS, LIST, f"np.array({LIST})"),
    "named": """
same = "no difference seen"
verdicts = [same] * 3
verdicts[0], verdicts[2] = "better", "worse"
""",
}

WRONG["lora.pairs"] = {
    "too_shy": but(PAIRS, '"worse"', '"no difference seen"'),
    "too_sure": but(PAIRS, '"no difference seen"', '"better"'),
    "wrong_way": but(PAIRS, '"worse"', '"better"'),
    "not_verdicts": (but(PAIRS, '"better"', '"same"'), but(PAIRS, '"better", ', "")),
}

# ── lora.forty_kb ────────────────────────────────────────────────────────────────────────────

FORTY = """
ship = pt.lora.Config(rank=2, alpha=4, targets=("value",))
leave = pt.lora.Config(rank=6, alpha=12, targets=("query", "value"), layers=(5,))
"""
SHIP = 'rank=2, alpha=4, targets=("value",)'
LEAVE = 'rank=6, alpha=12, targets=("query", "value"), layers=(5,)'
KNOWN = 'rank=1, alpha=2, targets=("query", "value")'

RIGHT["lora.forty_kb"] = {
    "values, not the last block alone": FORTY,
    "from the last to the first": but(FORTY, '("value",)', '("value",), layers=[5, 4, 3, 2, 1, 0]'),
    "the upper half of the default": but(FORTY, SHIP, "rank=2, alpha=4, layers=(3, 4, 5)"),
    "with the projection": but(FORTY, SHIP, 'rank=1, alpha=2, targets=("attention_out", "value")'),
    "leaves the feed-forward": but(FORTY, LEAVE, 'rank=1, alpha=2, targets=("ffn_out",), '
                                                 'layers=(1, 2, 3, 4, 5)'),
    "by the root of the rank": but(FORTY, "rank=2, alpha=4", "rank=2, alpha=8**0.5, "
                                                             "rank_stabilized=True"),
}

WRONG["lora.forty_kb"] = {
    "known": but(FORTY, SHIP, KNOWN),
    "too_large": but(FORTY, LEAVE, LEAVE.replace("6, alpha=12", "8, alpha=16")),
    "other_scale": (but(FORTY, "rank=2, alpha=4, ", "rank=2, "),
                    but(FORTY, SHIP, f"{SHIP}, dropout=0.1"),
                    but(FORTY, SHIP, f"{SHIP}, use_bias=True")),
    "not_a_config": but(FORTY, f"pt.lora.Config({SHIP})", "{'rank': 2, 'targets': ('value',)}"),
    "not_recorded": but(FORTY, '("value",)', '("atention_out",)'),
    "weaker": but(FORTY, SHIP, 'rank=1, alpha=2, targets=("ffn_out",), layers=(1, 2, 3, 4, 5)'),
    "not_worse": but(FORTY, LEAVE, 'rank=1, alpha=2, targets=("value", "attention_out")'),
}
