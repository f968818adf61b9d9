"""Answers to the exercises of lesson 05."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── adapters.size ────────────────────────────────────────────────────────────────────────────

SIZE = """
def size_for(budget, d_model, modules):
    left = budget // modules - d_model
    each = 2 * d_model + 1
    return max(0, left // each)
"""
LEFT, EACH, ANSWER = "budget // modules - d_model", "2 * d_model + 1", "max(0, left // each)"
COUNTED = """
def size_for(budget, d_model, modules):
    size = 0
    while modules * (2 * d_model * (size + 1) + size + 1 + d_model) <= budget:
        size += 1
    return size
"""

RIGHT["adapters.size"] = {
    "solved for the size": SIZE,
    "counted up": COUNTED,
    "a float, rounded down": """
def size_for(budget, d_model, modules):
    return max(math.floor((budget / modules - d_model) / (2 * d_model + 1) + 1e-9), 0)
""",
    "a library's": """
def size_for(budget, d_model, modules):
    return max((s for s in range(1, 200)
                if modules * pt.bottleneck.count(d_model, s) <= budget), default=0)
""",
    "tensors that are made": """
def size_for(budget, d_model, modules):
    def cost(size):
        shapes = [(size, d_model), (size,), (d_model, size), (d_model,)]
        return modules * sum(torch.empty(s, device="meta").numel() for s in shapes)
    size = 0
    while cost(size + 1) <= budget:
        size += 1
    return size
""",
    "halving": """
def size_for(budget, d_model, modules):
    low, high = 0, budget
    while low < high:
        middle = (low + high + 1) // 2
        if modules * (middle * (2 * d_model + 1) + d_model) <= budget:
            low = middle
        else:
            high = middle - 1
    return low
""",
    "NumPy's": "import numpy as np\n" + but(SIZE, ANSWER, "np.int64(max(0, left // each))"),
}
WRONG["adapters.size"] = {
    "no_biases": but(SIZE, LEFT, "budget // modules", EACH, "2 * d_model"),
    "no_return": but(SIZE, "return", "size ="),
    "not_whole": (but(SIZE, "left // each", "left / each"), but(SIZE, ANSWER, "str(left // each)")),
    "no_b_down": but(SIZE, EACH, "2 * d_model"),
    "no_b_up": (but(SIZE, LEFT, "budget // modules"),
                but(SIZE, "left // each", "round((budget / modules - d_model) / each)")),
    "one_matrix": (but(SIZE, EACH, "d_model + 1"),
                   but(SIZE, LEFT, "budget // modules", EACH, "d_model")),
    "one_module": but(SIZE, LEFT, "budget - d_model"),
    "negative": but(SIZE, ANSWER, "left // each"),
    "rounded": but(SIZE, "left // each", "math.ceil((budget / modules - d_model) / each)"),
    "one_less": but(COUNTED, "<= budget", "< budget"),
}
BEYOND["adapters.size"] = but(SIZE, EACH, "2 * d_model + 1 if d_model > 2 else 4")

# ── adapters.bottleneck ──────────────────────────────────────────────────────────────────────

BOTTLENECK = """
class Bottleneck(nn.Module):
    def __init__(self, d_model, size):
        super().__init__()
        self.W_down = nn.Parameter(0.01 * torch.randn(size, d_model))
        self.b_down = nn.Parameter(torch.zeros(size))
        self.W_up = nn.Parameter(0.01 * torch.randn(d_model, size))
        self.b_up = nn.Parameter(torch.zeros(d_model))

    def forward(self, u):
        scores = u @ self.W_down.T + self.b_down
        h = torch.relu(scores)
        return h @ self.W_up.T + self.b_up
"""
SCORES, ACT, OUT = ("u @ self.W_down.T + self.b_down", "torch.relu(scores)",
                    "h @ self.W_up.T + self.b_up")
LAYERS = """
class Bottleneck(nn.Module):
    def __init__(self, d_model, size):
        super().__init__()
        self.down, self.up = nn.Linear(d_model, size), nn.Linear(size, d_model)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, u):
        return self.up(nn.functional.relu(self.down(u)))
