"""Answers to the exercises of lesson 02."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── change.project ───────────────────────────────────────────────────────────────────────────

PROJECT = """
def project(theta0, z, h, sign):
    scale = (len(z) / len(theta0)) ** 0.5
    move = sign * z[h]
    return theta0 + scale * move
"""
MOVE = "sign * z[h]"
SCALE = "(len(z) / len(theta0)) ** 0.5"
SUM = "theta0 + scale * move"

RIGHT["change.project"] = {
    "plain": PROJECT,
    "index_select": but(PROJECT, MOVE, "z.index_select(0, h) * sign"),
    "take": but(PROJECT, MOVE, "torch.take(z, h).mul(sign)"),
    "mask by mask": but(PROJECT, MOVE, "sign * sum((h == j) * z[j] for j in range(len(z)))"),
    "a copy that moves": but(PROJECT, "    return theta0 + scale * move",
                             "    theta = theta0.clone()\n    theta += scale * move\n"
                             "    return theta"),
    "a table of vectors": but(PROJECT, MOVE,
                              "sign * nn.functional.embedding(h, z[:, None]).squeeze(-1)"),
    "a sparse P": but(PROJECT, MOVE, """torch.sparse.mm(torch.sparse_coo_tensor(
        torch.stack([torch.arange(len(h)), h]), sign, (len(h), len(z))), z[:, None])[:, 0]"""),
}

WRONG["change.project"] = {
    "no_scale": but(PROJECT, SUM, "theta0 + move"),
    "no_return": but(PROJECT, "return", "theta ="),
    "sign_by_column": but(PROJECT, MOVE, "sign[h] * z[h]"),
    "dense": but(PROJECT, MOVE, "(sign[:, None] * nn.functional.one_hot(h, len(z))) @ z"),
    "loop": but(PROJECT, MOVE, "sign * torch.stack([z[j] for j in h])"),
    "no_gradient": but(PROJECT, MOVE, "sign * z.detach()[h]"),
    "": (but(PROJECT, f"return {SUM}", "return theta0.add_(scale * move)"),
         but(PROJECT, "len(z) /", "(h.max() + 1) /")),
}

BEYOND["change.project"] = but(PROJECT, SCALE, f"min(1, {SCALE})")

# ── change.energy ────────────────────────────────────────────────────────────────────────────

ENERGY = """
def directions(sigma, share=0.9):
    energy = (sigma ** 2).cumsum(0)
    below = energy < share * energy[-1]
    return int(below.sum()) + 1
"""
SUMS = "(sigma ** 2).cumsum(0)"
ANSWER = "int(below.sum()) + 1"
LOOP = """
def directions(sigma, share=0.9):
    total = sum(s.item() ** 2 for s in sigma)
    energy = 0.0
    for k, s in enumerate(sigma, start=1):
        energy += s.item() ** 2
        if energy >= share * total:
            return k
"""

RIGHT["change.energy"] = {
    "partial sums": ENERGY,
    "a loop": LOOP,
    "nonzero": but(ENERGY, "    return int(below.sum()) + 1",
                   "    return int((~below).nonzero()[0]) + 1"),
    "argmax": but(ENERGY, SUMS, "torch.cumsum(sigma.pow(2), dim=0) / sigma.pow(2).sum()",
                  ANSWER, "(~below).int().argmax().item() + 1"),
    "searchsorted": but(ENERGY, ANSWER,
                        "torch.searchsorted(energy, share * energy[-1]).item() + 1"),
    "NumPy": but("import numpy as np\n" + ENERGY, SUMS, "np.cumsum(sigma.numpy() ** 2)", ANSWER,
                 "np.searchsorted(energy, share * energy[-1]) + 1"),
}

WRONG["change.energy"] = {
    "not_squared": but(ENERGY, SUMS, "sigma.cumsum(0)"),
    "no_return": but(ENERGY, "return", "k ="),
    "not_whole": but(ENERGY, ANSWER, "float(below.sum()) + 1"),
    "one_less": but(ENERGY, ANSWER, "int(below.sum())"),
    "past_share": but(ENERGY, "energy < share", "energy <= share"),
    "": but(ENERGY, SUMS, "sigma.square_().cumsum(0)"),
}

BEYOND["change.energy"] = but(ENERGY, "    energy =", "    if share == 1:\n"
                                      "        return len(sigma)\n    energy =")

# ── change.truncate ──────────────────────────────────────────────────────────────────────────

TRUNCATE = """
def truncate(delta, k):
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    return U[:, :k] @ torch.diag(sigma[:k]) @ Vt[:k]
"""
CUT = "U[:, :k] @ torch.diag(sigma[:k]) @ Vt[:k]"
ADDED = """
def truncate(delta, k):
    U, sigma, Vt = torch.linalg.svd(delta)
    total = torch.zeros_like(delta)
    for i in range(k):
        total = total + sigma[i] * torch.outer(U[:, i], Vt[i])
    return total
