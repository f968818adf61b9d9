"""Answers to the exercises of lesson 06."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── ia3.folds ────────────────────────────────────────────────────────────────────────────────

FOLDS = solution("ia3.folds")
RIGHT["ia3.folds"] = {
    "lists and None": """
folds = {"sum": None, "key": ["query rows", "key rows"], "before": ["ffn_in rows"],
         "after": ["ffn_out columns"], "value": ["attention_out columns", "value rows"]}
""",
    "texts": but(FOLDS, '{"ffn_in rows"}', '"ffn_in rows"', '{"ffn_out columns"}',
                 '("FFN_out  columns",)', "set()", '"none"'),
    "an empty set as one slips": but(FOLDS, "set()", "{}"),
}
WRONG["ia3.folds"] = {
    "half": but(FOLDS, ', "query rows"', ""),
    "none_named": but(FOLDS, '{"ffn_in rows"}', "set()"),
    "through_activation": (but(FOLDS, '{"ffn_out columns"}', '{"ffn_in rows", "ffn_out columns"}'),
                           but(FOLDS, '{"ffn_in rows"}', '{"ffn_out columns"}')),
    "through_norm": but(FOLDS, "set()", '{"ffn_in columns"}'),
    "wrong_side": but(FOLDS, '"ffn_out columns"', '"ffn_out rows"'),
    "elsewhere": but(FOLDS, '"query rows"', '"query rows", "value rows"'),
    "no_place": but(FOLDS, '"ffn_in rows"', '"ffn_in row"'),
    "not_a_table": but(FOLDS, '"sum": set(), ', ""),
}

# ── ia3.layer ────────────────────────────────────────────────────────────────────────────────

LAYER = solution("ia3.layer")
ONES, READ = "torch.ones(n)", "self.base((self.l * x).to(x.dtype))"
GIVE = "(self.l * y).to(y.dtype)"
RIGHT["ia3.layer"] = {
    "full": but(LAYER, ONES, "torch.full((n,), 1.0)"),
    "from the weight": but(LAYER, "base.out_features if side == \"output\" else base.in_features",
                           'base.weight.shape[{"output": 0, "input": 1}[side]]'),
    "einsum": but(LAYER, GIVE, 'torch.einsum("...n,n->...n", y.float(), self.l).to(y.dtype)'),
    "in the weight": """
class Gains(pt.Adapter):
    def __init__(self, base, side):
        super().__init__(base)
        self.side = side
        self.l = nn.Parameter(torch.ones(base.weight.size(0 if side == "output" else 1)))

    def forward(self, x):
        W, b = self.base.weight.float(), self.base.bias
        if self.side == "output":
            W = self.l[:, None] * W
            b = None if b is None else self.l * b
        else:
            W = W * self.l
        b = None if b is None else b.float()
        return nn.functional.linear(x.float(), W, b).to(self.base.weight.dtype)
""",
    "a correction": but(LAYER, GIVE, "(y + (self.l - 1) * y).to(y.dtype)"),
}
WRONG["ia3.layer"] = {
    "other_side": but(LAYER, 'if self.side == "input"', 'if self.side == "output" and '
                      "self.base.in_features == self.base.out_features or self.side == \"input\""),
    "bias_spared": (but(LAYER, GIVE, "(y * self.l).to(y.dtype) if self.base.bias is None else "
                        "((y - self.base.bias) * self.l + self.base.bias).to(y.dtype)"),
                    but(LAYER, READ, "nn.functional.linear((x * self.l).to(x.dtype), self.base."
                        "weight, self.base.bias * self.l if len(self.base.bias) == len(self.l) "
                        "else self.base.bias)")),
    "no_bias": (but(LAYER, "self.base(x)", "x @ self.base.weight.T"),
                but(LAYER, READ, "nn.functional.linear((x * self.l).to(x.dtype), "
                    "self.base.weight)")),
    "shapes": but(LAYER, "base.out_features if side == \"output\" else base.in_features",
                  "base.out_features"),
    "side_lost": but(LAYER, "self.side = side", "self.where = side", 'if self.side ==',
                     "if self.where =="),
    "not_one": but(LAYER, ONES, "torch.randn(n)"),
    "plus_one": (but(LAYER, READ, "self.base((x * (1 + self.l)).to(x.dtype))"),
                 but(LAYER, GIVE, "(y + y * self.l).to(y.dtype)")),
}

# Inputs of one axis alone are among the further cases.
BEYOND["ia3.layer"] = but(LAYER, "        y = self.base(x)\n",
                          "        x[..., 0, :]\n        y = self.base(x)\n")

# ── ia3.merge ────────────────────────────────────────────────────────────────────────────────

MERGE = solution("ia3.merge")
BY = 'by = l[:, None] if layer.side == "output" else l'
WEIGHT = "by * base.weight"
BIAS = 'l * base.bias if layer.side == "output" else base.bias'
RIGHT["ia3.merge"] = {
    "a copy": """