"""

RIGHT["adapters.bottleneck"] = {
    "four parameters": BOTTLENECK,
    "two layers": LAYERS,
    "a sequence": """
class Bottleneck(nn.Module):
    def __init__(self, d_model, size):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(d_model, size), nn.ReLU(), nn.Linear(size, d_model))
        with torch.no_grad():
            for p in self.net.parameters():
                p.normal_(0, 0.005) if p.dim() == 2 else p.zero_()

    def forward(self, u):
        return self.net(u)
""",
    "a sequence itself": """
class Bottleneck(nn.Sequential):
    def __init__(self, d_model, size):
        super().__init__(nn.Linear(d_model, size), nn.ReLU(), nn.Linear(size, d_model))
        nn.init.zeros_(self[2].weight)
        nn.init.zeros_(self[2].bias)
        nn.init.zeros_(self[0].bias)
""",
    "silent by W_up": but(BOTTLENECK, "0.01 * torch.randn(d_model, size)",
                          "torch.zeros(d_model, size)", "0.01 * torch.randn(size, d_model)",
                          "torch.randn(size, d_model) / d_model ** 0.5"),
    "matrices as in the prefix": but(
        BOTTLENECK, "torch.randn(size, d_model)", "torch.randn(d_model, size)",
        "0.01 * torch.randn(d_model, size))\n        self.b_up",
        "0.01 * torch.randn(size, d_model))\n        self.b_up", "self.W_down.T", "self.W_down",
        "self.W_up.T", "self.W_up"),
    "truncated": but(BOTTLENECK, "0.01 * torch.randn(size, d_model)",
                     "nn.init.trunc_normal_(torch.empty(size, d_model), std=0.01, a=-0.02, "
                     "b=0.02)"),
    "einsum and clamp": but(BOTTLENECK, SCORES,
                            'torch.einsum("...d,md->...m", u, self.W_down) + self.b_down', ACT,
                            "scores.clamp(min=0)"),
    "slot by slot": but(BOTTLENECK, OUT,
                        "sum(h[..., i, None] * self.W_up[:, i] for i in range(h.shape[-1])) "
                        "+ self.b_up"),
    "keeps its scores": but(BOTTLENECK, "        h = ",
                            "        self.scores = scores\n        h = "),
    "where": but(BOTTLENECK, ACT, "torch.where(scores > 0, scores, torch.zeros_like(scores))"),
}
DOWN = "0.01 * torch.randn(size, d_model)"
UP = "0.01 * torch.randn(d_model, size)"
WRONG["adapters.bottleneck"] = {
    "competes": but(BOTTLENECK, ACT, "scores.softmax(-1)"),
    "no_return": but(BOTTLENECK, "return", "y ="),
    "not_module": """
class Bottleneck:
    def __init__(self, d_model, size):
        self.W_down = torch.randn(size, d_model)
