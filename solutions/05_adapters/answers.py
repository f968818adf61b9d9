"""Answers to the exercises of lesson 05."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── adapters.size ────────────────────────────────────────────────────────────────────────────

SIZE = solution("adapters.size")
LEFT, EACH = "budget // modules - d_model", "(2 * d_model + 1)"
ANSWER = f"max(0, left // {EACH})"

RIGHT["adapters.size"] = {
    "counted up": """
def size_for(budget, d_model, modules):
    size = 0
    while modules * (2 * d_model * (size + 1) + size + 1 + d_model) <= budget:
        size += 1
    return size
""",
    "a float, rounded down": """
def size_for(budget, d_model, modules):
    return max(math.floor((budget / modules - d_model) / (2 * d_model + 1) + 1e-9), 0)
""",
    "a library's": """
def size_for(budget, d_model, modules):
    return max((s for s in range(1, 2000)
                if modules * pt.bottleneck.count(d_model, s) <= budget), default=0)
""",
    "two cases": but(SIZE, ANSWER, f"left // {EACH} if left > 0 else 0"),
    "NumPy's": "import numpy as np\n\n" + but(SIZE, ANSWER, f"np.int64({ANSWER})"),
}
WRONG["adapters.size"] = {
    "no_biases": but(SIZE, LEFT, "budget // modules", EACH, "(2 * d_model)"),
    "no_return": but(SIZE, "return", "size ="),
    "not_whole": but(SIZE, "left //", "left /"),
    "no_b_up": (but(SIZE, LEFT, "budget // modules"),
                but(SIZE, f"left // {EACH}", f"round((budget / modules - d_model) / {EACH})")),
    "one_module": but(SIZE, LEFT, "budget - d_model"),
    "negative": but(SIZE, ANSWER, f"left // {EACH}"),
}
BEYOND["adapters.size"] = but(SIZE, EACH, "(2 * d_model + 1 if d_model > 2 else 4)")

# ── adapters.bottleneck ──────────────────────────────────────────────────────────────────────

BOTTLENECK = solution("adapters.bottleneck")
SCORES, OUT = "u @ self.W_down.T + self.b_down", "h @ self.W_up.T + self.b_up"
ACT = f"torch.relu({SCORES})"
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
    "two layers": LAYERS,
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
    "keeps its scores": but(BOTTLENECK, ACT, f"(scores := {SCORES}).relu()", "        return",
                            "        self.scores = scores\n        return"),
}
DOWN = "0.01 * torch.randn(size, d_model)"
UP = "0.01 * torch.randn(d_model, size)"
WRONG["adapters.bottleneck"] = {
    "competes": but(BOTTLENECK, ACT, f"({SCORES}).softmax(-1)"),
    "no_return": but(BOTTLENECK, "return", "y ="),
    "linear": but(BOTTLENECK, ACT, SCORES),
    "residual": but(BOTTLENECK, OUT, f"u + {OUT}"),
    "scaled": (but(BOTTLENECK, OUT, f"0.01 * ({OUT})"),
               but(BOTTLENECK, f"return {OUT}", f"y = {OUT}\n        return 0.1 * "
                   "nn.functional.normalize(y, dim=-1) * u.norm(dim=-1, keepdim=True)")),
    "not_silent": but(BOTTLENECK, "torch.zeros(d_model)", "0.001 * torch.randn(d_model)"),
    "start_far": but(LAYERS, "std=0.01", "std=0.03"),
    "alike": but(LAYERS, "nn.init.normal_(layer.weight, std=0.01)",
                 "nn.init.constant_(layer.weight, 5e-4)"),
    "never_learns": (but(BOTTLENECK, DOWN, "torch.zeros(size, d_model)", UP,
                         "torch.zeros(d_model, size)"), but(LAYERS, "std=0.01", "std=1e-9")),
    "": (but(LAYERS, "nn.Linear(size, d_model)", "nn.Linear(size, d_model, bias=False)",
             "            nn.init.zeros_(layer.bias)\n", ""),
         but(BOTTLENECK, f"return {OUT}", f"y = {OUT}\n        u.zero_()\n        return y"),
         but(BOTTLENECK, OUT, f"({OUT}).mean(0)"),
         but(BOTTLENECK, "torch.relu", "nn.functional.gelu"),
         but(BOTTLENECK, f"return {OUT}",
             f"return {OUT} if self.training else torch.zeros_like(u)"),
         but(BOTTLENECK, SCORES, "u.detach() @ self.W_down.T + self.b_down"),
         but(BOTTLENECK, SCORES, "u @ self.W_down.data.T + self.b_down")),
}
BEYOND["adapters.bottleneck"] = but(BOTTLENECK, OUT, f"({OUT}).reshape(len(u), *u.shape[1:])",
                                    SCORES, "u[:999] @ self.W_down.T + self.b_down")

# ── adapters.near ────────────────────────────────────────────────────────────────────────────

NEAR = solution("adapters.near")
TOKENS, UNIT = "torch.randn(32, d_model)\n    unit", "torch.nn.functional.normalize"
FEATURES = "torch.cat([torch.eye(d_model), -torch.eye(d_model)])"
LENGTHS, BOUND = "(1e-3, 1.0, 1e3)", "(far <= bound)"
LEARNS = NEAR[NEAR.index("    A(torch.randn"):]

RIGHT["adapters.near"] = {
    "zero as well": but(NEAR, "    for length", "    assert not A(torch.zeros(1, d_model)).any()\n"
                              "    for length"),
    "uphill from features": but(NEAR, TOKENS, f"{FEATURES} + 0.1 * torch.randn(1, d_model)\n"
                                              "    unit"),
    "lengths by hand": but(NEAR, UNIT, "lambda u: u / u.norm(dim=-1, keepdim=True).clamp(1e-12)"),
    "another loss": but(NEAR, "A(torch.randn(32, d_model)).sum()",
                        "(A(torch.randn(20, d_model)) * torch.randn(20, d_model)).sum()"),
    "the gradient asked for": but(NEAR, LEARNS, """
    matrices = [p for p in A.parameters() if p.dim() == 2]
    grads = torch.autograd.grad(A(torch.randn(20, d_model)).sum(), matrices)
    assert sum(float(g.abs().sum()) for g in grads) > 0