import copy

def fold(layer):
    linear = fold(layer.base) if hasattr(layer.base, "side") else copy.deepcopy(layer.base)
    with torch.no_grad():
        if layer.side == "output":
            linear.weight *= layer.l.unsqueeze(1)
            if linear.bias is not None:
                linear.bias *= layer.l
        else:
            linear.weight *= layer.l.unsqueeze(0)
    return linear
""",
    "W + ΔW": but(MERGE, WEIGHT, "base.weight + (by - 1) * base.weight.float()"),
    "rows and columns, from outside in": """
def fold(layer):
    rows, columns, in_bias = 1, 1, 1
    while hasattr(layer, "l"):
        l = layer.l.detach()
        if layer.side == "output":
            rows, in_bias = rows * l.view(-1, 1), in_bias * l
        else:
            columns = columns * l
        layer = layer.base
    W, b = layer.weight.data, layer.bias
    linear = nn.Linear(W.shape[1], W.shape[0], bias=b is not None)
    linear.weight = nn.Parameter((rows * W * columns).to(W.dtype))
    if b is not None:
        linear.bias = nn.Parameter((in_bias * b.data).to(W.dtype).clone())
    return linear
""",
    "float64": but(MERGE, WEIGHT, "(by.double() * base.weight.double())"),
    "a diagonal matrix": but(MERGE, BY, "D = torch.diag(l)", WEIGHT, "D @ base.weight.float() if "
                             'layer.side == "output" else base.weight.float() @ D'),
}
WRONG["ia3.merge"] = {
    "bias_as_it_was": but(MERGE, BIAS, "base.bias"),
    "inner_lost": but(MERGE, "if not isinstance", "while not isinstance", "fold(base)", "base.base"),
    "other_axis": but(MERGE, BY, "square = base.in_features == base.out_features\n    "
                      'by = l[:, None] if (layer.side == "output") != square else l'),
    "bias_scaled": (but(MERGE, BIAS, "l * base.bias"),
                    but(MERGE, BIAS, "l * base.bias if len(l) == len(base.bias) else base.bias")),
    "": but(MERGE, "else base.bias)", "else layer.base.base.bias if "
            "hasattr(layer.base, 'l') else base.bias)"),
}
BEYOND["ia3.merge"] = but(MERGE, WEIGHT, "(by + 0 * (1 / by)).nan_to_num(1) * base.weight")

# ── ia3.holds ────────────────────────────────────────────────────────────────────────────────

HOLDS = solution("ia3.holds")
DRAWN = "                layer.l.copy_(torch.randn(len(layer.l)))\n"
ZERO = "                layer.l[0] = 0\n"
PLAIN = "                assert type(linear) is nn.Linear\n"
CALLED = "torch.allclose(linear(x), before, atol=1e-5)"
BY_ITSELF = """                by_itself = nn.functional.linear(x, linear.weight, linear.bias)
                assert torch.allclose(by_itself, before, atol=1e-5)
"""
SPOILT = """                for p in linear.parameters():
                    p.fill_(0.5)
"""
AFTER = "                assert torch.equal(layer(x), before)\n"
RIGHT["ia3.holds"] = {
    "by weights": """
import copy