""",
    "not_registered": but(BOTTLENECK, f"nn.Parameter({DOWN})", DOWN, f"nn.Parameter({UP})", UP,
                          "nn.Parameter(torch.zeros(size))", "torch.zeros(size)",
                          "nn.Parameter(torch.zeros(d_model))", "torch.zeros(d_model)"),
    "one_bias": (but(BOTTLENECK, "        self.b_up = nn.Parameter(torch.zeros(d_model))\n", "",
                     OUT, "h @ self.W_up.T"),
                 but(LAYERS, "nn.Linear(size, d_model)", "nn.Linear(size, d_model, bias=False)",
                     "            nn.init.zeros_(layer.bias)\n", "")),
    "shapes": (but(BOTTLENECK, "nn.Parameter(torch.zeros(size))",
                   "nn.Parameter(torch.zeros(d_model, size))"),
               but(LAYERS, "nn.Linear(size, d_model)", "nn.Linear(size, size)")),
    "input_changed": but(BOTTLENECK, "        scores =", "        u *= 2\n        scores ="),
    "shape_out": but(BOTTLENECK, OUT, f"({OUT}).mean(0)"),
    "linear": but(BOTTLENECK, ACT, "scores"),
    "residual": (but(BOTTLENECK, OUT, f"u + {OUT}"), but(LAYERS, "return self", "return u + self")),
    "act_last": but(BOTTLENECK, OUT, f"torch.relu({OUT})"),
    "bias_after": but(BOTTLENECK, SCORES, "u @ self.W_down.T", ACT,
                      "torch.relu(scores) + self.b_down"),
    "smooth": (but(BOTTLENECK, ACT, "nn.functional.gelu(scores)"),
               but(LAYERS, "functional.relu", "functional.gelu")),
    "training_only": but(BOTTLENECK, f"return {OUT}",
                         f"return {OUT} if self.training else torch.zeros_like(u)"),
    "no_gradient": (but(BOTTLENECK, SCORES, "u.detach() @ self.W_down.T + self.b_down"),
                    but(BOTTLENECK, SCORES, "u @ self.W_down.data.T + self.b_down")),
    "not_silent": (but(BOTTLENECK, "torch.zeros(d_model)", "0.001 * torch.randn(d_model)"),
                   but(LAYERS, "            nn.init.zeros_(layer.bias)\n", "")),
    "start_far": (but(BOTTLENECK, DOWN, "torch.randn(size, d_model)", UP,
                      "torch.randn(d_model, size)"),
                  but(LAYERS, "            nn.init.normal_(layer.weight, std=0.01)\n", ""),
                  but(LAYERS, "std=0.01", "std=0.03")),
    "alike": (but(LAYERS, "nn.init.normal_(layer.weight, std=0.01)",
                  "nn.init.constant_(layer.weight, 5e-4)"),
              but(BOTTLENECK, DOWN, "0.01 * torch.randn(1, d_model).repeat(size, 1)", UP,
                  "torch.zeros(d_model, size)")),
    "never_learns": (but(BOTTLENECK, DOWN, "torch.zeros(size, d_model)", UP,
                         "torch.zeros(d_model, size)"),
                     but(BOTTLENECK, DOWN, "torch.zeros(size, d_model)"),
                     but(LAYERS, "std=0.01", "std=1e-9")),
}
BEYOND["adapters.bottleneck"] = but(BOTTLENECK, OUT, f"({OUT}).reshape(len(u), *u.shape[1:])",
                                    SCORES, "u[:999] @ self.W_down.T + self.b_down")

# ── adapters.near ────────────────────────────────────────────────────────────────────────────

NEAR = """
def uphill(A, u, steps=10):
    for _ in range(steps):
        u = (u / u.norm(dim=-1, keepdim=True).clamp(min=1e-12)).detach().requires_grad_()
        u = torch.autograd.grad(A(u).norm(dim=-1).sum(), u)[0]
    return u / u.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def starts_near(make, d_model, bound):
    A = make()
    u = uphill(A, torch.randn(32, d_model))
    for length in (0.001, 1, 1000):
        far = A(length * u).norm(dim=-1) / length
        assert (far <= bound).all(), far.max()
    A(torch.randn(20, d_model)).sum().backward()
    grads = [p.grad for p in A.parameters() if p.dim() == 2]
    assert any(g is not None and g.any() for g in grads), "nothing learns"
"""
TOKENS = "uphill(A, torch.randn(32, d_model))"
FEATURES = "torch.cat([torch.eye(d_model), -torch.eye(d_model)])"
LENGTHS = "(0.001, 1, 1000)"
LEARNS = """    A(torch.randn(20, d_model)).sum().backward()
    grads = [p.grad for p in A.parameters() if p.dim() == 2]
    assert any(g is not None and g.any() for g in grads), "nothing learns"
