"""Answers to the exercises of lesson 12."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── real.names ───────────────────────────────────────────────────────────────────────────────

NAMES = solution("real.names")
FRONT = '"base_model.model."'
HEAD = "{front + name: tensor.detach() for name, tensor in head.items()}"
TARGETS, ALPHA = "list(adapters)", "rank * layer.scale"
WHOLE = 'sorted({name.rpartition(".")[0] for name in head})'
FOUND = NAMES[NAMES.index('tensors, {"peft'):].rstrip()

RIGHT["real.names"] = {
    "rsLoRA of the same scale": but(NAMES, ALPHA, 'rank**0.5 * layer.scale, "use_rslora": True'),
    "with all that peft writes": but(NAMES, '"peft_type": "LORA"', """"peft_type": "LORA",
                "task_type": "SEQ_CLS", "bias": "none", "lora_dropout": 0.0, "use_rslora": False,
                "inference_mode": True"""),
    "a task whose head peft knows": but(
        NAMES, f'"modules_to_save": {WHOLE}', '"task_type": "SEQ_CLS", "modules_to_save": None'),
    "a table of names": """
TABLE = {"A": "lora_A.weight", "B": "lora_B.weight"}

def to_peft(adapters, head):
    plain = {f"{name}.{TABLE[own]}": getattr(layer, own).data.clone()
             for name, layer in adapters.items() for own in TABLE}
    tensors = {f"base_model.model.{name}": tensor for name, tensor in {**plain, **head}.items()}
    first = next(iter(adapters.values()))
    r = first.B.size(1)
    return tensors, dict(peft_type="LORA", r=r, lora_alpha=float(first.scale) * r,
                         target_modules=tuple(adapters), modules_to_save=["classifier", "score"])
""",
    "from the parameters' own names": """
def to_peft(adapters, head):
    out, front = dict(), "base_model.model."
    for module, layer in adapters.items():
        for own, p in layer.own_parameters().items():
            out[".".join(["base_model.model", module, "lora_" + own, "weight"])] = p.clone()
    out.update((front + k, v.clone()) for k, v in head.items())
    (rank, scale), = {(len(each.A), each.scale) for each in adapters.values()}
    return out, {"peft_type": "LORA", "r": int(rank), "lora_alpha": scale * rank,
                 "target_modules": sorted(adapters), "modules_to_save": ["classifier"]}
""",
    "a list": but(NAMES, FOUND, f"[{FOUND}]"),
}

WRONG["real.names"] = {
    "misnamed": (but(NAMES, FRONT, '"base_model.model.model."'), but(NAMES, FRONT, '""'),
                 NAMES.replace(".weight", ""), NAMES.replace(".lora_", "."),
                 but(NAMES, HEAD, HEAD.replace("front", '"base_model."'))),
    "caught": (but(NAMES, TARGETS, "list({name.split('.')[-1] for name in adapters})"),
               but(NAMES, TARGETS, "sorted({'.'.join(n.split('.')[-2:]) for n in adapters})")),
    "scale": (but(NAMES, ALPHA, "layer.scale"),
              but(NAMES, ALPHA, f'{ALPHA}, "use_rslora": True'),
              but(NAMES, ALPHA, "16"),
              but(NAMES, ALPHA, f"int({ALPHA})")),
    "head": but(NAMES, HEAD, "{}"),
    "unsaved": (but(NAMES, f'"modules_to_save": {WHOLE}', ""),
                but(NAMES, WHOLE, '["score"]'),
                but(NAMES, WHOLE, "[*head]")),
    "unread": but(NAMES, "    rank =", "    tensors[name + '.base.weight'] = layer.base.weight.detach()"
                                       "\n    rank ="),
    "exchanged": (but(NAMES, "= layer.B.detach()", "= layer.A.detach().T",
                      "= layer.A.detach()\n", "= layer.B.detach().T\n"),
                  but(NAMES, "layer.A.detach()", "layer.A.detach().T")),
    "no_return": but(NAMES, "return tensors, ", "found = tensors, "),
    "": (but(NAMES, "return tensors, ", "return "),
         but(NAMES, '"LORA"', '"lora"'),
         but(NAMES, '"r": rank', '"rank": rank'),
         but(NAMES, '"peft_type": "LORA"', '"peft_type": "LORA", "task_type": "CAUSAL_LM"'),
         but(NAMES, ALPHA, "torch.tensor(rank * layer.scale)"),
         but(NAMES, TARGETS, "[[*adapters][0] + '.base']"),
         but(NAMES, WHOLE, f"{WHOLE} + [*adapters]"),
         but(NAMES, WHOLE, '"classifier"'),
         but(NAMES, "layer.A.detach()", "2 * layer.A.detach()")),
}

# A scale times a rank may have more than one decimal.
BEYOND["real.names"] = but(NAMES, ALPHA, f"round({ALPHA}, 1)")

# ── real.diagnose ────────────────────────────────────────────────────────────────────────────

DIAGNOSE = solution("real.diagnose")
SCALE = "alike(root, 1) or alike(1, root)"

RIGHT["real.diagnose"] = {
    "by allclose": but(DIAGNOSE, "(a - b).abs().max() < 1e-5 * a.abs().max()",
                       "torch.allclose(a, b, rtol=0, atol=1e-5 * a.abs().max().item())"),
    "what answers alike first": """