"""

RIGHT["change.truncate"] = {
    "a diagonal": TRUNCATE,
    "scaled columns": but(TRUNCATE, CUT, "(U[:, :k] * sigma[:k]) @ Vt[:k]"),
    "the rest set to zero": but(TRUNCATE, f"    return {CUT}",
                                "    sigma[k:] = 0\n    return U @ sigma.diag() @ Vt"),
    "a sum": ADDED,
    "einsum": but(TRUNCATE, CUT, 'torch.einsum("ik,k,kj->ij", U[:, :k], sigma[:k], Vt[:k])'),
    "the rest taken away": but(TRUNCATE, CUT, "delta - (U[:, k:] * sigma[k:]) @ Vt[k:]"),
    "projected on U": but(TRUNCATE, CUT, "U[:, :k] @ U[:, :k].T @ delta"),
    "NumPy": but("import numpy as np\n" + TRUNCATE, "torch.linalg.svd(delta",
                 "np.linalg.svd(delta.numpy()", CUT,
                 "torch.from_numpy((U[:, :k] * sigma[:k]) @ Vt[:k])"),
    "double and back": but(TRUNCATE, "svd(delta", "svd(delta.double()", CUT, f"({CUT}).float()"),
    "V itself": but(TRUNCATE, "Vt = torch.linalg.svd(delta, full_matrices=False)",
                    "V = torch.svd(delta)", "@ Vt[:k]", "@ V[:, :k].t()"),
}

WRONG["change.truncate"] = {
    "no_sigma": but(TRUNCATE, CUT, "U[:, :k] @ Vt[:k]"),
    "no_return": but(TRUNCATE, "return", "cut ="),
    "misfit": but(TRUNCATE, CUT, "(U * sigma[:k]) @ Vt"),
    "sigma_squared": but(TRUNCATE, CUT, "(U[:, :k] * sigma[:k]) @ (sigma[:k, None] * Vt[:k])"),
    # This fits square matrices alone; where it does not fit, torch says so.
    "columns_of_Vt": but(TRUNCATE, CUT, """(
        (U[:, :k] * sigma[:k]) @ (Vt[:, :k].T if Vt.shape[0] == Vt.shape[1] else Vt[:k]))"""),
    "": (but(TRUNCATE, f"    return {CUT}", f"    delta.copy_({CUT})\n    return delta"),
         but(ADDED, "torch.zeros_like(delta)", "0")),
}

BEYOND["change.truncate"] = """
def truncate(delta, k):
    values, V = torch.linalg.eigh(delta.T @ delta)
    V, sigma = V.flip(1)[:, :k], values.flip(0)[:k].clamp_min(0).sqrt()
    return (delta @ V / sigma * sigma) @ V.T    # sigma may be zero
