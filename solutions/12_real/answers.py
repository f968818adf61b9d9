"""Answers to the exercises of lesson 12."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── real.names ───────────────────────────────────────────────────────────────────────────────

NAMES = """
def to_peft(adapters, head):
    tensors = {}
    for name, layer in adapters.items():
        tensors["base_model.model." + name + ".lora_A.weight"] = layer.A.detach()
        tensors["base_model.model." + name + ".lora_B.weight"] = layer.B.detach()
    for name, tensor in head.items():
        tensors["base_model.model." + name] = tensor
    rank = layer.A.shape[0]
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank * layer.scale,
                "target_modules": [name for name in adapters],
                "modules_to_save": [name[:name.rindex(".")] for name in head]}
    return tensors, settings
"""
HEAD = ("    for name, tensor in head.items():\n"
        '        tensors["base_model.model." + name] = tensor\n')
TARGETS = "[name for name in adapters]"
WHOLE = '[name[:name.rindex(".")] for name in head]'
B_LINE = '["base_model.model." + name + ".lora_B.weight"] = layer.B.detach()'
ALPHA = "rank * layer.scale"

RIGHT["real.names"] = {
    "a loop": NAMES,
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
    "a list": but(NAMES, "return tensors, settings", "return [tensors, settings]"),
}

WRONG["real.names"] = {
    "misnamed": (NAMES.replace("base_model.model.", "base_model.model.model."),
                 NAMES.replace(".weight", ""),
                 NAMES.replace(".lora_", "."),
                 NAMES.replace("base_model.model.", ""),
                 but(NAMES, HEAD, HEAD.replace("base_model.model.", "base_model."))),
    "caught": (but(NAMES, TARGETS, "list({name.split('.')[-1] for name in adapters})"),
               but(NAMES, TARGETS, "sorted({'.'.join(n.split('.')[-2:]) for n in adapters})")),
    "scale": (but(NAMES, ALPHA, "layer.scale"),
              but(NAMES, ALPHA, 'rank * layer.scale, "use_rslora": True')
              .replace("rank = layer.A.shape[0]", "rank = max(layer.A.shape[0], 1)"),
              but(NAMES, ALPHA, "16"),
              but(NAMES, ALPHA, f"int({ALPHA})")),
    "head": but(NAMES, HEAD, ""),
    "unsaved": (but(NAMES, f',\n                "modules_to_save": {WHOLE}', ""),
                but(NAMES, WHOLE, '["score"]'),
                but(NAMES, WHOLE, "[*head]")),
    "unread": but(NAMES, B_LINE, B_LINE + "\n        tensors[name + '.base.weight'] = "
                                          "layer.base.weight.detach()"),
    "exchanged": (but(NAMES, "= layer.B.detach()", "= layer.A.detach().T",
                      "= layer.A.detach()\n", "= layer.B.detach().T\n"),
                  but(NAMES, "layer.A.detach()", "layer.A.detach().T")),
    "no_return": but(NAMES, "    return tensors, settings\n", ""),
    "": (but(NAMES, "return tensors, settings", "return tensors"),
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

DIAGNOSE = """
def diagnose(ours, theirs, rank):
    def gap(f, g):
        a, b = ours(f), theirs(g)
        return (a - b).abs().max() / a.abs().max()

    if gap(0, 0) > 1e-5:
        return "head"
    if gap(1, 1) < 1e-5:
        return "none"
    if min(gap(rank**0.5, 1), gap(1, rank**0.5)) < 1e-5:
        return "scale"
    return "exchanged"