def same(a, b):
    return bool(torch.max(torch.abs(a - b)) <= 1e-5 * torch.max(torch.abs(a)))

def diagnose(ours, theirs, rank):
    if same(ours(1), theirs(1)):
        return "none"
    if not same(ours(0.0), theirs(0.0)):
        return "head"
    s = math.sqrt(rank)
    for f in (s, 1 / s):
        if same(ours(f), theirs(1)):
            return "scale"
    return "exchanged"
""",
    "their knob alone": but(DIAGNOSE, SCALE, "any(alike(1, rank**p) for p in (0.5, -0.5))"),
    "NumPy": """
import numpy as np

def diagnose(ours, theirs, rank):
    off, on = [], []
    ask = lambda model, f: model(f).numpy()
    near = lambda a, b: np.abs(a - b).max() < 1e-5 * np.abs(a).max()
    if not near(ask(ours, 0), ask(theirs, 0)):
        return "head"
    found = {"none": near(ask(ours, 1), ask(theirs, 1)),
             "scale": near(ask(ours, rank), ask(theirs, rank**1.5))
             or near(ask(ours, rank), ask(theirs, rank**0.5))}
    return next((name for name, hit in found.items() if hit), "exchanged")
""",
    "a small turn": but(DIAGNOSE, SCALE, "alike(rank, root) or alike(root, rank)"),
}

WRONG["real.diagnose"] = {
    "not_the_head": (but(DIAGNOSE, "not alike(0, 0)", "False"),
                     but(DIAGNOSE, "not alike(0, 0)",
                         "not torch.equal(ours(0).argmax(-1), theirs(0).argmax(-1))")),
    "not_the_scale": (but(DIAGNOSE, SCALE, "alike(rank, 1)"),
                      but(DIAGNOSE, SCALE, "alike(root, 1)"),
                      but(DIAGNOSE, SCALE, "alike(1, root)"),
                      but(DIAGNOSE, SCALE, "any(alike(f, 1) for f in (.5, 2, 3))"),
                      but(DIAGNOSE, SCALE,
                          "any(alike(f, 1) for f in torch.linspace(0, 3, 31).tolist())")),
    "not_exchanged": but(DIAGNOSE, SCALE, "alike(0, 0)"),
    "harmless": (but(DIAGNOSE, "if alike(1, 1)", "if torch.equal(ours(1), theirs(1))"),
                 but(DIAGNOSE, '    if alike(1, 1):\n        return "none"\n', ""),
                 but(DIAGNOSE, " * a.abs().max()", "")),
    "overlooked": but(DIAGNOSE, "if alike(1, 1)", "if (ours(1) - theirs(1)).abs().max() < 0.01 * "
                                                  "ours(1).abs().max()"),
    "no_return": but(DIAGNOSE, 'return "scale"', '"scale"'),
    "": (but(DIAGNOSE, 'return "head"', 'return "the head"'),
         but(DIAGNOSE, 'return "head"', "return 0")),
}

# A knob that goes up alone: in the further cases a rank is large.
BEYOND["real.diagnose"] = but(DIAGNOSE, SCALE, "any(alike(r**0.5, 1) or alike(1, r**0.5) "
                                               "for r in range(2, 10))")

# ── real.back ────────────────────────────────────────────────────────────────────────────────

BACK = solution("real.back")
TIMES = "alpha = alpha * rank**0.5"
ALL_THERE = BACK[BACK.index("    if places.keys"):BACK.index("    if wrong")]
FIT = BACK[BACK.index("    if wrong"):BACK.index("    with torch")]
KNOWN = "    places = {n: p for n, p in places.items() if n in tensors}\n"
END = 'f".{name}".endswith(f".{end}")'
HEADS, COPY = "in pt.models.head(model)", "            p.copy_(tensors[name])"
IN = """    for name, layer in layers.items():
        model.set_submodule(name, layer)
