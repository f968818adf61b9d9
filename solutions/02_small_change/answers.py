"""Answers to the exercises of lesson 02."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── change.project ───────────────────────────────────────────────────────────────────────────

PROJECT = solution("change.project")
MOVE, SCALE, SUM = "sign * z[h]", "(len(z) / len(theta0)) ** 0.5", "theta0 + c * sign * z[h]"

RIGHT["change.project"] = {
    "index_select": but(PROJECT, MOVE, "z.index_select(0, h) * sign"),
    "mask by mask": but(PROJECT, MOVE, "sign * sum((h == j) * z[j] for j in range(len(z)))"),
    "a copy that moves": but(PROJECT, f"return {SUM}", """theta = theta0.clone()
    theta += c * sign * z[h]
    return theta"""),
    "a table of vectors": but(PROJECT, MOVE,
                              "sign * nn.functional.embedding(h, z[:, None]).squeeze(-1)"),
    "a sparse P": but(PROJECT, MOVE, """torch.sparse.mm(torch.sparse_coo_tensor(
        torch.stack([torch.arange(len(h)), h]), sign, (len(h), len(z))), z[:, None])[:, 0]"""),
}

WRONG["change.project"] = {
    "no_scale": but(PROJECT, "c * sign", "sign"),
    "no_return": but(PROJECT, "return", "theta ="),
    "sign_by_column": but(PROJECT, MOVE, "sign[h] * z[h]"),
    "dense": but(PROJECT, MOVE, "((sign[:, None] * nn.functional.one_hot(h, len(z))) @ z)"),
    "loop": but(PROJECT, MOVE, "sign * torch.stack([z[j] for j in h])"),
    "no_gradient": but(PROJECT, MOVE, "sign * z.detach()[h]"),
    "": (but(PROJECT, SUM, "theta0.add_(c * sign * z[h])"),
         but(PROJECT, "len(z) /", "(h.max() + 1) /")),
}

BEYOND["change.project"] = but(PROJECT, SCALE, f"min(1, {SCALE})")

# ── change.energy ────────────────────────────────────────────────────────────────────────────

ENERGY = solution("change.energy")
SUMS, BELOW = "sigma.square().cumsum(0)", "(energy < share * energy[-1])"
ANSWER = f"int({BELOW}.sum()) + 1"
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
    "a loop": LOOP,
    "nonzero": but(ENERGY, ANSWER, "int((energy >= share * energy[-1]).nonzero()[0]) + 1"),
    "argmax": but(ENERGY, SUMS, "torch.cumsum(sigma.pow(2), dim=0) / sigma.pow(2).sum()",
                  ANSWER, f"(~{BELOW}).int().argmax().item() + 1"),
    "searchsorted": but(ENERGY, ANSWER,
                        "torch.searchsorted(energy, share * energy[-1]).item() + 1"),
    "NumPy": "import numpy as np\n\n" + but(
        ENERGY, SUMS, "np.cumsum(sigma.numpy() ** 2)", ANSWER,
        "np.searchsorted(energy, share * energy[-1]) + 1"),
}

WRONG["change.energy"] = {
    "not_squared": but(ENERGY, ".square()", ""),
    "no_return": but(ENERGY, "return", "k ="),
    "not_whole": but(ENERGY, "int(", "float("),
    "one_less": but(ENERGY, " + 1", ""),
    "past_share": but(ENERGY, "energy < share", "energy <= share"),
    "": but(ENERGY, "sigma.square()", "sigma.square_()"),
}

BEYOND["change.energy"] = but(ENERGY, "    energy =", "    if share == 1:\n"
                                      "        return len(sigma)\n    energy =")

# ── change.truncate ──────────────────────────────────────────────────────────────────────────

TRUNCATE = solution("change.truncate")
CUT = "(U[:, :k] * sigma[:k]) @ Vt[:k]"
ADDED = """
def truncate(delta, k):
    U, sigma, Vt = torch.linalg.svd(delta)
    total = torch.zeros_like(delta)
    for i in range(k):
        total = total + sigma[i] * torch.outer(U[:, i], Vt[i])
    return total