"""
RIGHT["adapters.near"] = {
    "uphill, three lengths": NEAR,
    "zero as well": but(NEAR, "    for length", "    assert not A(torch.zeros(1, d_model)).any()\n"
                              "    for length"),
    "along the rows of a matrix": """
def starts_near(make, d_model, bound):
    A = make()
    rows = torch.cat([p.detach() for p in A.parameters() if p.dim() == 2 and p.shape[1] == d_model])
    rows = torch.cat([rows, torch.randn(5, d_model)])
    for row in rows / (rows.norm(dim=1, keepdim=True) + 1e-30):
        for size in (-500.0, -1.0, -0.01, 0.01, 1.0, 500.0):
            with torch.no_grad():
                if not torch.linalg.vector_norm(A(size * row)) <= bound * abs(size):
                    raise ValueError(f"far at {size}")
    before = [p.detach().clone() for p in A.parameters() if p.dim() == 2]
    optimizer = torch.optim.SGD(A.parameters(), lr=0.1)
    A(torch.randn(30, d_model)).square().sum().backward()
    A(torch.randn(30, d_model)).sum().backward()
    optimizer.step()
    after = [p for p in A.parameters() if p.dim() == 2]
    assert not all(torch.equal(a, b) for a, b in zip(after, before))
""",
    "features, too": but(NEAR, TOKENS, f"torch.cat([{TOKENS}, {FEATURES}])"),
    "uphill from features": but(NEAR, TOKENS, f"uphill(A, {FEATURES} + 0.1 * torch.randn(1, "
                                              "d_model))"),
    "by the largest": but(NEAR, "assert (far <= bound).all(), far.max()",
                          "assert float(far.max()) <= bound"),
    "another loss": but(NEAR, "A(torch.randn(20, d_model)).sum()",
                        "(A(torch.randn(20, d_model)) * torch.randn(20, d_model)).sum()"),
    "the gradient asked for": but(NEAR, LEARNS, """
    matrices = [p for p in A.parameters() if p.dim() == 2]
    grads = torch.autograd.grad(A(torch.randn(20, d_model)).sum(), matrices)
    assert sum(float(g.abs().sum()) for g in grads) > 0
"""),
    "an optimizer goes uphill": """