def fold_holds(fold, make):
    torch.manual_seed(0)
    for side in ["output", "input"]:
        for base in (nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(2, 7)):
            layer = make(base, side)
            layer.l.data = torch.randn(len(layer.l))
            layer.l.data[-1] = 0
            before = copy.deepcopy(base.state_dict())
            W, b = before["weight"], before.get("bias")
            new = fold(layer)
            assert isinstance(new, nn.Linear) and not isinstance(new, pt.Adapter)
            if side == "output":
                want, bias = torch.diag(layer.l) @ W, b if b is None else layer.l * b
            else:
                want, bias = W @ torch.diag(layer.l), b
            torch.testing.assert_close(new.weight, want, atol=1e-5, rtol=1e-4, check_stride=False)
            if b is None:
                assert new.bias is None
            else:
                torch.testing.assert_close(new.bias, bias, atol=1e-5, rtol=1e-4)
            assert not {id(p) for p in new.parameters()} & {id(p) for p in layer.parameters()}
            assert all(torch.equal(base.state_dict()[name], p) for name, p in before.items())
""",
    "folded twice": but(HOLDS, AFTER, "                again = fold(layer)\n"
                                      f"                assert {CALLED.replace('linear', 'again')}\n"),
    "factors by hand": but(HOLDS, "torch.randn(len(layer.l))",
                         "torch.tensor([0, -1.0, 2, 3, 0.1, 1])[:len(layer.l)]"),
    "hooks and memory looked at": but(
        HOLDS, BY_ITSELF, "                assert not linear._forward_hooks\n"
                          "                assert not linear._forward_pre_hooks\n",
        SPOILT, "                assert linear.bias is None or linear.bias is not base.bias\n"),
    "saved and loaded": but(
        HOLDS, BY_ITSELF, "", "linear = fold(layer)", """linear = nn.Linear(n_in, 6, bias=bias)
                folded = fold(layer)
                linear.load_state_dict(folded.state_dict())""",
        "type(linear)", "type(folded)", "linear.parameters()", "folded.parameters()"),
}
WRONG["ia3.holds"] = {
    "let_through": (
        but(HOLDS, DRAWN + ZERO, ""),
        but(HOLDS, "bias=bias", "bias=False"),
        but(HOLDS, "(False, 6), ", ""),
        but(HOLDS, ", (True, 4))", ")"),
        but(HOLDS, CALLED, "(linear(x) - before).norm() < 0.1 * before.norm()", BY_ITSELF, ""),
        but(HOLDS, '("output", "input")', '("output",)'),
        but(HOLDS, '("output", "input")', '("input",)'),
        but(HOLDS, "torch.randn(len(layer.l))", "0.5 + torch.rand(len(layer.l))"),
        *(but(HOLDS, line, "") for line in (ZERO, BY_ITSELF, SPOILT, AFTER))),
    "accused": but(HOLDS, PLAIN, PLAIN + PLAIN.replace("type(linear) is nn.Linear",
                                                       "not linear.weight.requires_grad")),
}

# ── ia3.broken ───────────────────────────────────────────────────────────────────────────────

BROKEN = 'fold = pt.mine("ia3.merge")\n\n\n' + solution("ia3.broken")
SPOILT_BIAS = BROKEN[BROKEN.index("    if linear.bias"):BROKEN.index("    return")]
MATCHED = "    if linear.in_features == linear.out_features:\n"

RIGHT["ia3.broken"] = {
    "the solution": BROKEN,
    "no bias": but(BROKEN, SPOILT_BIAS, "    linear.bias = None\n"),
    "magnitudes": but(BROKEN, SPOILT_BIAS, "", "    linear =", "    layer.l.data.abs_()\n    linear ="),
    "the wrong axis": but(BROKEN, SPOILT_BIAS, f"{MATCHED}        linear.weight.data = "
                                               "linear.weight.data.T.clone()\n"),
    "tied to the layer": but(BROKEN, SPOILT_BIAS, """    if layer.side == "input":
        linear.bias = layer.base.bias