"""
SCALE = "min(gap(rank**0.5, 1), gap(1, rank**0.5)) < 1e-5"

RIGHT["real.diagnose"] = {
    "a gap": DIAGNOSE,
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
    "their knob alone": but(DIAGNOSE, SCALE, "any(gap(1, rank**p) < 1e-5 for p in (0.5, -0.5))"),
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
    "a small turn": but(DIAGNOSE, SCALE, "min(gap(rank, rank**0.5), gap(rank**0.5, rank)) < 1e-5"),
    "by elimination": but(DIAGNOSE, "        return \"scale\"\n    return \"exchanged\"",
                          "        return \"scale\"\n    found = {\"head\", \"exchanged\"}\n"
                          "    return (found - {\"head\"}).pop()"),
}

WRONG["real.diagnose"] = {
    "not_the_head": (but(DIAGNOSE, "gap(0, 0) > 1e-5", "False"),
                     but(DIAGNOSE, "gap(0, 0) > 1e-5",
                         "not torch.equal(ours(0).argmax(-1), theirs(0).argmax(-1))")),
    "not_the_scale": (but(DIAGNOSE, SCALE, "gap(rank, 1) < 1e-5"),
                      but(DIAGNOSE, SCALE, "gap(rank**0.5, 1) < 1e-5"),
                      but(DIAGNOSE, SCALE, "gap(1, rank**0.5) < 1e-5"),
                      but(DIAGNOSE, SCALE, "any(gap(f, 1) < 1e-5 for f in (.5, 2, 3))"),
                      but(DIAGNOSE, SCALE,
                          "any(gap(f, 1) < 1e-5 for f in torch.linspace(0, 3, 31).tolist())")),
    "not_exchanged": but(DIAGNOSE, SCALE, "gap(0, 0) < 1e-5"),
    "harmless": (but(DIAGNOSE, "if gap(1, 1) < 1e-5", "if torch.equal(ours(1), theirs(1))"),
                 but(DIAGNOSE, '    if gap(1, 1) < 1e-5:\n        return "none"\n', ""),
                 but(DIAGNOSE, " / a.abs().max()", "")),
    "overlooked": but(DIAGNOSE, "gap(1, 1) < 1e-5", "gap(1, 1) < 0.01"),
    "no_return": but(DIAGNOSE, 'return "exchanged"', '"exchanged"'),
    "": (but(DIAGNOSE, 'return "head"', 'return "the head"'),
         but(DIAGNOSE, 'return "head"', "return 0")),
}

# A knob that goes up alone: in the further cases a rank is large.
BEYOND["real.diagnose"] = but(DIAGNOSE, SCALE, "any(min(gap(r**0.5, 1), gap(1, r**0.5)) < 1e-5 "
                                               "for r in range(2, 10))")

# ── real.back ────────────────────────────────────────────────────────────────────────────────

BACK = """
def from_peft(model, tensors, settings, make):
    rank, alpha = settings["r"], settings["lora_alpha"]
    if settings.get("use_rslora"):
        alpha *= rank**0.5
    front = "base_model.model."
    modules = {name: module for name, module in model.named_modules() if any(
        name == t or name.endswith("." + t) for t in settings["target_modules"])}
    layers = {name: make(module, rank, alpha) for name, module in modules.items()}
    places = {front + name: p for name, p in model.named_parameters()
              if name in pt.models.head(model)}
    for name, layer in layers.items():
        places[f"{front}{name}.lora_A.weight"] = layer.A
        places[f"{front}{name}.lora_B.weight"] = layer.B
    if set(places) != set(tensors):
        raise KeyError(f"the file does not fit: {set(places) ^ set(tensors)}")
    for name, p in places.items():
        if p.shape != tensors[name].shape:
            raise ValueError(f"{name}: {tuple(tensors[name].shape)} for {tuple(p.shape)}")
    with torch.no_grad():
        for name, p in places.items():
            p.copy_(tensors[name])
    for name, layer in layers.items():
        model.set_submodule(name, layer)
    return model
"""
ALL_THERE = """    if set(places) != set(tensors):
        raise KeyError(f"the file does not fit: {set(places) ^ set(tensors)}")
"""
FIT = """        if p.shape != tensors[name].shape:
            raise ValueError(f"{name}: {tuple(tensors[name].shape)} for {tuple(p.shape)}")
"""
KNOWN = "    places = {n: p for n, p in places.items() if n in tensors}\n"
END = 'name == t or name.endswith("." + t)'
IN = """    for name, layer in layers.items():
        model.set_submodule(name, layer)
