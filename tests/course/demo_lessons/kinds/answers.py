"""Answers to the exercises of the demonstration course, one of each kind."""

from peft_teach.course.publish.authored import but

SHIFT = """
class Shift(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.b = nn.Parameter(torch.zeros(base.out_features))

    def forward(self, x):
        return self.base(x) + self.b
"""
RANK = "largest_rank = 191"
SETTINGS = """
slow = {"rank": 8, "lr": 1e-4}
fast = {"rank": 8, "lr": 1e-2}
"""
LAW = """
def doubles(double):
    for x in (3, -1):
        assert double(x) == 2 * x
"""

RIGHT = {
    "kinds.shift": {"plain": SHIFT, "in place": but(SHIFT, "self.base(x) + self.b",
                                                    "self.base(x).add_(self.b)"),
                    "ones": but(SHIFT, "torch.zeros(base.out_features)",
                                "torch.zeros_like(base.bias)")},
    "kinds.rank": {"a number": RANK, "computed": "n = 384\nlargest_rank = (n * n - 1) // (2 * n)",
                   "NumPy": "import numpy as np\n\nlargest_rank = np.arange(192).max()"},
    "kinds.settings": {"two dicts": SETTINGS, "a copy": but(SETTINGS, '{"rank": 8, "lr": 1e-2}',
                                                            'slow | {"lr": 1.0}'),
                       "the rank": but(SETTINGS, '"rank": 8, "lr": 1e-2', '"rank": 4, "lr": 1e-4')},
    "kinds.law": {"assert": LAW, "raise": """
def doubles(double):
    if [double(3), double(-1)] != [6, -2]:
        raise ValueError("it does not double")
""", "a comprehension": """
def doubles(double):
    assert all(double(x) == x + x for x in range(-4, 5))
"""},
}

WRONG = {
    "kinds.shift": {"not_added": but(SHIFT, " + self.b", ""),
                    "moved": but(SHIFT, "torch.zeros", "torch.ones")},
    "kinds.rank": {"too_large": but(RANK, "191", "192"), "too_small": but(RANK, "191", "8"),
                   "no_number": (but(RANK, "191", "191.0"), but(RANK, "191", "'191'"))},
    "kinds.settings": {"not_controlled": but(SETTINGS, '"rank": 8, "lr": 1e-2',
                                             '"rank": 4, "lr": 1e-2')},
    "kinds.law": {"let_through": but(LAW, "(3, -1)", "(3,)"),
                  "objects_to_all": but(LAW, "2 * x", "3 * x + 1"),
                  "accused": but(LAW, "assert double(x) == 2 * x",
                                 "assert double(x) is not None\n        if double(3) == 6:\n"
                                 "            raise AssertionError"),
                  "returned_bool": but(LAW, "    for x in (3, -1):\n        assert double(x) == "
                                            "2 * x", "    return double(3) == 6")},
}