"""

# ── change.bitfit ────────────────────────────────────────────────────────────────────────────

BITFIT = """
class BiasAdapter(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.b = torch.nn.Parameter(torch.zeros(base.bias.shape))

    def forward(self, x):
        y = self.base(x)
        return y + self.b.to(y.dtype)
"""
START = "torch.zeros(base.bias.shape)"
CALL = "        y = self.base(x)\n"
SHIFTED = "y + self.b.to(y.dtype)"

RIGHT["change.bitfit"] = {
    "plain": BITFIT,
    "summed, then rounded": but(BITFIT, SHIFTED, "(y + self.b).to(y.dtype)"),
    "in float32": but(BITFIT, SHIFTED, "(y.float() + self.b).to(x.dtype)"),
    "in place": but(BITFIT, SHIFTED, "y.add_(self.b)"),
    "zeros_like": but(BITFIT, START, "torch.zeros_like(base.bias, dtype=torch.float32)"),
    "made empty, then zero": but(BITFIT, START, "torch.empty(len(base.bias))", "    def forward",
                                 "        nn.init.zeros_(self.b)\n\n    def forward"),
    "rows of ones": but(BITFIT, SHIFTED, "y + torch.ones_like(y[..., :1]) * self.b.to(y.dtype)"),
    "registered": but(BITFIT, "self.b = torch.nn.Parameter(", 'self.register_parameter("b", '
                      "torch.nn.Parameter(", f"{START})", f"{START}))"),
    "inputs as they come": but(BITFIT, "forward(self, x)", "forward(self, *inputs)",
                               "self.base(x)", "self.base(*inputs)", SHIFTED,
                               "torch.add(y, self.b.type_as(y))"),
}

WRONG["change.bitfit"] = {
    "replaced": but(BITFIT, SHIFTED, "y - self.base.bias + self.b.to(y.dtype)"),
    "copied": but(BITFIT, START, "base.bias.detach().clone()"),
    "": but(BITFIT, "torch.zeros", "torch.ones"),
    "start_near": but(BITFIT, CALL, "        if isinstance(self.base, torch.nn.Linear):\n"
                                    "            y = x @ self.base.weight.T + self.base.bias\n"
                                    "        else:\n            y = self.base(x)\n"),
}

BEYOND["change.bitfit"] = but(BITFIT, "self.b.to(y.dtype)",
                              "self.b.to(y.dtype).expand(x.shape[0], x.shape[1], -1)")

# ── change.small ─────────────────────────────────────────────────────────────────────────────

SMALL = """
def change_a(p, n):
    return p * (torch.eye(n) + 1)


def change_b(p, n):
    return torch.outer(p[:n], p[n:])


def change_c(p, n):
    return torch.diag(p)
"""
EYE, OUTER, DIAG = "p * (torch.eye(n) + 1)", "torch.outer(p[:n], p[n:])", "torch.diag(p)"

RIGHT["change.small"] = {
    "identity plus one, outer, diagonal": SMALL,
    "random signs": but(SMALL, f"    return {EYE}", """
    generator = torch.Generator().manual_seed(0)
    return p * (2.0 * torch.randint(2, (n, n), generator=generator) - 1 + torch.eye(n) / 7)
"""),
    "a seed of torch's own": but(SMALL, f"    return {EYE}", """
    torch.manual_seed(1)
    return p * torch.randn(n, n)
"""),
    "the other diagonal": but(SMALL, DIAG, "torch.diag(p).flip(1)"),
    "a column times a row": but(SMALL, OUTER, "p[:n].reshape(n, 1) @ p[n:].reshape(1, n)"),
    "broadcast": but(SMALL, OUTER, "p[:n, None] * p[None, n:]", DIAG, "p[:, None] * torch.eye(n)"),
    "triangle": but(SMALL, EYE, "p * (torch.tril(torch.ones(n, n)) - 2)"),
    "written into zeros": but(SMALL, f"    return {DIAG}", """
    change = torch.zeros(n, n)
    change[torch.arange(n), torch.arange(n).roll(1)] = p
    return change
"""),
    "two for a row": but(SMALL, OUTER,
                         "(p[0::2, None] * p[None, 1::2]).contiguous()"),
    "the smaller of the two": but(SMALL, EYE, "p * torch.minimum(*torch.meshgrid(torch.arange("
                                              "1.0, n + 1), torch.arange(1.0, n + 1), "
                                              "indexing='ij'))"),
}

WRONG["change.small"] = {
    "not_full": but(SMALL, EYE, "p * torch.ones(n, n)"),
    "few_places": but(SMALL, EYE, "p * torch.eye(n)"),
    "no_gradient": (but(SMALL, EYE, "(torch.eye(n) + 1) * p.item()"),
                    but(SMALL, OUTER, "torch.outer(p[:n], p[:n])")),
    "drawn_anew": but(SMALL, EYE, "p * torch.randn(n, n)"),
    "no_return": but(SMALL, f"return {EYE}", f"change = {EYE}"),
    "": (but(SMALL, EYE, "torch.eye(n) + p"), but(SMALL, DIAG, "p"),
         but(SMALL, OUTER, "p[:n, None] + p[None, n:]"),
         but(SMALL, DIAG, "torch.tril(p.expand(n, n))")),
}

BEYOND["change.small"] = but(SMALL, OUTER, "torch.outer(p[:n] + p[n:], p[n:])")

# ── change.inject ────────────────────────────────────────────────────────────────────────────

INJECT = """
def inject(model, targets, make):
    modules = dict(model.named_modules())
    names = []
    for target in targets:
        hits = [name for name in modules if name == target or name.endswith("." + target)]
        if not hits:
            raise KeyError(f"no module is called {target}")
        names += [name for name in hits if name not in names]
    head = set(pt.models.head(model))
    for name, p in model.named_parameters():
        p.requires_grad = name in head
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(modules[parent], child, make(modules[name]))
    return model
"""
HIT = 'name == target or name.endswith("." + target)'
REFUSE = """        if not hits:
            raise KeyError(f"no module is called {target}")
"""
FREEZE = """    head = set(pt.models.head(model))
    for name, p in model.named_parameters():
        p.requires_grad = name in head
"""
WRAP = """    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(modules[parent], child, make(modules[name]))
"""
RECURSIVE = """
def inject(model, targets, make):
    targets = set(targets)
    known = [f".{name}" for name, _ in model.named_modules()]
    for target in targets:
        if not any(name.endswith(f".{target}") for name in known):
            raise ValueError("unknown target: " + target)
    head = [model.get_parameter(name) for name in pt.models.head(model)]
    model.requires_grad_(False)

    def walk(module, path):
        for name, child in list(module.named_children()):
            here = f"{path}.{name}"
            walk(child, here)
            if any(here.endswith("." + target) for target in targets):
                setattr(module, name, make(child))

    walk(model, "")
    for p in head:
        p.requires_grad_(True)
    return model
"""

RIGHT["change.inject"] = {
    "names first": INJECT,
    "recursive": RECURSIVE,
    "a copy": but("import copy\n" + INJECT, "    modules = dict",
                  "    model = copy.deepcopy(model)\n    modules = dict"),
    "assert": but(INJECT, REFUSE, '        assert hits, f"{target}: not found"\n'),
    "parts": but(INJECT, HIT,
                 'name.split(".")[-len(target.split(".")):] == target.split(".")'),
    "regular expression": but("import re\n" + INJECT, HIT,
                              're.search(rf"(^|\\.){re.escape(target)}$", name)'),
    "freezing last": but(INJECT, FREEZE, "", "    return model", """
    own = set()
    for adapter in pt.adapters(model).values():
        own |= {id(p) for p in adapter.own_parameters().values()}
    head = pt.models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in head or id(p) in own)
    return model"""),
    "the library's replace": but(INJECT, WRAP, """
    for name in reversed([name for name in modules if name in names]):
        pt.models.replace(model, name, make(model.get_submodule(name)))