"""

RIGHT["real.back"] = {
    "the scale set by hand": but(
        BACK, TIMES, "pass", "    front =", "    for layer in layers.values():\n"
        "        if settings.get('use_rslora'):\n            layer.scale = alpha / math.sqrt(rank)\n"
        "    front ="),
    "asserts": but(BACK, ALL_THERE, "    assert places.keys() == tensors.keys()\n", FIT,
                   "    assert all(p.shape == tensors[n].shape for n, p in places.items())\n"),
    "a copy": but(BACK, "    rank, alpha", "    import copy\n    model = copy.deepcopy(model)\n"
                  "    rank, alpha"),
    "setattr on the owner": but(BACK, "        model.set_submodule(name, layer)\n", """
        owner, _, child = name.rpartition(".")
        setattr(model.get_submodule(owner) if owner else model, child, layer)
""".lstrip("\n")),
    "state dicts": """
import re

def from_peft(model, tensors, settings, make):
    r = settings["r"]
    alpha = settings["lora_alpha"] * (r**0.5 if settings.get("use_rslora", False) else 1)
    ends = "|".join(re.escape(each) for each in settings["target_modules"])
    plain = {name.removeprefix("base_model.model."): t for name, t in tensors.items()}
    made = {}
    for name, module in model.named_modules():
        if re.search(rf"(^|\\.)({ends})$", name):
            made[name] = make(module, r, alpha)
            own = {key: plain.pop(f"{name}.lora_{key}.weight") for key in ("A", "B")}
            assert all(own[key].shape == getattr(made[name], key).shape for key in own)
            result = made[name].load_state_dict(own, strict=False)
            assert not result.unexpected_keys
    head = {name: plain.pop(name) for name in pt.models.head(model)}
    if plain:
        raise ValueError(f"nobody needs {sorted(plain)}")
    assert all(t.shape == model.get_parameter(name).shape for name, t in head.items())
    model.load_state_dict(head, strict=False)
    for name, layer in made.items():
        model.set_submodule(name, layer)
    return model