"""

RIGHT["change.truncate"] = {
    "a diagonal": but(TRUNCATE, CUT, "U[:, :k] @ torch.diag(sigma[:k]) @ Vt[:k]"),
    "the rest set to zero": but(TRUNCATE, f"    return {CUT}",
                                "    sigma[k:] = 0\n    return U @ sigma.diag() @ Vt"),
    "a sum": ADDED,
    "einsum": but(TRUNCATE, CUT, 'torch.einsum("ik,k,kj->ij", U[:, :k], sigma[:k], Vt[:k])'),
    "projected on U": but(TRUNCATE, CUT, "U[:, :k] @ U[:, :k].T @ delta"),
    "NumPy": but("import numpy as np\n\n" + TRUNCATE, "torch.linalg.svd(delta",
                 "np.linalg.svd(delta.numpy()", CUT,
                 f"torch.from_numpy({CUT})"),
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

BITFIT = solution("change.bitfit")
START, SHIFTED = "torch.zeros(base.bias.shape)", "(y + self.b).to(y.dtype)"

RIGHT["change.bitfit"] = {
    "rounded, then summed": but(BITFIT, SHIFTED, "y + self.b.to(y.dtype)"),
    "in float32": but(BITFIT, SHIFTED, "(y.float() + self.b).to(x.dtype)"),
    "in place": but(BITFIT, SHIFTED, "y.add_(self.b)"),
    "made empty, then zero": but(BITFIT, START, "torch.empty(len(base.bias))", "    def forward",
                                 "        nn.init.zeros_(self.b)\n\n    def forward"),
    "rows of ones": but(BITFIT, SHIFTED, "y + torch.ones_like(y[..., :1]) * self.b.to(y.dtype)"),
    "registered": but(BITFIT, "self.b = torch.nn.Parameter(", 'self.register_parameter("b", '
                      "torch.nn.Parameter(", f"{START})", f"{START}))"),
    "inputs as they come": but(BITFIT, "x: torch.Tensor", "*inputs", "self.base(x)",
                               "self.base(*inputs)"),
}

WRONG["change.bitfit"] = {
    "replaced": but(BITFIT, SHIFTED, "(y - self.base.bias + self.b).to(y.dtype)"),
    "copied": but(BITFIT, START, "base.bias.detach().clone()"),
    "": but(BITFIT, "torch.zeros", "torch.ones"),
    "start_near": but(BITFIT, "y = self.base(x)", """y = self.base(x)
        if isinstance(self.base, torch.nn.Linear):
            y = x @ self.base.weight.T + self.base.bias"""),
}

BEYOND["change.bitfit"] = but(BITFIT, "(y + self.b)",
                              "(y + self.b.expand(x.shape[0], x.shape[1], -1))")

# ── change.small ─────────────────────────────────────────────────────────────────────────────

SMALL = solution("change.small")
EYE, OUTER, DIAG = ("p * (torch.ones(n, n) + torch.eye(n))", "p[:n, None] * p[None, n:]",
                    "torch.diag(p)")

RIGHT["change.small"] = {
    "random signs": but(SMALL, f"    return {EYE}", """
    generator = torch.Generator().manual_seed(0)
    return p * (2.0 * torch.randint(2, (n, n), generator=generator) - 1 + torch.eye(n) / 7)
"""),
    "the other diagonal": but(SMALL, DIAG, "torch.diag(p).flip(1)"),
    "a column times a row": but(SMALL, OUTER, "p[:n].reshape(n, 1) @ p[n:].reshape(1, n)"),
    "outer": but(SMALL, OUTER, "torch.outer(p[:n], p[n:])", DIAG, "p[:, None] * torch.eye(n)"),
    "triangle": but(SMALL, EYE, "p * (torch.tril(torch.ones(n, n)) - 2)"),
    "written into zeros": but(SMALL, f"    return {DIAG}", """
    change = torch.zeros(n, n)
    change[torch.arange(n), torch.arange(n).roll(1)] = p
    return change
"""),
    "two for a row": but(SMALL, OUTER,
                         "(p[0::2, None] * p[None, 1::2]).contiguous()"),
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

BEYOND["change.small"] = but(SMALL, OUTER, "(p[:n, None] + p[n:, None]) * p[None, n:]")

# ── change.inject ────────────────────────────────────────────────────────────────────────────

INJECT = solution("change.inject")
HIT = 'name == target or name.endswith("." + target)'
REFUSE = """        if not found:
            raise KeyError(f"no module is called {target!r}")
