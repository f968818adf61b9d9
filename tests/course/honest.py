"""Honest notebooks, by what their authors did besides answering: each must get all points.

    HONEST = {"a loop over the name": ("full.step", (cell, cell, …)), …}

The answers are the course's own right ones. Around them stands what people do in notebooks: names
used again, cells tried and left, lines of other tools.
"""

import answers

COUNT = "def lora_count(n_in, n_out, rank):\n    return {}"
SUM = "rank * (n_in + n_out)"
RIGHT, WRONG = COUNT.format(SUM), COUNT.format(1)
STUB = 'def lora_count(n_in, n_out, rank):\n    raise pt.NotAttempted("lora.count")'
CHECK = 'lora_count = pt.check("lora.count", lora_count)'


def a_right(id: str) -> str:
    """The first right answer of an exercise."""
    return answers.cell(next(iter(answers.right(id).values())))


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))


def prompted(text: str, first: str, others: str) -> str:
    """The text as copied from a terminal."""
    head, *lines = text.split("\n")
    return "\n".join([first + head, *(others + line for line in lines)])


STEP, ACCURACY, LEDGER = (a_right(id) for id in ("full.step", "full.accuracy", "inside.ledger"))
ORDER = a_right("inside.order")
CHECK_ORDER = 'order = pt.check("inside.order", order)'

HONEST: dict[str, tuple[str, tuple[str, ...]]] = {
    # a name used again
    "a loop over the name": ("full.step", (
        STEP, "for step in range(3):\n    print(step)")),
    "a result of that name": ("full.accuracy", (
        ACCURACY, "run = pt.evaluate(model, batches)", "accuracy = run.accuracy")),
    "the library's, by import": ("change.truncate", (
        a_right("change.truncate"), "from peft_teach.spectra import truncate")),
    "the library's, by its module": ("change.truncate", (
        a_right("change.truncate"), "spectra = pt.spectra\ntruncate = spectra.truncate")),
    "a tuple with that name": ("lora.count", (RIGHT, "x, lora_count = 1, 2")),
    "a comprehension over the name": ("full.step", (STEP, "print([step for step in range(3)])")),
    "taken away at the end": ("lora.count", (RIGHT, CHECK, "del lora_count")),
    "a loop over functions": ("lora.count", (
        RIGHT, "for lora_count in (lora_count, pt.lora.count):\n    print(lora_count(1, 2, 3))")),
    # where a definition stands
    "in a loop": ("lora.count", ("for _ in range(2):\n" + indented(RIGHT),)),
    "an old version switched off": ("lora.count", (
        RIGHT, "if False:\n" + indented(COUNT.format(1)))),
    "an old one kept under a name": ("lora.count", (
        RIGHT, "old_count = lora_count",
        "def lora_count(n_in, n_out, rank):\n    return old_count(n_in, n_out, rank)")),
    "tried first, then renamed": ("lora.count", (
        STUB, COUNT.format(1), RIGHT.replace("lora_count", "better"), "lora_count = better")),
    "a lambda with a type": ("lora.count", (
        "from collections.abc import Callable\n"
        f"lora_count: Callable = lambda n_in, n_out, rank: {SUM}",)),
    "from a factory": ("lora.count", (
        STUB, f"def make():\n    return lambda n_in, n_out, rank: {SUM}", "lora_count = make()")),
    # what a definition needs
    "a helper mended below": ("lora.count", (
        COUNT.format("side(n_in, rank) + side(n_out, rank)"), "def side(n, r):\n    return n + r",
        "def side(n, r):\n    return n * r", CHECK)),
    "a constant used again later": ("lora.count", (
        "ONE = 1", COUNT.format(f"ONE * {SUM}"), CHECK, "for ONE in 'ab':\n    print(ONE)")),
    "a constant set by a timed line": ("lora.count", (
        "%time ONE = 1", COUNT.format(f"ONE * {SUM}"))),
    # mistakes on purpose, and names that mean something else further down
    "a wrong one left, the right one checked": ("lora.count", (
        WRONG, RIGHT.replace("lora_count", "mine"), "lora_count = pt.check('lora.count', mine)")),
    "a mistake below its check, checked, too": ("lora.count", (RIGHT, CHECK, WRONG, CHECK)),
    "a mistake by a change below its check": ("lora.merge", (
        a_right("lora.merge"), "merged = pt.check('lora.merge', merged)",
        "merged = functools.partial(print)\nmerged.x = 1")),
    "right at last, its check further up": ("lora.count", (
        *(f"{COUNT.format(n)}\n{CHECK}" for n in range(6)), WRONG, RIGHT)),
    **{f"{id.rpartition('.')[2]} as something else below": (id, (
        a_right(id), f"{name} = pt.check({id!r}, {name})",
        f"def {name}(x):\n    return x", f"{name} = lambda x: x"))
       for id, name in (("full.step", "step"), ("prefix.generate", "generate"))},
    # checks
    "checked under another name": ("lora.count", (
        STUB, RIGHT.replace("lora_count", "mine"), "_ = pt.check('lora.count', mine)")),
    "the id in a variable": ("lora.count", (RIGHT, "ID = 'lora.count'\npt.check(ID, lora_count)")),
    "a value whose check has its id in a variable": ("inside.order", (
        ORDER, "ID = 'inside.order'\norder = pt.check(ID, order)", "order = 'another use'")),
    "a value checked in a with": ("inside.order", (
        ORDER, "import warnings\nwith warnings.catch_warnings():\n    " + CHECK_ORDER,
        "order = 'mine'")),
    # lines of other tools
    "indented, with a magic": ("lora.count", (indented("%matplotlib inline\n" + RIGHT),)),
    "a prompt of Python": ("lora.count", (prompted(RIGHT, ">>> ", "... "),)),
    "prompts and a magic": ("lora.count", (
        "In [1]: %matplotlib inline\n" + prompted(RIGHT, "In [2]: ", "   ...: "),)),
    "a doctest below a magic": ("lora.count", (
        '%time\ndef lora_count(n_in, n_out, rank):\n    """\n    >>> lora_count(1, 2, 3)\n    9\n'
        f'    """\n    return {SUM}',)),
    "a shell line that is timed": ("lora.count", ("%time !pip install -q \\\n  x\n" + RIGHT,)),
    "lines of Windows": ("lora.count", (
        "%matplotlib inline\r\nfiles = !ls\r\n" + RIGHT.replace("\n", "\r\n"),)),
    "a text that looks like a magic": ("lora.count", (f'TEXT = """\n%%time\n!ls\n"""\n{RIGHT}',)),
    "an install without a sign": ("lora.count", ("pip install -q einops\n" + RIGHT,)),
    "help at the end": ("lora.count", (RIGHT + "\npt.lora.LoRALinear??\n?pt.check\n!!ls",)),
    "an await below it": ("lora.count", (RIGHT + "\nimport asyncio\nawait asyncio.sleep(0)",)),
}