""",
}

WRONG["real.back"] = {
    "scale": (but(BACK, TIMES, "pass"), but(BACK, 'if settings.get("use_rslora"):', "if True:"),
              but(BACK, "alpha * rank", "alpha / rank"), but(BACK, TIMES, "alpha = rank")),
    "targets": (but(BACK, END, "name == end", ALL_THERE, KNOWN),
                but(BACK, END, "name.split('.')[-1] == end.split('.')[-1]", ALL_THERE, KNOWN)),
    "head": but(BACK, COPY, f"            if 'lora_' in name:\n    {COPY}"),
    "empty": but(BACK, COPY, f"            if 'lora_' not in name:\n    {COPY}"),
    "silent": (but(BACK, ALL_THERE, KNOWN), but(BACK, FIT, ""),
               but(BACK, HEADS, f"{HEADS} if front + name in tensors"),
               but(BACK, "if p.shape", "if 'lora_' in name and p.shape"),
               but(BACK, ALL_THERE, "    assert not any('lora_' in name for name in "
                                    "places.keys() ^ tensors.keys())\n"),
               but(BACK, HEADS, f"{HEADS} if 'weight' in name or front + name in tensors")),
    "half_read": but(BACK, IN, "", "    front =", f"{IN}    front =", HEADS,
                     "in ('classifier.weight', 'classifier.bias')"),
    "no_return": but(BACK, "    return model\n", ""),
    "": (but(BACK, "return model\n", "return layers\n"), but(BACK, END, "name == end"),
         but(BACK, END, "name.endswith(end)"),
         but(BACK, END, "end in name and isinstance(module, nn.Linear)"),
         but(BACK, 'settings.get("use_rslora")', 'settings["use_rslora"]'),
         but(BACK, COPY, "            p.copy_(-tensors[name])")),
}

# An end may mean layers outside of the attention, too.
BEYOND["real.back"] = but(BACK, END, f"{END} and (end == name or '.attention.' in name)")

# ── real.belief ──────────────────────────────────────────────────────────────────────────────

BELIEF = solution("real.belief")
FRESH = BELIEF[BELIEF.index("    model ="):BELIEF.index("    with")]
ASKED = BELIEF[BELIEF.index("        before ="):BELIEF.index("    assert")]
BOUND = "1e-5 * before.abs().max()"
NEAR = f"(after - before).abs().max() < {BOUND}"
ASSERT = f'    assert {NEAR}, "not one model"\n'

RIGHT["real.belief"] = {
    "by torch.testing": but(BELIEF, ASSERT, "    torch.testing.assert_close(after, before, "
                                            f"rtol=1e-5, atol={BOUND})\n"),
    "raises": but(BELIEF, ASSERT, f"    if not {NEAR}:\n"
                                  "        raise ValueError('not what we answer')\n"),
    "several ranks": but(BELIEF, FRESH, "    for rank, alpha in ((2, 7.0), (5, 1.5)):\n"
                         "        check(exchange, fresh(rank, alpha))\n\n"
                         "def check(exchange, model):\n"),
    "added, not set": but(BELIEF, "p.normal_()", "p.data += 0.5 * torch.randn_like(p)"),
    "a norm": but(BELIEF, NEAR, "torch.linalg.norm(after - before) < 1e-5 * "
                                "torch.linalg.norm(before)"),
}

WRONG["real.belief"] = {
    "let_through": (
        but(BELIEF, BOUND, "1e-2 * before.abs().max()"),
        but(BELIEF, ASKED, "        after = exchange(model)(x)\n        before = model(x)\n"),
        but(BELIEF, "fresh(4, 6.0)", "fresh(4, 4.0)"),
        but(BELIEF, "fresh(4, 6.0)", "fresh(1, 6.0)"),
        but(BELIEF, "if p.requires_grad:", "if False:"),
        but(BELIEF, "if p.requires_grad:", "if p.requires_grad and p.dim() == 2 and len(p) != 2 "
            "and p is not model.classifier.bias and p is not model.classifier.weight:"),
        but(BELIEF, NEAR, "(after.argmax(1) == before.argmax(1)).all()")),
    "accused": but(BELIEF, NEAR, "torch.equal(after, before)"),
    "objects_to_all": but(BELIEF, BOUND, "0"),
    "returned_bool": but(BELIEF, ASSERT, f"    return {NEAR}\n"),
}


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "real.names": (FOUND, "({}, {})", {
        "a small scale": "layer.scale < 0.5",
        "two that end alike": "len(adapters) == 2 == len({'attention' in n for n in adapters})"
                              " == sum(n.endswith('.output.dense') for n in adapters)",
        "three modules": "len(adapters) == 3"}),
    "real.diagnose": ("not alike(0, 0)", "alike(0, 0)", {
        "too large, of rank 16": "rank == 16 and not alike(1, 1) and (alike(4, 1) or alike(1, 4))",
        "too small, of rank 20": "rank == 20", "a quiet head": "rank == 12",
        "two faults": "rank == 9",
        "exchanged, of rank 16": "rank == 16 and not (alike(1, 1) or alike(4, 1) or alike(1, 4))",
        "nothing, of rank 16": "rank == 16 and alike(1, 1)"}),
    "real.back": ("make(module, rank, alpha)", "make(module, rank, 2 * alpha)", {
        "two ends of names": "[*settings['target_modules']] == ['dense', 'query']",
        "one module of rank 4": "len(tensors) == 4 and rank == 4",
        "a stabilized rank 1": "settings.get('use_rslora') and rank == 1"}),
}
