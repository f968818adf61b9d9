"""Answers to the exercises of the capstone."""

from answers import but, solution

RIGHT: dict = {}
WRONG: dict = {}

# ── capstone.laws ────────────────────────────────────────────────────────────────────────────

LAWS = solution("capstone.laws")
SIZES = "((6, 4, True), (5, 5, False))"
MERGE = "        torch.testing.assert_close(merged(x), y, rtol=1e-3, atol=1e-3)\n"
BASE = "        assert all(torch.equal(a, b) for a, b in zip(before, base.parameters()))\n"
LEARNS = "p.grad.abs().max() > 0"
COPY = LAWS[LAWS.index("        for name, p in second"):LAWS.index("        torch.testing.assert_close(sec")]
RIGHT["capstone.laws"] = {
    "with a bias alone, and random biases": but(LAWS, SIZES, "((3, 8, True),)"),
    "by allclose": but(LAWS, "torch.testing.assert_close(second.eval()(x), y)",
                       "assert torch.allclose(second.eval()(x), y, atol=1e-4)"),
    "in double precision": but(LAWS, "bias=bias)", "bias=bias, dtype=torch.float64)",
                               "torch.randn(7, n_in)", "torch.randn(7, n_in, dtype=torch.float64)"),
    "on a wide layer": but(LAWS, SIZES, "((40, 30, True),)"),
}
WRONG["capstone.laws"] = {
    "let_through": (but(LAWS, MERGE, ""), but(LAWS, ".eval()", ""),
                    but(LAWS, SIZES, "((6, 4, False),)"),
                    but(LAWS, "            p.data.normal_()\n", "            pass\n",
                        LEARNS, "p.grad is not None"),
                    but(LAWS, LEARNS, "p.grad is not None"),
                    but(LAWS, "pt.errors.NotMergeable", "Exception"),
                    but(LAWS, "        torch.testing.assert_close(layer(x), y)\n", ""),
                    but(LAWS, BASE, "", "        try:\n", f"{BASE}        try:\n"),
                    but(LAWS, BASE, "        assert all(map(torch.any, "
                                    "layer.own_parameters().values()))\n"),
                    but(LAWS, COPY, "        second.load_state_dict(layer.state_dict())\n")),
    "accused": but(LAWS, "        try:\n            merged = layer.merged()\n        except pt."
                         "errors.NotMergeable:\n            merged = layer\n",
                   "        merged = layer.merged()\n"),
    "objects_to_all": "def keeps_the_laws(make):\n    assert False",
    "returned_bool": "def keeps_the_laws(make):\n    return True",
}

# ── capstone.adapter ─────────────────────────────────────────────────────────────────────────

THIN = """
class Thin(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.scale = 8.0
        self.A = nn.Parameter(torch.randn(1, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, 1))

    def forward(self, x):
        return self.base(x) + self.scale * x @ self.A.T @ self.B.T

    def merged(self):
        layer = nn.Linear(self.base.in_features, self.base.out_features,
                          bias=self.base.bias is not None)
        layer.load_state_dict(self.base.state_dict())
        layer.weight.data += self.scale * (self.B @ self.A).detach()
        return layer


def my_adapter(base):
    return Thin(base)
"""
RIGHT["capstone.adapter"] = {
    "the solution": 'LoRALinear = pt.mine("lora.layer")\n\n\n' + solution("capstone.adapter"),
    "of the highest rank that fits": 'def my_adapter(base):\n'
                                     "    return pt.lora.LoRALinear(base, 12, 64.0)",
    "a class of its own": THIN,
    "the class itself": but(THIN, "class Thin(", "class my_adapter(", "\n\ndef my_adapter(base):\n"
                                                  "    return Thin(base)\n", ""),
}
WRONG["capstone.adapter"] = {
    "start": but(THIN, "torch.zeros(base.out_features, 1)", "torch.randn(base.out_features, 1)"),
    "not_adapter": "def my_adapter(base):\n    return nn.Linear(base.in_features, "
                   "base.out_features)",
    "base_trained": but(THIN, "        self.scale = 8.0\n",
                        "        self.scale = 8.0\n        base.requires_grad_()\n"),
    "no_gradient": but(THIN, "self.A.T", "self.A.data.T"),
    "not_all": but(THIN, "nn.Parameter(torch.randn(1, base.in_features) / base.in_features**0.5)",
                   "torch.randn(1, base.in_features) / base.in_features**0.5"),
    "base_changed": but(THIN, "        return self.base(x) +",
                        "        self.base.weight.data *= 1.00001\n        return self.base(x) +"),
    "merge": but(THIN, "+= self.scale * (self.B", "+= (self.B"),
    "merged_in_place": but(THIN, "        return layer\n",
                           "        self.base.weight.data.copy_(layer.weight)\n"
                           "        self.B.data.zero_()\n        return layer\n"),
}

# What each message says, of its mistake and of no other: see `answers.says`.
SAYS = {
    "capstone.adapter": {
        "not_adapter": "inherits from pt.Adapter", "start": "begins by forgetting",
        "base_trained": "what trains is the adapter's own",
        "no_gradient": "is it detached, or unused",
        "not_all": "must be a registered parameter", "base_changed": "share one base",
        "merge": "with a bias and without", "merged_in_place": "merged() makes a new layer"},
}