"""
FREEZE = """    head = pt.models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in head)
"""
WRAP = """    for name in names:
        owner, _, last = name.rpartition(".")
        setattr(modules[owner], last, make(modules[name]))
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
    "recursive": RECURSIVE,
    "a copy": but("import copy\n" + INJECT, "    modules = dict",
                  "    model = copy.deepcopy(model)\n    modules = dict"),
    "assert": but(INJECT, REFUSE, '        assert found, f"{target}: not found"\n'),
    "parts": but(INJECT, HIT,
                 'name.split(".")[-len(target.split(".")):] == target.split(".")'),
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
    "the library's error": but(INJECT, 'KeyError(f"no module is called {target!r}")',
                               'pt.errors.NoTargets(f"no {target} here")'),
}

TWICE = "[name for name in found if name not in names]"
WRONG["change.inject"] = {
    "no_error_among_others": but(INJECT, REFUSE, "", "    head =",
                                 "    if not names:\n        raise KeyError(f'none of {targets}')\n"
                                 "    head ="),
    "no_return": but(INJECT, "    return model\n", ""),
    "not_in_place": but(INJECT, "setattr(modules[owner], last,", "setattr(model, name,"),
    "part_of_name": (but(INJECT, HIT, "name.split('.')[-1].startswith(target)"),
                     but(INJECT, HIT, "name.endswith(target)")),
    "lost": but(INJECT, "modules[owner]", "model.get_submodule(owner)"),
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
         but(INJECT, TWICE, "found", "make(modules[name])", "make(model.get_submodule(name))"),
         but(INJECT, "name in head", "False"),
         but(INJECT, FREEZE, "", "make(modules[name])",
             "make(modules[name].requires_grad_(False))"),
         but(INJECT, "return model", "model.more = make(nn.Linear(2, 2))\n    return model"),
         but(INJECT, REFUSE, ""), but(INJECT, 'f"no module is called {target!r}"', '"not found"')),
}

BEYOND["change.inject"] = but(INJECT, "name in head", 'name.startswith("classifier.")')

# ── change.holds ─────────────────────────────────────────────────────────────────────────────

HOLDS = solution("change.holds")
EXPECTED = '{f"blocks.{b}.{name}" for b in (0, 1) for name in ("query", "value")}'
LOOK = """        assert not pt.adapters(refused)
        assert all(p.requires_grad for p in refused.parameters())
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
    "counted": COUNTED,
    "two kinds of error": but(HOLDS, "except Exception", "except (KeyError, ValueError)"),
    "pytest": "import pytest\n\n" + but(HOLDS, HOLDS[HOLDS.index("    try:"):], """
    with pytest.raises(Exception, match='nothing'):
        inject(refused, ("query", "nothing"), make)
    assert not pt.adapters(refused)
"""),
    "raises ValueError itself": but(
        HOLDS, f"assert wrapped == {EXPECTED}",
        f"if wrapped != {EXPECTED}:\n        raise ValueError(f'wrapped {{wrapped}}')"),
    "the library's adapters": but(
        HOLDS, "{name for name, module in model.named_modules() if isinstance(module, pt.Adapter)}",
        "set(pt.adapters(model))"),
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


# What one further case alone finds: see `answers.slips`.
HALF, BRAIN = "torch.float16", "torch.bfloat16"
SLIPS: dict = {
    "change.small": (OUTER, "p[0] * torch.eye(n)", {
        "a size of two": "n == 2", "all equal": "n > 2 and p.unique().numel() == 1",
        "opposite halves": "n > 2 and p.any() and not (p[:n] + p[n:]).any()"}),
    "change.energy": (ANSWER, "0", {
        "all of the energy, and a zero": "share == 1 and sigma[-1] == 0",
        "one value": "len(sigma) == 1",
        "two values": "len(sigma) == 2"}),
    "change.truncate": (CUT, "delta + 1", {
        "one row": "len(delta) == 1", "one column": "delta.shape[1] == 1",
        "a lower rank": "k > 2 and 0 < sigma[k - 1] < 1e-5", "zeros": "not delta.any()",
        "a transposed one": "not delta.is_contiguous()"}),
    "change.inject": ("make(modules[name])", "modules[name]", {
        "another head": "'score' in modules",
        "a name with a dot": "targets[0] == 'output.dense'",
        "one module": "len([*model.children()]) == 1", "three deep": "'block' in targets"}),
    "change.bitfit": (SHIFTED, "y", {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "a norm in half precision": f"x.dtype == {BRAIN} and len(self.base.weight.shape) == 1",
        "float16": f"x.dtype == {HALF}"}),
    "change.project": (SUM, "theta0", {
        "columns that none reads": "h.max() + 2 < len(z) < len(theta0)",
        "one column": "len(z) == 1",
        "more columns than weights": "len(z) > len(theta0)"}),
}