"""

RIGHT["real.back"] = {
    "the places first": BACK,
    "the scale set by hand": but(
        BACK, "        alpha *= rank**0.5\n", "        pass\n",
        "    places = {", "    for layer in layers.values():\n        if settings.get("
        "'use_rslora'):\n            layer.scale = alpha / math.sqrt(rank)\n    places = {"),
    "asserts": but(BACK, ALL_THERE, "    assert places.keys() == tensors.keys()\n",
                   FIT, "        assert p.shape == tensors[name].shape, name\n"),
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
    "scale": (but(BACK, "        alpha *= rank**0.5\n", "        pass\n"),
              but(BACK, 'if settings.get("use_rslora"):', "if True:"),
              but(BACK, "alpha *= rank**0.5", "alpha /= rank**0.5"),
              but(BACK, "        alpha *= rank**0.5\n", "        alpha = rank\n")),
    "targets": (but(BACK, END, "name == t", ALL_THERE, KNOWN),
                but(BACK, END, "name.split('.')[-1] == t.split('.')[-1]", ALL_THERE, KNOWN)),
    "head": but(BACK, "            p.copy_(tensors[name])",
                "            if 'lora_' in name:\n                p.copy_(tensors[name])"),
    "empty": but(BACK, "            p.copy_(tensors[name])",
                 "            if 'lora_' not in name:\n                p.copy_(tensors[name])"),
    "silent": (but(BACK, ALL_THERE, KNOWN), but(BACK, FIT, "        pass\n"),
               but(BACK, "in pt.models.head(model)", "in pt.models.head(model) and front + name "
                                                     "in tensors"),
               but(BACK, FIT, FIT.replace("if ", 'if "lora_" in name and ')),
               but(BACK, ALL_THERE, "    assert not any('lora_' in name for name in "
                                    "places.keys() ^ tensors.keys())\n"),
               but(BACK, "in pt.models.head(model)", "in pt.models.head(model) and ('weight' in "
                                                     "name or front + name in tensors)")),
    "half_read": but(BACK, IN, "", "    places = {front", IN + "    places = {front",
                     "if name in pt.models.head(model)", "if name.startswith('classifier.')"),
    "no_return": but(BACK, "    return model\n", ""),
    "": (but(BACK, "return model\n", "return layers\n"), but(BACK, END, "name == t"),
         but(BACK, END, "name.endswith(t)"),
         but(BACK, END, "t in name and isinstance(module, nn.Linear)"),
         but(BACK, 'settings.get("use_rslora")', 'settings["use_rslora"]'),
         but(BACK, "            p.copy_(tensors[name])", "            p.copy_(-tensors[name])")),
}

# An end may mean layers outside of the attention, too.
BEYOND["real.back"] = but(BACK, END, f"({END}) and (t == name or '.attention.' in name)")

# ── real.belief ──────────────────────────────────────────────────────────────────────────────

BELIEF = """
def believes(exchange, fresh):
    model = fresh(3, 9.0)
    for p in model.parameters():
        if p.requires_grad:
            nn.init.normal_(p)
    x = torch.randn(32, 6)
    with torch.no_grad():
        ours = model(x)
        theirs = exchange(model)(x)
    assert (ours - theirs).abs().max() < 1e-5 * ours.abs().max()
