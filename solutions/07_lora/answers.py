"""Answers to the exercises of lesson 07."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── lora.count ───────────────────────────────────────────────────────────────────────────────

COUNT = solution("lora.count")
SUM = "rank * n_in + n_out * rank"

RIGHT["lora.count"] = {
    "one product": but(COUNT, SUM, "rank * (n_in + n_out)"),
    "shapes": but(COUNT, SUM, "sum(math.prod(shape) for shape in [(rank, n_in), (n_out, rank)])"),
    "a lambda": "lora_count = lambda n_in, n_out, rank: (n_out + n_in) * rank",
    "NumPy": but("import numpy as np\n" + COUNT, SUM,
                 "np.int64(rank) * np.array([n_in, n_out]).sum()"),
    "tensors": but(COUNT, SUM,
                   "torch.empty(rank, n_in).numel() + torch.empty(n_out, rank).numel()"),
}

WRONG["lora.count"] = {
    "whole_matrix": but(COUNT, SUM, "n_in * n_out"),
    "square_only": but(COUNT, SUM, "2 * rank * n_in"),
    "no_return": but(COUNT, "return ", ""),
    "not_whole": but(COUNT, SUM, f"float({SUM})"),
    "multiplied": but(COUNT, SUM, "(rank * n_in) * n_out"),
    "with_base": but(COUNT, SUM, f"n_in * n_out + {SUM}"),
}

BEYOND["lora.count"] = but(COUNT, SUM, f"int(torch.tensor(float({SUM})))")

# ── lora.layer ───────────────────────────────────────────────────────────────────────────────

LAYER = solution("lora.layer")
SUPER = "super().__init__(base)"
SCALE = "self.scale = alpha / rank"
A = "torch.randn(rank, base.in_features) / base.in_features**0.5"
B = "torch.zeros(base.out_features, rank)"
Y, H = "        y = ", "        h = "
DOWN, UP = "x.float() @ self.A.T", "h @ self.B.T"
OUT = "(y + self.scale * h @ self.B.T).to(y.dtype)"

RIGHT["lora.layer"] = {
    "in place": but(LAYER, OUT, "y.add_((self.scale * h @ self.B.T).to(y.dtype))"),
    "einsum": but(LAYER, UP, "torch.einsum('...i,ri,or->...o', x.float(), self.A, self.B)"),
    "A zero, B as a layer of PyTorch's starts": but(
        LAYER, A, "torch.zeros(rank, base.in_features)", f"nn.Parameter({B})",
        "nn.Linear(rank, base.out_features, bias=False).weight"),
    "kaiming": but(LAYER, A, "torch.empty(rank, base.in_features)", f"({B})\n",
                   f"({B})\n        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))\n"),
    "xavier": but(LAYER, A, "nn.init.xavier_normal_(torch.empty(rank, base.in_features))"),
    "a scale that is no file's": but(LAYER, SCALE, "self.register_buffer('scale', torch.tensor("
                                                   "alpha / rank), persistent=False)"),
    "products and sums": but(LAYER, DOWN, "(x.float().unsqueeze(-2) * self.A).sum(-1)",
                             UP, "(h.unsqueeze(-2) * self.B).sum(-1)"),
}

WRONG["lora.layer"] = {
    "no_scale": but(LAYER, "self.scale * h", "h"),
    "both_zero": but(LAYER, A, "torch.zeros(rank, base.in_features)"),
    "both_random": but(LAYER, "torch.zeros", "1e-8 * torch.randn"),
    "A_size": (but(LAYER, "base.in_features**0.5", "base.out_features**0.5"),
               but(LAYER, A, "torch.randn(rank, base.in_features) * 0.03")),
    "alike": but(LAYER, A, "torch.randn(rank, 1) * torch.randn(1, base.in_features) / "
                           "base.in_features**0.5"),
    "matrix_built": but(LAYER, H, f"""        if not self.training:
            W = self.base.weight.float() + self.scale * self.B @ self.A
            b = None if self.base.bias is None else self.base.bias.float()
            return nn.functional.linear(x.float(), W, b).to(y.dtype)
{H}"""),
    "halved": (but(LAYER, DOWN, "(x @ self.A.T.to(x.dtype)).float()"),
               but(LAYER, DOWN, f"({DOWN}).to(x.dtype)", UP, "h @ self.B.T.to(x.dtype)")),
    "": (but(LAYER, A, "torch.zeros(rank, base.in_features)", B,
             "torch.randn(base.out_features, rank) * 0.5"),
         but(LAYER, "torch.randn(rank", "torch.rand(rank"),
         but(LAYER, "self.base(x)", "x @ self.base.weight.T + (0 if self.base.bias is None else "
                                    "self.base.bias)")),
    "no_scale_attribute": but(LAYER, SCALE, "self.s = alpha / rank", "self.scale * h",
                              "self.s * h"),
}
# What every adapter is asked, whatever its method, is tried on this one.
WRONG["lora.layer"] |= {
    "dtype": (but(LAYER, ".to(y.dtype)", ""),
              but(LAYER, A, f"({A}).to(base.weight.dtype)", B, f"{B}.to(base.weight.dtype)",
                  "x.float()", "x")),
    "input_cut": but(LAYER, Y, f"        with torch.no_grad():\n    {Y}"),
    "shapes": but(LAYER, A, "torch.randn(base.out_features, rank) / rank**0.5", B,
                  "torch.zeros(rank, base.in_features)"),
    "names": but(LAYER, f"torch.nn.Parameter({B})", B),
    "misnamed": but(LAYER, "self.A =", "self.lora_A =", "self.B =", "self.lora_B ="),
    "layers_inside": but(LAYER, f"nn.Parameter({B})", "nn.Linear(rank, base.out_features)"),
    "more_parameters": but(LAYER, SCALE, "self.scale = nn.Parameter(torch.tensor(alpha / rank))"),
    "buffer": but(LAYER, SCALE, "self.register_buffer('scale', torch.tensor(alpha / rank))"),
    "not_adapter": but(LAYER, "pt.Adapter", "nn.Module", SUPER,
                       "super().__init__()\n        self.base = base"),
    "base_lost": but("import copy\n" + LAYER, SUPER, "super().__init__(copy.deepcopy(base))"),
    "base_trained": but(LAYER, SUPER, f"{SUPER}\n        base.requires_grad_()"),
    "base_changed": but(
        LAYER, H, "        with torch.no_grad():\n            self.base.weight += "
                  f"(self.scale * self.B @ self.A).to(x.dtype)\n{H}", OUT, "self.base(x)"),
    "input_changed": but(LAYER, "x.float()", "x.mul_(1.5).float()"),
    "second_call": but(LAYER, H, f"        self.B.data *= self.scale\n{H}", "self.scale * h", "h"),
    "training_only": but(LAYER, H, f"        if not self.training:\n            return y\n{H}"),
    "no_bias": but(LAYER, "self.base(x)", "x @ self.base.weight.T"),
    "no_base": but(LAYER, "(y + self", "(self"),
    "start_differs": but(LAYER, H, "        if not self.B.any():\n"
                                   f"            return torch.zeros_like(y)\n{H}"),
    "no_gradient": but(LAYER, "self.A.T", "self.A.detach().T"),
    "forward_left": LAYER[:LAYER.index(Y)] + "        raise pt.NotAttempted('lora.layer')\n",
    "no_return": but(LAYER, "return ", ""),
}

BEYOND["lora.layer"] = but(LAYER, "to(y.dtype)", "to(torch.float32 if y.dtype == torch.float32 else "
                                                 "torch.bfloat16)")

# ── lora.start ───────────────────────────────────────────────────────────────────────────────

START = solution("lora.start")
STARTS = "    assert torch.equal(layer(x), base(x))\n"
MOVED = START[START.index("    for name, p in"):]

RIGHT["lora.start"] = {
    "more steps of SGD": but(START, "Adam([", "SGD([", "range(3)", "range(5)"),
    "the base by its outputs": but(START, STARTS, f"{STARTS}    y = base(x)\n", MOVED, """
    assert not torch.equal(layer.A, before["A"])
    assert not torch.equal(layer.B, before["B"])
    assert torch.equal(base(x), y)