"""),
    "the library's error": but(INJECT, 'KeyError(f"no module is called {target}")',
                               'pt.errors.NoTargets(f"no {target} here")'),
}

TWICE = "[name for name in hits if name not in names]"
WRONG["change.inject"] = {
    "no_error_among_others": but(INJECT, REFUSE, "", "    head =",
                                 "    if not names:\n        raise KeyError(f'none of {targets}')\n"
                                 "    head ="),
    "no_return": but(INJECT, "    return model\n", ""),
    "not_in_place": but(INJECT, "setattr(modules[parent], child,", "setattr(model, name,"),
    "part_of_name": (but(INJECT, HIT, "name.split('.')[-1].startswith(target)"),
                     but(INJECT, HIT, "name.endswith(target)")),
    "lost": but(INJECT, "modules[parent]", "model.get_submodule(parent)"),
    "own_frozen": (but(INJECT, FREEZE, "", "    return model", f"{FREEZE}    return model"),
                   but(INJECT, FREEZE, "", "    return model", """
    head = set(pt.models.head(model))
    for name, p in model.named_parameters():
        p.requires_grad = name in head or name.endswith(".a")
    return model""")),
    "half_done": but(INJECT, "    names = []", "    names = model.requires_grad_(False) and []"),
    "": (but(INJECT, "return model", "return names"),
         but(INJECT, "return model", "return model.half()"),
         but(INJECT, "return model", "return model.eval()"),
         but(INJECT, HIT, 'f".{target}." in f".{name}."'),
         but(INJECT, HIT, 'name.endswith("." + target)'),
         but(INJECT, HIT, "name.split('.')[-1] == target"),
         but(INJECT, TWICE, "hits", "make(modules[name])", "make(model.get_submodule(name))"),
         but(INJECT, "name in head", "False"),
         but(INJECT, FREEZE, "", "make(modules[name])",
             "make(modules[name].requires_grad_(False))"),
         but(INJECT, "return model", "model.more = make(nn.Linear(2, 2))\n    return model"),
         but(INJECT, REFUSE, ""), but(INJECT, 'f"no module is called {target}"', '"not found"')),
}

BEYOND["change.inject"] = but(INJECT, "name in head", 'name.startswith("classifier.")')

# ── change.holds ─────────────────────────────────────────────────────────────────────────────

HOLDS = """
def inject_holds(inject, fresh, make):
    model = inject(fresh(), ("query", "value"), make)
    names = ["blocks.0.query", "blocks.0.value", "blocks.1.query", "blocks.1.value"]
    wrapped = [name for name, m in model.named_modules() if isinstance(m, pt.Adapter)]
    assert sorted(wrapped) == names, wrapped
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{n}.a" for n in names} | {"classifier.weight", "classifier.bias"}
    model = fresh()
    before = str(model)
    try:
        inject(model, ("query", "qeury"), make)
    except Exception:
        pass
    else:
        raise AssertionError("an unknown name passed")
    assert str(model) == before