def starts_near(make, d_model, bound):
    A, u = make(), torch.nn.Parameter(torch.randn(40, d_model))
    optimizer = torch.optim.Adam([u], lr=0.3, maximize=True)
    for _ in range(100):
        optimizer.zero_grad()
        (A(u).norm(dim=1) / u.norm(dim=1)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        v = u / u.norm(dim=1, keepdim=True)
        for power in range(-3, 4):
            assert (A(10.0 ** power * v).norm(dim=1) <= bound * 10.0 ** power * 1.0001).all()
    A = make()
    A(torch.randn(9, d_model)).sum().backward()
    assert max(p.grad.abs().max() for p in A.parameters() if p.ndim == 2) > 0
""",
}
DRAWN = "nn.functional.normalize(torch.randn({}, d_model))"
WRONG["adapters.near"] = {
    "silence": (but(NEAR, LEARNS, ""),
                but(NEAR, " if p.dim() == 2", "")),
    "not_short": (but(NEAR, LENGTHS, "(1, 1000)"), but(NEAR, LENGTHS, "(1,)")),
    "not_long": but(NEAR, LENGTHS, "(0.001, 1)"),
    "weights_only": """
def starts_near(make, d_model, bound):
    A = make()
    matrices = [p for p in A.parameters() if p.dim() == 2]
    assert torch.stack([torch.linalg.matrix_norm(p, 2) for p in matrices]).prod() <= bound
    assert not any(p.any() for p in A.parameters() if p.dim() == 1)
    A(torch.randn(20, d_model)).sum().backward()
    assert any(p.grad.any() for p in matrices)
""",
    "not_a_number": but(NEAR, "assert (far <= bound).all()", "assert not (far > bound).any()"),
    "drawn_only": (but(NEAR, TOKENS, "nn.functional.normalize(torch.ones(4, d_model))"),
                   but(NEAR, TOKENS, DRAWN.format(1000))),
    "one_sign": but(NEAR, TOKENS, "torch.eye(d_model)"),
    "features_only": but(NEAR, TOKENS, FEATURES),
    "silent_accused": (
        but(NEAR, "any(g is not None", "all(g is not None"),
        but(NEAR, LEARNS, LEARNS + "    assert all(p.any() for p in A.parameters() if p.dim() == "
                                   "2)\n"),
        but(NEAR, "return u / u.norm(dim=-1, keepdim=True).clamp(min=1e-12)",
            "return u / u.norm(dim=-1, keepdim=True)")),
    "let_through": (but(NEAR, "(far <= bound)", "(far <= 1000 * bound)"),),
    "accused": (but(NEAR, "(far <= bound)", "(far == 0)", LEARNS, ""),
                but(NEAR, "    for length", "    assert A(u).any()\n    for length")
                .replace("A(u).any()", "0.01 > A(u).abs().max() > 1e-4")),
    "objects_to_all": (but(NEAR, "(far <= bound)", "(far <= 0 * bound - 1)"),
                       but(NEAR, TOKENS, "torch.eye(d_model + 1)")),
    "returned_bool": but(NEAR, LEARNS, LEARNS + "    return True\n"),
}

# ── adapters.placements ──────────────────────────────────────────────────────────────────────

PLACEMENTS = """
class Pfeiffer(pt.Adapter):
    def __init__(self, base, A):
        super().__init__(base)
        self.A = A

    def forward(self, x):
        y = self.base(x)
        return self.base(x + self.A(y))


class Parallel(pt.Adapter):
    def __init__(self, base, A, scale):
        super().__init__(base)
        self.A, self.scale = A, scale

    def forward(self, h, r):
        return self.base(h, r + self.scale * self.A(r))
"""
NORMED, BESIDE = "self.base(x + self.A(y))", "self.base(h, r + self.scale * self.A(r))"
RIGHT["adapters.placements"] = {
    "as the formulas": PLACEMENTS,
    "in one line": but(PLACEMENTS, "        y = self.base(x)\n", "", NORMED,
                       "self.base(self.A(self.base(x)) + x)"),
    "torch.add": but(PLACEMENTS, BESIDE, "self.base(h, torch.add(r, self.A(r), alpha=self.scale))"),
    "steps": but(PLACEMENTS, f"        return {BESIDE}",
                 "        change = self.A(r)\n        change = change * self.scale\n"
                 "        moved = r + change\n        return self.base(h, moved)"),
    "any arguments": but(PLACEMENTS, "def forward(self, h, r):", "def forward(self, *inputs):",
                         BESIDE, "self.base(inputs[0], inputs[1] + self.scale * "
                                 "self.A(inputs[1]))"),
    "one from the other": """
class Pfeiffer(pt.Adapter):
    def __init__(self, base, A, scale=1.0):
        super().__init__(base)
        self.A = A
        self.scale = scale

    def said(self, u):
        return self.scale * self.A(u)

    def forward(self, x):
        return self.base(x + self.said(self.base(x)))


class Parallel(Pfeiffer):
    def forward(self, h, r):
        return self.base(h, r + self.said(r))
""",
    "by parts": """
class Around(pt.Adapter):
    def __init__(self, base, A, scale=1):
        super().__init__(base)
        self.A, self.s = A, scale


class Pfeiffer(Around):
    def forward(self, x):
        u = self.base(x)
        delta = self.A(u)
        return self.base(torch.stack([x, delta]).sum(0))


class Parallel(Around):
    def forward(self, h, r):
        return self.base(h, torch.lerp(r, r + self.A(r), self.s))
""",
}
FIRST = ("class Pfeiffer(pt.Adapter):\n    def __init__(self, base, A):\n"
         "        super().__init__(base)")
WRONG["adapters.placements"] = {
    "not_normed_again": but(PLACEMENTS, NORMED, "y + self.A(y)"),
    "no_return": (but(PLACEMENTS, f"return {NORMED}", NORMED),
                  but(PLACEMENTS, f"return {BESIDE}", BESIDE)),
    "not_adapter": but(PLACEMENTS, FIRST, "class Pfeiffer(nn.Module):\n    def __init__(self, base,"
                                          " A):\n        super().__init__()\n        self.base = "
                                          "base"),
    "base_lost": but(PLACEMENTS, FIRST, f"{FIRST}\n        import copy\n        self.base = "
                                        "copy.deepcopy(base)"),
    "base_trained": but(PLACEMENTS, FIRST, f"{FIRST}\n        base.requires_grad_(True)"),
    "more_parameters": but(PLACEMENTS, FIRST, f"{FIRST}\n        self.norm = nn.LayerNorm(4)"),
    "layers_inside": but(PLACEMENTS, "        self.A = A\n", "        self.inner = A\n",
                         "self.A(y)", "self.inner(y)"),
    "names": but(PLACEMENTS, "        self.A = A\n", "        self.A = [A]\n", "self.A(y)",
                 "self.A[0](y)"),
    "forward_left": but(PLACEMENTS, f"        y = self.base(x)\n        return {NORMED}",
                        '        raise pt.NotAttempted("adapters.placements")'),
    "input_changed": (but(PLACEMENTS, f"        return {BESIDE}",
                          "        r += self.scale * self.A(r)\n        return self.base(h, r)"),
                      but(PLACEMENTS, f"        return {NORMED}",
                          "        x += self.A(y)\n        return self.base(x)")),
    "base_changed": but(PLACEMENTS, f"        return {BESIDE}",
                        "        with torch.no_grad():\n            "
                        "next(self.base.parameters()).add_(0.01)"
                        f"\n        return {BESIDE}"),
    "buffer": but(PLACEMENTS, "        self.A, self.scale = A, scale\n",
                  "        self.A = A\n"
                  "        self.register_buffer(\"scale\", torch.tensor(scale))\n"),
    "copied_A": but(PLACEMENTS, "        self.A = A\n",
                    "        import copy\n        self.A = copy.deepcopy(A)\n"),
    "looks_inside": (
        but(PLACEMENTS, BESIDE, "list(self.base.children())[1](list(self.base.children())[0](h) "
                                "+ r + self.scale * self.A(r))"),
        but(PLACEMENTS, NORMED, "nn.functional.layer_norm(x + self.A(y), x.shape[-1:], "
                                "self.base.weight, self.base.bias)")),
    "start_differs": (but(PLACEMENTS, BESIDE, f"{BESIDE} + 0.5 * float(self.A(r).abs().max() < "
                                              "1e-3)")),
    "branch_missing": (but(PLACEMENTS, NORMED, "y + 0 * self.A(y)"),
                       but(PLACEMENTS, BESIDE, "self.base(h, r)")),
    "reads_the_sum": but(PLACEMENTS, NORMED, "self.base(x + self.A(x))"),
    "adds_to_the_normed": but(PLACEMENTS, NORMED, "self.base(y + self.A(y))"),
    "sum_lost": (but(PLACEMENTS, NORMED, "self.base(self.A(y))"),
                 but(PLACEMENTS, "r + self.scale", "self.scale")),
    "no_scale": but(PLACEMENTS, "self.scale * self.A(r)", "self.A(r)"),
    "scale_inside": but(PLACEMENTS, "self.scale * self.A(r)", "self.A(self.scale * r)"),
    "after_the_norm": but(PLACEMENTS, BESIDE, "self.base(h, r) + self.scale * self.A(r)"),
    "behind": but(PLACEMENTS, f"        return {BESIDE}",
                  "        y = self.base(h, r)\n        return y + self.scale * self.A(y)"),
    "behind_inside": but(PLACEMENTS, "self.A(r)", "self.A(self.base(h, r))"),
    "all_scaled": but(PLACEMENTS, "r + self.scale * self.A(r)", "self.scale * (r + self.A(r))"),
    "training_only": (but(PLACEMENTS, f"return {NORMED}",
                          f"return {NORMED} if self.training else y"),
                      but(PLACEMENTS, f"return {BESIDE}",
                          f"return {BESIDE} if self.training else self.base(h, r)")),
    "no_gradient": (but(PLACEMENTS, "self.A(y)", "self.A(y).detach()"),
                    but(PLACEMENTS, "self.scale * self.A(r)", "self.scale * self.A(r).detach()")),
    "input_cut": (but(PLACEMENTS, "self.A(y)", "self.A(y.detach())"),
                  but(PLACEMENTS, "self.A(r)", "self.A(r.detach())")),
}
BEYOND["adapters.placements"] = but(PLACEMENTS, BESIDE,
                                    "self.base(h, r + max(self.scale, 1) * self.A(r))")

# ── adapters.sealed ──────────────────────────────────────────────────────────────────────────

SEALED = """
def name_placement(ask, norm, d):
    x, a, f, shift = torch.randn(4, d)
    first = ask(x, a, f)
    normed = torch.allclose(first, norm(first), atol=1e-3)
    reads_late = torch.allclose(ask(x + shift, a - shift, f), first, atol=1e-3)
    if not normed:
        return "bapna" if reads_late else "ends"
    if reads_late:
        other = f + norm(x + a) - norm(x + shift + a)
        kept = torch.allclose(ask(x + shift, a, other), first, atol=1e-3)
        return "pfeiffer" if kept else "parallel"
    kept = torch.allclose(ask(x, a, f + 1), first, atol=1e-3)
    return "post_attention" if kept else "houlsby"
"""
PAIR, HALF = '"pfeiffer" if kept else "parallel"', '"post_attention" if kept else "houlsby"'
TABLE = """
KNOWN = {(1, 0, 0, 0): "houlsby", (1, 0, 1, 0): "post_attention", (1, 1, 1, 1): "pfeiffer",
         (1, 1, 1, 0): "parallel", (0, 1, 1, 1): "bapna", (0, 0, 1, 0): "ends"}


def name_placement(ask, norm, d):
    x, a, f, s = (torch.randn(d).double() for _ in range(4))
    y = ask(x, a, f)
    others = [ask(x - s, a + s, f), ask(x, a, f - 2), ask(
        s, a, norm(x + a) + f - norm(s + a))]
    bits = [abs(y.mean()) < 1e-4 and abs((y ** 2).mean() - 1) < 1e-4]
    bits += [(o - y).abs().max() < 1e-4 for o in others]
    return KNOWN[tuple(map(int, bits))]
"""

RIGHT["adapters.sealed"] = {
    "a tree": SEALED,
    "four probes and a table": TABLE,
    "the attention first": """
def name_placement(ask, norm, d):
    def equal(y, z):
        return bool((y - z).abs().max() < 1e-3)

    x, a, f = torch.randn(3, d)
    zero = ask(x, a, f)
    moved = ask(a, x, f)
    if not equal(zero, moved):
        if not equal(zero, norm(zero)):
            return "ends"
        return ("houlsby", "post_attention")[equal(zero, ask(x, a, f + 3))]
    if not equal(zero, norm(zero)):
        return "bapna"
    return ("parallel", "pfeiffer")[equal(zero, ask(-x, -a, f + 2 * norm(x + a)))]
""",
    "by exclusion": """
def name_placement(ask, norm, d):
    left = {"houlsby", "post_attention", "pfeiffer", "bapna", "parallel", "ends"}
    x, a, f = torch.randn(3, d)
    y = ask(x, a, f)
    left &= ({"bapna", "ends"} if (y - norm(y)).norm() > 1e-3
             else {"houlsby", "post_attention", "pfeiffer", "parallel"})
    same = (ask(x / 2, a + x / 2, f) - y).norm() < 1e-3
    left &= {"pfeiffer", "parallel", "bapna"} if same else {"houlsby", "post_attention", "ends"}
    if left == {"houlsby", "post_attention"}:
        same = (ask(x, a, f + 0.7) - y).norm() < 1e-3
        left &= {"post_attention"} if same else {"houlsby"}
    if left == {"pfeiffer", "parallel"}:
        same = (ask(0 * x, f, a + norm(x + a) - norm(f) + f - a) - y).norm() < 1e-3
        left &= {"pfeiffer"} if same else {"parallel"}
    return left.pop()
""",
    "numbers that are not random": """
def name_placement(ask, norm, d):
    ramp, wave = torch.linspace(-1, 2, d), torch.arange(d).float().cos()
    bend = torch.arange(d).float().sin() * 2
    y = ask(ramp, wave, bend)
    end_is_normed = y.var(unbiased=False).sub(1).abs() < 1e-3 and y.mean().abs() < 1e-3
    before = ask(wave, ramp, bend)
    if torch.allclose(before, y, atol=1e-3, rtol=0):
        if not end_is_normed:
            return "bapna"
        z = ask(2 * wave, ramp, bend + norm(ramp + wave) - norm(2 * wave + ramp))
        return "pfeiffer" if torch.allclose(z, y, atol=1e-3, rtol=0) else "parallel"
    if not end_is_normed:
        return "ends"
    z = ask(ramp, wave, bend - 5)
    return "post_attention" if torch.allclose(z, y, atol=1e-3, rtol=0) else "houlsby"
""",
    "the sum stretched": but(SEALED, "ask(x + shift, a - shift, f)", "ask(3 * x, 3 * a + 1, f)"),
    "float64": but(SEALED, "torch.randn(4, d)", "torch.randn(4, d, dtype=torch.float64)"),
}
MOVED = "ask(x + shift, a - shift, f)"
WRONG["adapters.sealed"] = {
    "which_half": (but(SEALED, HALF, '"houlsby" if kept else "post_attention"'),
                   but(SEALED, "ask(x, a, f + 1)", "ask(x, a, 2 * f)"),
                   but(SEALED, HALF, '"post_attention"')),
    "which_input": (but(SEALED, PAIR, '"parallel" if kept else "pfeiffer"'),
                    but(SEALED, " - norm(x + shift + a)", ""), but(SEALED, PAIR, '"pfeiffer"')),
    "unnormed": (but(SEALED, '"bapna" if reads_late else "ends"', '"ends" if reads_late else '
                                                                 '"bapna"'),
                 but(SEALED, '"bapna" if reads_late else "ends"', '"bapna"')),
    "normed_or_not": but(SEALED, '        return "bapna" if reads_late else "ends"',
                         '        return "pfeiffer" if reads_late else "ends"'),
    "no_return": but(SEALED, f"return {HALF}", HALF),
    "no_name": (but(SEALED, PAIR, '"Pfeiffer" if kept else "Parallel"'),
                but(SEALED, f"return {PAIR}", "return kept")),
    "too_many": (but(SEALED, "    first = ask(x, a, f)",
                     "    outputs = [ask(x, a, f) for _ in range(5)]\n    first = outputs[0]"),
                 but(SEALED, "    if not normed:",
                     "    again = ask(x, a, f), ask(x, a, f)\n    if not normed:")),
    "never_asked": ("from itertools import cycle\n\nNAMES = cycle([\"houlsby\", "
                    "\"post_attention\", \"pfeiffer\", \"bapna\", \"parallel\", "
                    "\"ends\"])\n\n\ndef name_placement(ask, norm, d):\n    return next(NAMES)"),
    "always_the_same": but(SEALED, "    if not normed:", '    return "pfeiffer"\n'
                                                         '    if not normed:'),
    "mixed": (but(SEALED, "if not normed", "if normed"),
              but(SEALED, MOVED, "ask(x + shift, a, f)")),
}
BEYOND["adapters.sealed"] = but(SEALED, "torch.randn(4, d)", "torch.randn(4, d) * (d > 6)")