"""),
}

WRONG["lora.start"] = {
    "let_through": (
        but(START, "torch.equal(layer(x), base(x))", "torch.allclose(layer(x), base(x))"),
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

# ── lora.broken ──────────────────────────────────────────────────────────────────────────────

BROKEN = solution("lora.broken")
STUCK = BROKEN[BROKEN.index("        A ="):]
CHANGED = "class BrokenLoRA(pt.mine('lora.layer')):\n    def __init__(self, base, rank=8, alpha=16.0):\n" \
          "        super().__init__(base, rank, alpha)\n        {}\n"

RIGHT["lora.broken"] = {
    "nearly zero": CHANGED.format("nn.init.normal_(self.B, std=1e-9)"),
    "a base that trains": CHANGED.format("self.base.bias.requires_grad_()"),
    "a base that is written to": but(
        BROKEN, STUCK, "        self.base.weight.data += 1e-9 * torch.ones_like(self.base.weight)\n"
                       "        self.base.weight.data += self.B.data @ self.A.data\n"
                       "        return super().forward(x)\n"),
    "off in the last place": but(BROKEN, STUCK, "        return (1 + 2**-22) * super().forward(x)\n"),
}

WRONG["lora.broken"] = {
    "caught": (CHANGED.format("nn.init.zeros_(self.A)"), CHANGED.format("nn.init.ones_(self.B)"),
               but(BROKEN, "0 * self.A", "0 * x.sum()"),
               but(BROKEN, "0 * self.A", "self.A", "self.B.T", "self.B.detach().T")),
    "lawful": (but(BROKEN, "0 * self.A", "self.A - self.A.detach()"),
               CHANGED.format("nn.init.kaiming_uniform_(self.A, a=5**0.5)")),
}

# ── lora.case ────────────────────────────────────────────────────────────────────────────────

CASE = solution("lora.case")
SIXTY_FOUR = '{"rank": 64, "alpha": 128, "lr": 3e-3}'
ONE = '{"rank": 1, "alpha": 16, "lr": 3e-3}'
LOUD = '{"rank": 1, "alpha": 128, "lr": 3e-3}'
AS_LARGE = '{"rank": 8, "alpha": 45.25, "lr": 3e-3}'
CLEARS, CONVICTS = f"{SIXTY_FOUR}, {ONE}", f"{ONE}, {LOUD}"

TOLERANT = {"lora.case"}
RIGHT["lora.case"] = {
    "rank 8 clears, too": but(CASE, CLEARS, f"{SIXTY_FOUR}, {AS_LARGE}"),
    "a rank with a point": but(CASE, LOUD, LOUD.replace('"rank": 1', '"rank": 1.0')),
    "in another order": but(CASE, CLEARS, f"[{ONE}, {SIXTY_FOUR}]"),
    "a longer step in alpha": but(CASE, f"= {ONE}", '= {"rank": 1, "alpha": 2, "lr": 3e-3}'),
    "NumPy": but("import numpy as np\n" + CASE, LOUD, '{"rank": np.int64(1), "alpha": '
                 'np.float64(128), "lr": np.float32(3e-3)}'),
}

WRONG["lora.case"] = {
    "asked_already": but(CASE, CONVICTS, CONVICTS.replace(": 1,", ": 8,")),
    "not_controlled": but(CASE, f"= {ONE}", '= {"rank": 4, "alpha": 8, "lr": 3e-3}'),
    "other_size": but(CASE, CLEARS, CLEARS.replace(": 1,", ": 8,")),
    "rank_suspected": but(CASE, CONVICTS,
                          f'{{"rank": 64, "alpha": 16, "lr": 3e-3}}, {SIXTY_FOUR}'),
    "same_outcome": but(CASE, LOUD, '{"rank": 1, "alpha": 2, "lr": 3e-3}'),
    "not_recorded": (but(CASE, CLEARS, CLEARS.replace('1, "alpha": 16', '2, "alpha": 22.6')),
                     but(CASE, LOUD, '{"rank": 1, "alpha": 128, "lr": 1e-3}')),
    "not_settings": (but(CASE, CONVICTS, f"{CONVICTS}, {ONE}"),
                     but(CASE, CLEARS, f"{SIXTY_FOUR}, (8, 45.25, 3e-3)"),
                     but(CASE, f"= {ONE}", '= {"rank": 1, "alpha": 16}'),
                     but(CASE, f"= {ONE}", "= " + ONE.replace("16", '"16"')),
                     but(CASE, f"= {ONE}", "= " + ONE.replace("1,", "1.5,"))),
}

# ── lora.merge ───────────────────────────────────────────────────────────────────────────────

MERGE = solution("lora.merge")
DELTA = "layer.scale * layer.B @ layer.A"
WEIGHT = f"base.weight.float() + {DELTA}"
COPIED = "            linear.bias.copy_(base.bias)\n"

RIGHT["lora.merge"] = {
    "a copy of the base": """