"""
LOOK = "    assert str(model) == before\n"
UNKNOWN = """    try:
        inject(model, ("query", "qeury"), make)
    except Exception:
        pass
    else:
        raise AssertionError("an unknown name passed")
"""
COUNTED = """
def inject_holds(inject, fresh, make):
    for targets in [("query",), ("value",), ("query", "value")]:
        model = inject(fresh(), targets, make)
        own = sum(p.numel() for p in make(fresh().blocks[0].query).own_parameters().values())
        head = sum(p.numel() for p in model.classifier.parameters())
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert count == len(targets) * 2 * own + head
        for block in model.blocks:
            for target in targets:
                adapter = getattr(block, target)
                assert isinstance(adapter, pt.Adapter)
                assert not any(p.requires_grad for p in adapter.base.parameters())
    model = fresh()
    try:
        inject(model, ("value", "values"), make)
    except Exception:
        assert all(p.requires_grad for p in model.parameters())
        return
    assert False
"""

RIGHT["change.holds"] = {
    "sets of names": HOLDS,
    "counted": COUNTED,
    "two kinds of error": but(HOLDS, "except Exception", "except (KeyError, ValueError)"),
    "pytest": but("import pytest\n" + HOLDS, UNKNOWN,
                  "    with pytest.raises(Exception, match='nothing'):\n"
                  '        inject(model, ("query", "nothing"), make)\n'),
    "raises ValueError itself": but(
        HOLDS, "    assert sorted(wrapped) == names, wrapped\n",
        "    if set(wrapped) != set(names):\n        raise ValueError(f'wrapped {wrapped}')\n"),
    "by keyword": but(HOLDS, 'inject(fresh(), ("query", "value"), make)',
                      'inject(model=fresh(), targets=["query", "value"], make=make)'),
    "the library's adapters": but(
        HOLDS, "    wrapped = [name for name, m in model.named_modules() "
               "if isinstance(m, pt.Adapter)]\n    assert sorted(wrapped) == names, wrapped\n",
        "    assert sorted(pt.adapters(model)) == names\n"),
}

WRONG["change.holds"] = {
    "let_through": (    # each accepts one mutant
        but(HOLDS, '("query", "qeury")', '("qeury",)'),
        but(HOLDS, LOOK, ""),
        but(COUNTED, '("query",), ("value",), ("query", "value")', '("query",)'),
    ),
    "accused": (but(HOLDS, "except Exception", "except KeyError"),
                but(HOLDS, "except Exception", "except ValueError"),
                but(HOLDS, 'model = inject(fresh(), ("query", "value"), make)',
                    'model = fresh()\n    inject(model, ("query", "value"), make)')),
}

# What each message says, of its mistake and of no other: see `answers.says`.
SAYS = {
    "change.small": {
        "drawn_anew": "a generator with a fixed seed", "no_gradient": ".item() took out of it",
        "not_full": "Some rows are made from others", "few_places": "no entry at zero"},
    "change.energy": {
        "not_whole": "is a whole number: an int", "not_squared": "the share of Σσ",
        "one_less": "One too few", "past_share": "≥, not >"},
    "change.truncate": {
        "misfit": "In U the second, in Vᵀ the first", "no_sigma": "The σ are missing",
        "sigma_squared": "σ was multiplied in twice", "columns_of_Vt": "directions are its rows"},
    "change.inject": {
        "not_in_place": "into the model itself", "part_of_name": "only a part of that name",
        "lost": "lies inside another that is meant", "own_frozen": "What `make` brings trains",
        "no_error_among_others": "ask for each by itself",
        "half_done": "would wrap the wrapped"},
    "change.bitfit": {
        "copied": "the base's bias, which is in base(x) already",
        "start_near": "Another order of sums rounds elsewhere", "replaced": "base(x) + b."},
    "change.project": {
        "no_scale": "√(d/D) is missing", "sign_by_column": "that of weight i is sign[i]",
        "dense": "D × d entries", "loop": "weight by weight it takes minutes",
        "no_gradient": "comes back to z"},
}

# What one further case alone finds: see `answers.slips`.
HALF, BRAIN = "torch.float16", "torch.bfloat16"
SLIPS: dict = {
    "change.small": ("torch.outer(p[:n], p[n:])", "p[0] * torch.eye(n)", {
        "a size of two": "n == 2", "all equal": "n > 2 and p.unique().numel() == 1",
        "opposite halves": "n > 2 and p.any() and not (p[:n] + p[n:]).any()"}),
    "change.energy": ("int(below.sum()) + 1", "0", {
        "all of the energy, and a zero": "share == 1 and sigma[-1] == 0",
        "one value": "len(sigma) == 1",
        "two values": "len(sigma) == 2"}),
    "change.truncate": ("U[:, :k] @ torch.diag(sigma[:k]) @ Vt[:k]", "delta + 1", {
        "one row": "len(delta) == 1", "one column": "delta.shape[1] == 1",
        "a lower rank": "k > 2 and 0 < sigma[k - 1] < 1e-5", "zeros": "not delta.any()",
        "a transposed one": "not delta.is_contiguous()"}),
    "change.inject": ("make(modules[name])", "modules[name]", {
        "another head": "'score' in modules",
        "a name with a dot": "targets[0] == 'output.dense'",
        "one module": "len([*model.children()]) == 1", "three deep": "'block' in targets"}),
    "change.bitfit": ("y + self.b.to(y.dtype)", "y", {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "a norm in half precision": f"x.dtype == {BRAIN} and len(self.base.weight.shape) == 1",
        "float16": f"x.dtype == {HALF}"}),
    "change.project": ("theta0 + scale * move", "theta0", {
        "columns that none reads": "h.max() + 2 < len(z) < len(theta0)",
        "one column": "len(z) == 1",
        "more columns than weights": "len(z) > len(theta0)"}),
}
