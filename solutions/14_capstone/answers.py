"""Answers to the exercises of the capstone."""

from pathlib import Path

from peft_teach.course.publish.authored import but, read, solution

RIGHT: dict = {}
WRONG: dict = {}

# ── capstone.split ───────────────────────────────────────────────────────────────────────────

SPLIT = "import hashlib\n\n\n" + solution("capstone.split")
SEEN = "        if plain in seen:\n            continue\n"
RIGHT["capstone.split"] = {
    "the solution": SPLIT,
    "a seed of the name": but(SPLIT, "import hashlib", "import random",
                              "drawn = hashlib.sha256(document.encode()).digest()[0]    # from 0 to 255",
                              "share = random.Random(document).random()", "drawn < 51",
                              "share < 0.2"),
    "by a checksum, in sets": """
import zlib


def split(lines):
    first = {}
    for number, (document, text) in enumerate(lines):
        first.setdefault(" ".join(text.casefold().split()), number)
    test = {n for n in first.values() if zlib.crc32(lines[n][0].encode()) % 5 == 0}
    return set(first.values()) - test, test""",
    "in pandas": """
import hashlib

import pandas as pd


def split(lines):
    frame = pd.DataFrame(lines, columns=["document", "text"])
    frame["plain"] = frame.text.str.lower().str.split().str.join(" ")
    frame = frame.drop_duplicates("plain", keep="last")
    share = frame.document.map(lambda name: int(hashlib.md5(name.encode()).hexdigest(), 16) % 100)
    return frame.index[share >= 20].tolist(), frame.index[share < 20].tolist()""",
    "documents first": """
import hashlib


def is_test(document):
    return int.from_bytes(hashlib.sha1(document.encode()).digest()[:4], "big") < 0.2 * 2**32


def split(lines):
    sides = {document: is_test(document) for document, _ in lines}
    kept = {}
    for i in range(len(lines)):
        kept[" ".join(lines[i][1].upper().split())] = i
    train = [i for i in kept.values() if not sides[lines[i][0]]]
    return train, [i for i in kept.values() if sides[lines[i][0]]]""",
    "in an array": but(SPLIT, "import hashlib", "import hashlib\nimport numpy as np",
                       "return train, test", "return np.array(train), np.array(test)"),
}
WRONG["capstone.split"] = {
    "document": but(SPLIT, "document.encode()", "plain.encode()"),
    "twice": but(SPLIT, SEEN, ""),
    "spelled": but(SPLIT, '" ".join(text.lower().split())', "text"),
    "lost": """
import hashlib
from collections import Counter


def split(lines):
    plain = [" ".join(text.lower().split()) for _, text in lines]
    times = Counter(plain)
    kept = [i for i in range(len(lines)) if times[plain[i]] == 1]
    test = [i for i in kept if hashlib.sha256(lines[i][0].encode()).digest()[0] < 51]
    return sorted({*kept} - {*test}), test""",
    "share": (but(SPLIT, "drawn < 51", "drawn < 128"), but(SPLIT, "drawn < 51", "drawn < 5")),
    "moved": """
import random


def split(lines):
    documents = sorted({document for document, _ in lines})
    random.Random(0).shuffle(documents)
    held, seen, train, test = {*documents[:len(documents) // 5]}, set(), [], []
    for number, (document, text) in enumerate(lines):
        plain = " ".join(text.lower().split())
        if plain not in seen:
            seen.add(plain)
            (test if document in held else train).append(number)
    return train, test""",
    "no_return": but(SPLIT, "    return train, test\n", ""),
    "": (but(SPLIT, "return train, test", "return [lines[n] for n in train], test"),
         but(SPLIT, "return train, test", "return train")),
}

# ── capstone.laws ────────────────────────────────────────────────────────────────────────────

ABOVE, = (cell.source for cell in read(Path(__file__).with_name("lesson.py"))
          if "def a_life" in cell.source)
LAWS = f"from contextlib import suppress\n\n{ABOVE}\n\n\n{solution('capstone.laws')}"
SIZES = "((6, 4, True), (5, 5, False))"
MERGE = "        torch.testing.assert_close(merged(x), y, rtol=1e-3, atol=1e-3)\n"
FROZEN = "        frozen_stays(a_life(make, x), base)\n"
LEARNS = "p.grad.abs().max() > 0"
COPY = LAWS[LAWS.index("        for name, p in second"):LAWS.index("        torch.testing.assert_close(sec")]
TRY = """        try:
            merged = layer.merged()
        except pt.errors.NotMergeable:
            merged = layer
"""
BY_HAND = """        before = [p.clone() for p in base.parameters()]
"""
STANDS = """        assert all(torch.equal(a, b) for a, b in zip(before, base.parameters()))
        assert not any(p.requires_grad for p in base.parameters())
"""
UNTOUCHED = "        torch.testing.assert_close(layer(x), y)\n"
ALONE = but(solution("capstone.laws"), FROZEN, BY_HAND, UNTOUCHED, UNTOUCHED + STANDS)
RIGHT["capstone.laws"] = {
    "the solution": LAWS,
    "with a bias alone, and random biases": but(LAWS, SIZES, "((3, 8, True),)"),
    "by allclose": but(LAWS, "torch.testing.assert_close(second.eval()(x), y)",
                       "assert torch.allclose(second.eval()(x), y, atol=1e-4)"),
    "in double precision": but(LAWS, "bias=bias)", "bias=bias, dtype=torch.float64)",
                               "torch.randn(7, n_in)", "torch.randn(7, n_in, dtype=torch.float64)"),
    "on a wide layer": but(LAWS, SIZES, "((40, 30, True),)"),
    "with copies of the base": ALONE,
}
WRONG["capstone.laws"] = {
    "let_through": (but(LAWS, MERGE, ""), but(LAWS, ".eval()", ""),
                    but(LAWS, SIZES, "((6, 4, False),)"),
                    but(LAWS, "            p.data.normal_()\n", "            pass\n",
                        LEARNS, "p.grad is not None"),
                    but(LAWS, LEARNS, "p.grad is not None"),
                    but(LAWS, TRY, TRY.replace("pt.errors.NotMergeable", "Exception"),
                        FROZEN, "        try:\n            frozen_stays(a_life(make, x), base)\n"
                                "        except AttributeError:\n            pass\n"),
                    but(LAWS, UNTOUCHED, ""), but(LAWS, FROZEN, ""),
                    but(LAWS, FROZEN, "        frozen_stays(make, base)\n"),
                    but(ALONE, STANDS, "", "        try:\n", f"{STANDS}        try:\n"),
                    but(LAWS, COPY, "        second.load_state_dict(layer.state_dict())\n")),
    "accused": but(LAWS, TRY, "        merged = layer.merged()\n"),
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