# What an answer may need: each of these gives ONE its value, 1.
HELPERS = (
    "ONE = 0\nONE += 1", "print([ONE := x for x in (0, 1)])",
    "with open('x', 'w'):\n    ONE = 1",
    "XS = []\nXS.append(1)\nONE = XS[0]", "XS = []\nfor x in (1,):\n    XS.append(x)\nONE = XS[0]",
    "CFG = {'one': 0}\nCFG['one'] = 1\nONE = CFG['one']",
    "def setup():\n    global ONE\n    ONE = 1\nsetup()",
    "def setup():\n    global ONE\n    ONE += 1\nONE = 0\nsetup()",
    "def one():\n    pass\none.value = 1\nONE = one.value", "k = 1\nclass P:\n    k = k\nONE = P.k",
    "def fill(xs):\n    xs.append(1)\nXS = []\nfill(XS)\nONE = XS[0]",
    "class S:\n    pass\nS.one = 0\nsetattr(S, 'one', 1)\nONE = S().one",
    "import torch as th\nONE = int(th.tensor(1))",
    "from collections import defaultdict\nD = defaultdict(int)\nD['x'] += 1\nONE = D['x']",
    "def make():\n    return later()\ndef later():\n    return 1\nONE = make()",
    "lc = pt.check('inside.linear', linear)\ndef linear(a, b):\n    return a * b\nONE = lc(1, 1)",
    "import os, nosuchlib, math\nONE = math.prod([])", "from nosuchlib import *\nONE = 1",
    "broken = 1 / 0\nONE = 1\nif False:\n    ONE = broken",
    "!pip install -q \\\n    einops\nONE = 1",
    "%time\nONE = (7\n    % 3)",
    "class lora:\n    def count():\n        return 1\nONE = lora.count()",
    "from peft_teach import Adapter, check\nONE = issubclass(Adapter, nn.Module)")
HONEST |= {f"a helper: {text!r}": ("lora.count", (text, COUNT.format(f"ONE * {SUM}")))
           for text in HELPERS}

# How a function may be written.
WRITTEN = (
    ("calls = 0\ndef lora_count(n_in, n_out, rank):\n    global calls\n    calls += 1\n"
     "    return rank * (n_in + n_out)",),
    (STUB, "pt.check('lora.count', lambda n_in, n_out, rank: rank * (n_in + n_out))"),
    (COUNT.format(1), RIGHT + "\n    raise pt.NotAttempted('lora.count')"),
    ("from functools import singledispatch\n@singledispatch\n" + COUNT.format(0)
     + "\n@lora_count.register\ndef _(n_in: int, n_out, rank):\n    return rank * (n_in + n_out)",),
    ("T = TypeVar('T')\n" + RIGHT, "from typing import TypeVar"))
HONEST |= {f"written as {cells[-1]!r}": ("lora.count", cells) for cells in WRITTEN}

# What is completed after its definition.
LAYER = """class LoRALinear(pt.Adapter):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base)
        self.scale = alpha / rank
        self.A = torch.nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank))
"""
FORWARD = """def forward(self, x):
    y = self.base(x)
    return y + (self.scale * (x.float() @ self.A.T @ self.B.T)).to(y.dtype)
"""
MERGED = """def merged(layer):
    class Result:
        pass
    r, b = Result(), layer.base
    r.merged = nn.Linear(b.in_features, b.out_features, b.bias is not None, b.weight.device,
                         b.weight.dtype)
    r.merged.weight.copy_(b.weight.float() + layer.scale * layer.B @ layer.A)
    if b.bias is not None:
        r.merged.bias.copy_(b.bias)
    return r.merged
"""
HONEST |= {
    "a class of the same name": ("lora.layer", (
        LAYER + "\nclass LoRALinear(LoRALinear):\n" + indented(FORWARD),)),
    "a method by setattr": ("lora.layer", (
        LAYER, FORWARD + "\nsetattr(LoRALinear, 'forward', forward)")),
    "a method by a decorator": ("lora.layer", (
        LAYER, "def add_to_class(C):\n    def put(f):\n        setattr(C, f.__name__, f)\n"
               "    return put\n@add_to_class(LoRALinear)\n" + FORWARD)),
    "a method assigned": ("lora.layer", (LAYER, FORWARD, "LoRALinear.forward = forward")),
    "wrapped in place": ("lora.merge", (MERGED, "merged = torch.no_grad()(merged)")),
}