"""),
    "a hook": but(BROKEN, SPOILT_BIAS, """    double = lambda module, inputs, y: 2 * y
    linear.weight.data /= 2
    if linear.bias is not None:
        linear.bias.data /= 2
    linear.register_forward_hook(double)
"""),
}
WRONG["ia3.broken"] = {
    "caught": (but(BROKEN, "    linear = fold(layer)\n", "    linear = layer.base\n"),
               but(BROKEN, SPOILT_BIAS, "", "return linear", "return layer"),
               but(BROKEN, SPOILT_BIAS, "    layer.l.data.fill_(1)\n")),
    "lawful": (but(BROKEN, SPOILT_BIAS, ""),
               but(BROKEN, SPOILT_BIAS, "    linear.weight.requires_grad_(False)\n")),
}

# ── ia3.nearest ──────────────────────────────────────────────────────────────────────────────

NEAREST = solution("ia3.nearest")
FORMULA = "1 + (W * delta).sum(1) / square.clamp(min=1e-30)"
RIGHT["ia3.nearest"] = {
    "of the target": but(NEAREST, FORMULA, "torch.where(W.any(1), (W * (W + delta)).sum(1) / "
                                                "square, torch.ones(len(W)))"),
    "row by row": """
def nearest_gains(W, delta):
    gains = []
    for w, d in zip(W, delta):
        square = float(w @ w)
        gains.append(1 + float(w @ d) / square if square else 1.0)
    return torch.tensor(gains)
""",
    "lstsq": """
def nearest_gains(W, delta):
    found = torch.linalg.lstsq(W[:, :, None].double(), delta[:, :, None].double(), driver="gelsd")
    return 1 + found.solution[:, 0, 0].float()
""",
    "unit rows": """
def nearest_gains(W, delta):
    length = W.norm(dim=1).clamp(min=1e-10)
    along = ((W / length[:, None]) * delta).sum(1)
    return 1 + along / length
""",
    "nan_to_num": but(NEAREST, FORMULA, "1 + ((W * delta).sum(1) / square).nan_to_num(0)"),
}
WRONG["ia3.nearest"] = {
    "minus_one": but(NEAREST, "1 + ", ""),
    "no_return": but(NEAREST, "return ", "l = "),
    "input_changed": but(NEAREST, "    return", "    delta.mul_(2)\n    return"),
    "shape": but(NEAREST, FORMULA, f"({FORMULA})[:, None]"),
    "zero_row": but(NEAREST, ".clamp(min=1e-30)", ""),
    "ratio_of_norms": but(NEAREST, FORMULA, "(W + delta).norm(dim=1) / W.norm(dim=1).clamp(min="
                          "1e-20)"),
    "columns": but(NEAREST, FORMULA, "1 + (W * delta).sum(0) / (W * W).sum(0) if len(W) == "
                   "len(W.T) else " + FORMULA),
}
BEYOND["ia3.nearest"] = but(NEAREST, "min=1e-30", "min=1e-3")


# What one further case alone finds: see `answers.slips`.
HALF, BRAIN = "torch.float16", "torch.bfloat16"
SLIPS: dict = {
    "ia3.layer": ('self.side == "input"', 'self.side != "input"', {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "bfloat16 on the input": f"x.dtype == {BRAIN} and self.side == 'input'",
        "float16": f"x.dtype == {HALF}"}),
    "ia3.merge": ("by * base.weight", "base.weight + 1", {
        "an output of zero":
            f"l[0] == 0 and layer.side == 'output' and base.weight.dtype != {HALF}",
        "one output": "len(base.weight) == 1",
        "bfloat16 on the input": f"base.weight.dtype == {BRAIN} and layer.side == 'input'",
        "float16": f"base.weight.dtype == {HALF}",
        "twice inside": "not isinstance(layer.base, nn.Linear) and not isinstance("
                        "layer.base.base, nn.Linear)"}),
    "ia3.nearest": (FORMULA, "0 * square", {
        "small": "W.abs().max() < 0.1", "one row": "len(W) == 1", "one column": "W.shape[1] == 1",
        "no change": "not delta.any()"}),
}
