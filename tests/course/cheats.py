"""Answers that call the reference, by their way to it; and what cannot be seen, by its sign.

    CHEATS = {"by another name": ("lora.count", (cell, …)), …}      the reference ran: no points
    SIGNS = {"a thread": ("lora.count", (cell, …), "starts a thread"), …}       a flag
"""

BODY = "def lora_count(n_in, n_out, rank):\n    "
COUNT = BODY + "return {}(n_in, n_out, rank)"
BASE = "pt.lora.LoRALinear"
CULPRITS = "peft_teach.course.lessons.full.reference"

CHEATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "in plain words": ("lora.count", (COUNT.format("pt.lora.count"),)),
    "its code in a new function": ("lora.count", (
        "import types\n" + COUNT.format(
            "types.FunctionType(pt.lora.count.__code__, {}, 'f', (False,))"),)),
    "its module loaded anew": ("lora.count", (
        "import importlib\n" + COUNT.format("importlib.reload(pt.lora).count"),)),
    "from check": ("lora.count", (COUNT.format("pt.check('lora.count', print)"),)),
    "after a deep recursion": ("lora.count", (
        "def deep():\n    try:\n        deep()\n    except RecursionError:\n        pass",
        BODY + "deep()\n    return pt.lora.count(n_in, n_out, rank)")),
    "one method of it": ("lora.layer", (
        "class LoRALinear(pt.Adapter):\n"
        "    def __init__(self, base, rank=8, alpha=16.0):\n        super().__init__(base)\n"
        "        self.scale, self.dropout = alpha / rank, nn.Identity()\n"
        "        self.A = nn.Parameter(torch.randn(rank, base.in_features) / 8)\n"
        "        self.B = nn.Parameter(torch.zeros(base.out_features, rank))\n"
        f"    forward = {BASE}.forward",)),
    "the method of the library": ("lora.merge", (
        f"def merged(layer):\n    return {BASE}.merged(layer)",)),
    "the library's evaluation": ("full.accuracy", (
        "def accuracy(model, batches):\n    return pt.evaluate(model, batches).accuracy",)),
    "the library's placing": ("change.inject", (
        "def inject(model, targets, make):\n    return pt.attach(model, targets, make)",)),
    "a right version, which tests are tried on": ("lora.layer", (
        "from peft_teach.course.lessons.lora.mutants import RIGHT as versions\n"
        "class LoRALinear(versions['draws A from a normal distribution']):\n    pass",)),
    "a value of the course": ("full.culprits", (
        f"import importlib\nculprits = vars(importlib.import_module('{CULPRITS}'))['culprits']",)),
    "a value from check": ("full.culprits", (
        "culprits = getattr(pt, 'check')('full.culprits', None)",)),
}

RIGHT = BODY + "{}\n    return rank * (n_in + n_out)"
_COMPARED = "calls the reference, and is right without it"
SIGNS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "the profiler taken off": ("lora.count", (
        BODY + "import sys\n    sys.setprofile(None)\n"
        "    return pt.lora.count(n_in, n_out, rank)",), "reads or changes the profiler"),
    "the profiler read": ("lora.count", (
        RIGHT.format("import sys; sys.getprofile()"),), "reads or changes the profiler"),
    "a thread": ("lora.count", (
        BODY + "from concurrent.futures import ThreadPoolExecutor\n"
        "    with ThreadPoolExecutor(1) as pool:\n"
        "        return pool.submit(pt.lora.count, n_in, n_out, rank).result()",),
        "starts a thread"),
    "ctypes": ("lora.count", (
        BODY + "import ctypes\n    ctypes.pythonapi.PyEval_SetProfile(None, None)\n"
        "    return pt.lora.count(n_in, n_out, rank)",), "uses ctypes"),
    "the pipe closed": ("lora.count", (
        BODY + "import os\n    kept = os.dup(3)\n"
        "    os.dup2(os.open(os.devnull, os.O_WRONLY), 3)\n"
        "    found = pt.lora.count(n_in, n_out, rank)\n    os.dup2(kept, 3)\n    return found",),
        "takes over the pipe to the grader"),
    "its code changed": ("lora.count", (
        "import types\n" + COUNT.format(
            "types.FunctionType(pt.lora.count.__code__.replace(co_filename='x'), {}, 'f', "
            "(False,))"),), "creates code objects"),
    "its source read": ("lora.count", (
        BODY + "import inspect\n    space = {}\n    exec(inspect.getsource(pt.lora.count), space)\n"
        "    return space['count'](n_in, n_out, rank)",), "reads the library's source"),
    "its file read in its folder": ("lora.count", (
        RIGHT.format("import os; os.chdir(os.path.dirname(pt.lora.__file__)); open(b'lora.py')"),),
        "reads the library's source"),
    "the pipe opened": ("lora.count", (
        RIGHT.format("open(3, 'wb', closefd=False)"),), "takes over the pipe to the grader"),
    "compared with in an assert": ("lora.count", (
        BODY + "found = rank * (n_in + n_out)\n"
        "    assert found == pt.lora.count(n_in, n_out, rank)\n    return found",), _COMPARED),
    "compared with under a name": ("lora.count", (
        "from peft_teach.methods.lora import count as right",
        BODY + "found, expected = rank * (n_in + n_out), None\n"
        "    expected = right(n_in, n_out, rank)\n"
        "    if found != expected:\n        print(expected)\n    return found"), _COMPARED),
}