"""),
}
WRONG["adapters.near"] = {
    "let_through": (
        but(NEAR, LEARNS, ""), but(NEAR, " if p.dim() == 2", ""),
        but(NEAR, LENGTHS, "(1, 1000)"), but(NEAR, LENGTHS, "(0.001, 1)"),
        but(NEAR, f"{BOUND}.all()", "not (far > bound).any()"),
        but(NEAR, TOKENS, "torch.randn(1000, d_model)\n    unit", "range(10)", "range(0)"),
        but(NEAR, TOKENS, f"{FEATURES}\n    unit", "range(10)", "range(0)"),
        """
def starts_near(make, d_model, bound):
    A = make()
    matrices = [p for p in A.parameters() if p.dim() == 2]
    assert torch.stack([torch.linalg.matrix_norm(p, 2) for p in matrices]).prod() <= bound
    assert not any(p.any() for p in A.parameters() if p.dim() == 1)
    A(torch.randn(20, d_model)).sum().backward()
    assert any(p.grad.any() for p in matrices)
"""),
    "accused": (
        but(NEAR, "any(p.grad is not None", "all(p.grad is not None"),
        but(NEAR, UNIT, "lambda u: u / u.norm(dim=-1, keepdim=True)"),
        but(NEAR, BOUND, "(far == 0)", LEARNS, "")),
}

# ── adapters.placements ──────────────────────────────────────────────────────────────────────

PLACEMENTS = solution("adapters.placements")
NORMED, BESIDE = "self.base(x + self.A(self.base(x)))", "self.base(h, r + self.scale * self.A(r))"
RIGHT["adapters.placements"] = {
    "in two lines": but(PLACEMENTS, f"return {NORMED}",
                        "y = self.base(x)\n        return self.base(self.A(y) + x)"),
    "torch.lerp": but(PLACEMENTS, BESIDE, "self.base(h, torch.lerp(r, r + self.A(r), self.scale))"),
    "torch.add": but(PLACEMENTS, BESIDE, "self.base(h, torch.add(r, self.A(r), alpha=self.scale))"),
    "steps": but(PLACEMENTS, f"        return {BESIDE}",
                 "        change = self.A(r)\n        change = change * self.scale\n"
                 "        moved = r + change\n        return self.base(h, moved)"),
    "any arguments": but(PLACEMENTS, "h: torch.Tensor, r: torch.Tensor", "*inputs",
                         BESIDE, "self.base(inputs[0], inputs[1] + self.scale * "
                                 "self.A(inputs[1]))"),
}
WRONG["adapters.placements"] = {
    "not_normed_again": but(PLACEMENTS, NORMED, "self.base(x) + self.A(self.base(x))"),
    "copied_A": but(PLACEMENTS, "        self.A = A\n",
                    "        import copy\n        self.A = copy.deepcopy(A)\n"),
    "looks_inside": (
        but(PLACEMENTS, BESIDE, "list(self.base.children())[1](list(self.base.children())[0](h) "
                                "+ r + self.scale * self.A(r))"),
        but(PLACEMENTS, NORMED, "nn.functional.layer_norm(x + self.A(self.base(x)), "
                                "x.shape[-1:], self.base.weight, self.base.bias)")),
    "reads_the_sum": but(PLACEMENTS, NORMED, "self.base(x + self.A(x))"),
    "adds_to_the_normed": but(PLACEMENTS, "base(x + self.A", "base(self.base(x) + self.A"),
    "no_scale": but(PLACEMENTS, "self.scale * self.A(r)", "self.A(r)"),
    "after_the_norm": but(PLACEMENTS, BESIDE, "self.base(h, r) + self.scale * self.A(r)"),
    "behind": but(PLACEMENTS, f"        return {BESIDE}",
                  "        y = self.base(h, r)\n        return y + self.scale * self.A(y)"),
    "input_cut": (but(PLACEMENTS, BESIDE, "self.base(h.detach(), r + self.scale * self.A(r))"),
                  but(PLACEMENTS, BESIDE, "self.base(h, r + self.scale * self.A(r.detach()))")),
    "input_changed": but(PLACEMENTS, BESIDE, "self.base(h, r.add_(self.scale * self.A(r)))"),
}
BEYOND["adapters.placements"] = but(PLACEMENTS, BESIDE,
                                    "self.base(h, r + max(self.scale, 1) * self.A(r))")

# ── adapters.sealed ──────────────────────────────────────────────────────────────────────────

SEALED = solution("adapters.sealed")
HALF = '"post_attention" if same(y, ask(x, o1, o2 + 1)) else "houlsby"'
MOVED, DRAWN = "ask(x + shift, o1 - shift, o2)", "torch.randn(4, d)"
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
    "four probes and a table": TABLE,
    "the attention for x": but(SEALED, MOVED, "ask(o1, x, o2)"),
    "numbers that are not random": but(SEALED, DRAWN,
                                       "torch.arange(4 * d).float().cos().view(4, d)"),
    "the sum stretched": but(SEALED, MOVED, "ask(3 * x, 3 * o1 + 1, o2)"),
    "float64": but(SEALED, DRAWN, "torch.randn(4, d, dtype=torch.float64)"),
}
WRONG["adapters.sealed"] = {
    "which_half": but(SEALED, "o2 + 1)) else", "o2 + 1)) is False else"),
    "which_input": but(SEALED, "o2 + moved)) else", "o2 + moved)) is False else"),
    "unnormed": but(SEALED, 'else "bapna"', 'else "ends"'),
    "no_return": but(SEALED, 'return "pfeiffer"', '"pfeiffer"'),
    "too_many": but(SEALED, "y = ask(x, o1, o2)", "y, *_ = [ask(x, o1, o2) for _ in range(5)]"),
    "always_the_same": but(SEALED, "    if not", '    return "pfeiffer"\n    if not'),
    "mixed": but(SEALED, "if not ends", "if ends"),
    "": but(SEALED, '"pfeiffer"', '"Pfeiffer"', '"parallel"', '"Parallel"'),
}
BEYOND["adapters.sealed"] = but(SEALED, DRAWN, f"{DRAWN} * (d > 6)")


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "adapters.size": (ANSWER, "7", {
        "a narrow model": "d_model < 3", "no budget": "budget == 0",
        "one module": "modules == 1 and d_model > 2"}),
    "adapters.bottleneck": (OUT, "u", {
        "one token": "u.dim() == 1", "very many": "len(u) == 2000", "four axes": "u.dim() == 4"}),
    "adapters.placements": ("r + self.scale * self.A(r)", "r", {
        "a scale below one": "self.scale < 1", "one token": "r.numel() == r.shape[-1]",
        "a bottleneck of one": "len(self.A.W_down) == 1"}),
    "adapters.sealed": (HALF, '"ends"', {
        "narrow": "d < 8", "no power of two": "d == 24", "wide": "d > 32"}),
}