import copy

def merged(layer):
    linear = copy.deepcopy(layer.base)
    with torch.no_grad():
        linear.weight.copy_(linear.weight.float() + layer.scale * (layer.B @ layer.A))
    return linear
""",
    "data": but(MERGE, "linear.weight.copy_(", "linear.weight.data = (", "layer.A)\n",
                "layer.A).to(base.weight.dtype)\n"),
    "in double": but(MERGE, WEIGHT, "base.weight.double() + layer.scale * "
                                    "layer.B.double() @ layer.A.double()"),
    "on the CPU, and back": but(MERGE, WEIGHT, "base.weight.cpu().float() + layer.scale * "
                                        "layer.B.cpu() @ layer.A.cpu()"),
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
    "no_return": but(MERGE, "    return linear\n", "    linear\n"),
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
         but(MERGE, "bias=base.bias is not None,", ""),
         but(MERGE, COPIED, "            pass\n")),
}

BEYOND["lora.merge"] = but(
    MERGE, "dtype=base.weight.dtype",
    "dtype=torch.float32 if base.weight.dtype == torch.float32 else torch.bfloat16")


# What one further case alone finds: see `answers.slips`.
HALF, BRAIN = "torch.float16", "torch.bfloat16"
SLIPS: dict = {
    "lora.count": (SUM, "0", {
        "a rank above both sides together": "rank > n_in + n_out",
        "sides of one": "n_in == n_out == 1", "one input": "n_in == 1 < n_out",
        "more than float32 holds": "rank * (n_in + n_out) > 2**24"}),
    "lora.layer": (OUT, "y", {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "bfloat16 without a bias": f"x.dtype == {BRAIN} and self.base.bias is None",
        "float16 without a bias": f"x.dtype == {HALF} and self.base.bias is None",
        "float16 with one": f"x.dtype == {HALF} and self.base.bias is not None"}),
    "lora.merge": (WEIGHT, "base.weight", {
        "rank 1": "len(layer.A) == 1", "full rank": "len(layer.A) == base.in_features",
        "bfloat16 without a bias": f"base.weight.dtype == {BRAIN} and base.bias is None",
        "float16 without a bias": f"base.weight.dtype == {HALF} and base.bias is None",
        "float16 with one": f"base.weight.dtype == {HALF} and base.bias is not None"}),
}