"""
BOUND = "1e-5 * ours.abs().max()"

RIGHT["real.belief"] = {
    "relative to the largest": BELIEF,
    "by torch.testing": but(BELIEF, f"    assert (ours - theirs).abs().max() < {BOUND}\n",
                            "    torch.testing.assert_close(theirs, ours, rtol=1e-5, "
                            "atol=1e-5 * ours.abs().max().item())\n"),
    "raises": but(BELIEF, f"    assert (ours - theirs).abs().max() < {BOUND}\n",
                  f"    if not (ours - theirs).abs().max() < {BOUND}:\n"
                  "        raise ValueError('not what we answer')\n"),
    "several ranks": but(BELIEF, "    model = fresh(3, 9.0)\n", "    for rank, alpha in ((2, 7.0), "
                         "(5, 1.5)):\n        check(exchange, fresh(rank, alpha))\n\ndef check("
                         "exchange, model):\n"),
    "added, not set": but(BELIEF, "            nn.init.normal_(p)\n",
                          "            p.data += 0.5 * torch.randn_like(p)\n"),
    "a large scale": but(BELIEF, "fresh(3, 9.0)", "fresh(3, 30.0)"),
    "a norm": but(BELIEF, f"(ours - theirs).abs().max() < {BOUND}",
                  "torch.linalg.norm(ours - theirs) < 1e-5 * torch.linalg.norm(ours)"),
}

WRONG["real.belief"] = {
    "let_through": (
        but(BELIEF, BOUND, "1e-2 * ours.abs().max()"),
        but(BELIEF, "        ours = model(x)\n        theirs = exchange(model)(x)\n",
            "        theirs = exchange(model)(x)\n        ours = model(x)\n"),
        but(BELIEF, "fresh(3, 9.0)", "fresh(3, 3.0)"),
        but(BELIEF, "fresh(3, 9.0)", "fresh(1, 9.0)"),
        but(BELIEF, "if p.requires_grad:", "if False:"),
        but(BELIEF, "if p.requires_grad:", "if p.requires_grad and p.dim() == 2 and len(p) != 2 "
            "and p is not model.classifier.bias and p is not model.classifier.weight:"),
        but(BELIEF, f"(ours - theirs).abs().max() < {BOUND}",
            "(ours.argmax(1) == theirs.argmax(1)).all()")),
    "accused": but(BELIEF, f"(ours - theirs).abs().max() < {BOUND}", "torch.equal(ours, theirs)"),
    "objects_to_all": but(BELIEF, BOUND, "0"),
    "returned_bool": but(BELIEF, "    assert ", "    return "),
}

# What each message says, of its mistake and of no other: see `answers.says`.
SAYS = {
    "real.names": {
        "misnamed": "Put a name of peft's beside the module's own",
        "unread": "says nothing of a tensor that it does not use",
        "caught": "every module whose name ends in a target", "scale": "no place for a scale",
        "head": "refuses a file without the head", "unsaved": "the head is gone",
        "exchanged": "A meets the input and B the output"},
    "real.diagnose": {
        "harmless": "is within a hundred-thousandth",
        "overlooked": "is more than a hundred-thousandth",
        "not_the_head": "It was the head", "not_the_scale": "It was the scale",
        "not_exchanged": "A and B were exchanged"},
    "real.back": {
        "targets": "ends in a dot and the target", "scale": "make computes alpha / rank",
        "head": "A, B and the scale are right", "empty": "the model without its update",
        "silent": "would never know", "half_read": "touch the model last"},
}

# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "real.names": ("tensors, settings", "({}, settings)", {
        "a small scale": "layer.scale < 0.5",
        "two that end alike": "len(adapters) == 2 == len({'attention' in n for n in adapters})"
                              " == sum(n.endswith('.output.dense') for n in adapters)",
        "three modules": "len(adapters) == 3"}),
    "real.diagnose": ("gap(0, 0) > 1e-5", "not gap(0, 0) > 1e-5", {
        "too large, of rank 16": "rank == 16 and gap(1, 1) > 1e-5 > min("
                                 "gap(rank**0.5, 1), gap(1, rank**0.5))",
        "too small, of rank 20": "rank == 20", "a quiet head": "rank == 12",
        "exchanged, of rank 16": "rank == 16 and 1e-5 < min("
                                 "gap(1, 1), gap(rank**0.5, 1), gap(1, rank**0.5))",
        "nothing, of rank 16": "rank == 16 and gap(1, 1) < 1e-5"}),
    "real.back": ("make(module, rank, alpha)", "make(module, rank, 2 * alpha)", {
        "two ends of names": "[*settings['target_modules']] == ['dense', 'query']",
        "one module of rank 4": "len(modules) == 1 and rank == 4",
        "a stabilized rank 1": "settings.get('use_rslora') and rank == 1"}),
}
