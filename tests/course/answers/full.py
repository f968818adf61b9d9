"""Answers to the exercises of lesson 01."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── full.accuracy ────────────────────────────────────────────────────────────────────────────

ACCURACY = """
def accuracy(model, batches):
    model.eval()
    right = count = 0
    with torch.no_grad():
        for batch in batches:
            logits = model(**batch).logits
            right += (logits.argmax(-1) == batch["labels"]).sum().item()
            count += len(batch["labels"])
    return right / count
"""
MODEL = "model(**batch).logits"
CHOICE = "logits.argmax(-1)"
SHARES = """
def accuracy(model, batches):
    model.eval()
    shares = []
    with torch.no_grad():
        for batch in batches:
            hits = model(**batch).logits.argmax(-1) == batch["labels"]
            shares.append(hits.double().mean().item())
    return sum(shares) / len(shares)
"""

RIGHT["full.accuracy"] = {
    "two counters": ACCURACY,
    "by key": but(ACCURACY, MODEL, 'model(**batch)["logits"]'),
    "by index": but(ACCURACY, MODEL, "model(**batch)[1]"),
    "by slice": but(ACCURACY, "            logits = model(**batch).logits",
                    "            loss, logits = model(**batch)[:2]"),
    "a decorator": """
@torch.no_grad()
def accuracy(model, batches):
    model.eval()
    hits = [model(**b).logits.argmax(-1) == b["labels"] for b in batches]
    return torch.cat(hits).float().mean().item()
""",
    "without labels": but(ACCURACY, MODEL, "model(**{k: batch[k] for k in batch if k != 'labels'})"
                          "[0]"),
    "a copy without labels": but(
        ACCURACY, "            logits = model(**batch).logits",
        """            inputs = dict(batch)
            inputs.pop("labels")
            logits = model(**inputs).logits"""),
    "softmax": but(ACCURACY, CHOICE, "logits.softmax(-1).argmax(-1)"),
    "which is larger": but(ACCURACY, CHOICE, "(logits[:, 1] > logits[:, 0]).long()"),
    "max": """
def accuracy(model, batches):
    model.eval()
    total = 0
    right = 0
    for i, batch in enumerate(batches):
        with torch.no_grad():
            out = model.forward(**batch)
        _, answer = torch.max(out.logits, 1)
        right += torch.eq(answer, batch["labels"]).sum()
        total += batch["labels"].shape[0]
    return float(right) / total
""",
    "one by one": """
def accuracy(model, batches):
    model.train(False)
    right, count = 0, 0
    with torch.inference_mode():
        for batch in batches:
            for answer, label in zip(model(**batch).logits, batch["labels"]):
                right += int(answer.argmax() == label)
                count += 1
    return right / count
""",
    "NumPy": """
import numpy as np

def accuracy(model, batches):
    model.eval()
    hits = []
    for batch in batches:
        with torch.no_grad():
            logits = model(**batch).logits.numpy()
        hits.extend(logits.argmax(axis=1) == batch["labels"].numpy())
    return np.mean(hits, dtype=np.float32)
""",
    "errors": but(ACCURACY, "right +=", "wrong +=", "right = count", "wrong = count", ") == batch",
                  ") != batch", "right / count", "1 - wrong / count"),
    "weighted": but(SHARES, "hits.double().mean().item()",
                    "(hits.double().mean().item(), len(hits))",
                    "sum(shares) / len(shares)",
                    "sum(share * n for share, n in shares) / sum(n for _, n in shares)"),
    "on the model's device": but(
        ACCURACY, "            logits =",
        "            batch = {k: v.to(model.device) for k, v in batch.items()}\n"
        "            logits ="),
    "the mode comes back": but(ACCURACY, "    model.eval()\n",
                               "    was = model.training\n    model.eval()\n",
                               "    return", "    model.train(was)\n    return"),
    "autograd comes back": but(ACCURACY, "    with torch.no_grad():\n",
                               "    was = torch.is_grad_enabled()\n"
                               "    torch.set_grad_enabled(False)\n    if batches:\n",
                               "    return", "    torch.set_grad_enabled(was)\n    return"),
    "a block that says so": but(ACCURACY, "torch.no_grad()", "torch.set_grad_enabled(False)"),
}

WRONG["full.accuracy"] = {
    "mean_of_batches": SHARES,
    "no_return": but(ACCURACY, "return", "found ="),
    "tensor": (but(ACCURACY, "right / count", "torch.tensor(right / count)"),
               but(ACCURACY, ".sum().item()", ".sum()")),
    "trained": but(ACCURACY, "    return right / count", """    model(**batches[0]).loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
    return right / count"""),
    "count": but(ACCURACY, "right / count", "right"),
    "percent": but(ACCURACY, "right / count", "100 * right / count"),
    "by_batches": but(ACCURACY, "right / count", "right / len(batches)"),
    "all_as_large": but(ACCURACY, "right / count",
                        'right / (len(batches) * len(batches[0]["labels"]))'),
    "one_answer": but(ACCURACY, CHOICE, "logits.argmax()"),
    "none_right": (but(ACCURACY, CHOICE, "logits.max(-1).values"),
                   but(ACCURACY, "right / count", "right // count")),
    "errors": (but(ACCURACY, "right / count", "1 - right / count"),
               but(ACCURACY, ") == batch", ") != batch")),
    "threshold": (but(ACCURACY, CHOICE, "(logits[:, 1] > 0).long()"),
                  but(ACCURACY, CHOICE, "(logits[:, 1] > 0.5).long()")),
    "first_batch": but(ACCURACY, "    return", "            return"),
    "last_batch": but(ACCURACY, "right +=", "right =", "count +=", "count ="),
    "loss": but(SHARES, "hits.double().mean()", "model(**batch).loss"),
    "training_mode": (but(ACCURACY, "    model.eval()\n", ""),
                      but(ACCURACY, "model.eval()", "model.training = False")),
    "graph": (but(ACCURACY, "    with torch.no_grad():\n", "    if batches:\n"),
              but(ACCURACY, "    with torch.no_grad():\n", "    with torch.no_grad():\n"
                  "        model.eval()\n    if batches:\n")),
    "bare_no_grad": but(ACCURACY, "    with torch.no_grad():\n",
                        "    torch.no_grad()\n    if batches:\n"),
    "left_off": (but(ACCURACY, "    with torch.no_grad():\n",
                     "    torch.set_grad_enabled(False)\n    if batches:\n"),
                 but(ACCURACY, "    with torch.no_grad():\n",
                     "    torch.autograd.set_grad_enabled(False)\n    with torch.no_grad():\n")),
    "left_on": but(ACCURACY, "    with torch.no_grad():\n",
                   "    torch.set_grad_enabled(False)\n    if batches:\n",
                   "    return", "    torch.set_grad_enabled(True)\n    return"),
    "keys": but(ACCURACY, MODEL, 'model(batch["input_ids"], batch["attention_mask"])[0]'),
    "inputs_changed": (
        but(ACCURACY, "            logits =", '            labels = batch.pop("labels")\n'
                      "            logits =", 'batch["labels"]).sum', "labels).sum",
            'len(batch["labels"])', "len(labels)"),
        but(ACCURACY, "    return", "    batches.clear()\n    return")),
}

BEYOND["full.accuracy"] = """
def accuracy(model, batches):
    model.eval()
    with torch.no_grad():
        right = sum((model(**b).logits.argmax(-1) == b["labels"]).sum().item() for b in batches)
    size = len(batches[0]["labels"])    # all as large as the first, but for the last one
    return right / (size * (len(batches) - 1) + len(batches[-1]["labels"]))
"""

# ── full.step ────────────────────────────────────────────────────────────────────────────────

TRAINED = "[p for p in model.parameters() if p.requires_grad]"
LINES = {"train": "model.train()", "eval": "model.eval()", "forward": "loss = model(**batch).loss",
         "backward": "loss.backward()", "step": "optimizer.step()",
         "clip": f"nn.utils.clip_grad_norm_({TRAINED}, 1.0)",
         "zero": "optimizer.zero_grad()", "model_zero": "model.zero_grad()"}


def ordered(words: str, give: str = "loss.item()") -> str:
    """A step that does this, in this order."""
    lines = [*(LINES[word] for word in words.split()), f"return {give}"]
    return "def step(model, batch, optimizer):\n" + "\n".join(f"    {line}" for line in lines)


STEP = ordered("train forward backward clip step zero")
CLIP, FORWARD = LINES["clip"], LINES["forward"]

RIGHT["full.step"] = {
    "plain": STEP,
    "zero first": ordered("train zero forward backward clip step"),
    "zero first and last": ordered("zero train forward backward clip step zero"),
    "the model's zero": ordered("train forward model_zero backward clip step"),
    "the model's zero, last": ordered("train forward backward clip step model_zero"),
    "by key": but(STEP, FORWARD, 'loss = model(**batch)["loss"]'),
    "by index": but(STEP, FORWARD, "loss = model(**batch)[0]"),
    "by slice": but(STEP, FORWARD, "loss, logits = model(**batch)[:2]"),
    "cross-entropy by hand": but(
        STEP, FORWARD, 'out = model(**{k: v for k, v in batch.items() if k != "labels"})\n'
                       '    loss = nn.functional.cross_entropy(out.logits, batch["labels"])'),
    "output kept, number first": but(STEP, "loss.item()", "value", FORWARD,
                                     "output = model(**batch)", "loss.backward()",
                                     "value = output.loss.item()\n    output.loss.backward()"),
    "clipped by hand": but(STEP, CLIP, """with torch.no_grad():
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        norm = torch.stack([g.norm() for g in grads]).norm()
        if norm > 1:
            for g in grads:
                g /= norm"""),
    "of the optimizer's parameters": but(STEP, TRAINED,
                                         '[p for group in optimizer.param_groups '
                                         'for p in group["params"]]'),
    "gradients set to None": but(STEP, LINES["zero"], """for p in model.parameters():
        p.grad = None"""),
    "all, once the model has none": but(ordered("train model_zero forward backward clip step"),
                                        TRAINED, "model.parameters()"),
    "a closure": """
def step(model, batch, optimizer):
    model.train()

    def closure():
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        trained = filter(lambda p: p.requires_grad, model.parameters())
        torch.nn.utils.clip_grad_norm_(trained, max_norm=1)
        return loss

    return optimizer.step(closure).item()
""",
    "float": but(STEP, "loss.item()", "float(loss)"),
    "torch.autograd.grad": """
def step(model, batch, optimizer):
    model.train()
    loss = model(**batch).loss
    parameters = [p for p in model.parameters() if p.requires_grad]
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
        p.grad = g
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return loss.item()
""",
    "NumPy": but(STEP, "loss.item()", "loss.detach().numpy()[()]"),
}

WRONG["full.step"] = {
    "no_clip": (ordered("train forward backward step zero"),
                ordered("train forward clip backward step zero"),
                ordered("train forward backward step clip zero")),    # too late
    "no_forward": but(STEP, f"    {FORWARD}\n    loss.backward()\n", "", "loss.item()", "0.5"),
    "eval_mode": (ordered("forward backward clip step zero"),
                  ordered("eval forward backward clip step zero"),
                  but(STEP, LINES["train"], "model.training = True")),
    "no_backward": ordered("train forward clip step zero"),
    "no_step": ordered("train forward backward clip zero"),
    "zero_between": (ordered("train forward backward zero clip step"),
                     ordered("train forward backward clip zero step")),
    "step_without_gradients": (ordered("train step forward backward clip zero"),
                               ordered("train zero forward step backward clip"),
                               ordered("train forward step backward clip zero"),
                               ordered("train zero step forward backward")),
    "by_hand": but(STEP, "    optimizer.step()", """    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad"""),
    "no_zero_grad": ordered("train forward backward clip step"),
    "stale": (
        but(STEP, LINES["zero"], """if not getattr(model, "begun", False):
        optimizer.zero_grad()                 # after the first step, and never again
    model.begun = True"""),
        but(STEP, LINES["train"], """model.train()
    model.calls = getattr(model, "calls", 0) + 1
    if model.calls % 2:                       # in every other step
        optimizer.zero_grad()""", f"    {LINES['zero']}\n    return", "    return"),
        but(STEP, LINES["zero"], "model.classifier.zero_grad()")    # the head's alone
    ),
    "step_first": ordered("train step zero forward backward clip"),
    "clip_value": but(STEP, "clip_grad_norm_", "clip_grad_value_"),
    "clip_each": but(STEP, CLIP, """for p in model.parameters():
        nn.utils.clip_grad_norm_(p, 1.0)"""),
    "clip_frozen": (but(STEP, TRAINED, "model.parameters()"),
                    but(RIGHT["full.step"]["clipped by hand"], "if p.requires_grad",
                        "if p.grad is not None")),
    "clip_group": but(STEP, TRAINED, 'optimizer.param_groups[0]["params"]'),
    "always_clipped": but(RIGHT["full.step"]["clipped by hand"], """        if norm > 1:
            for g in grads:
                g /= norm""", """        for g in grads:
            g /= norm"""),
    "uphill": but(STEP, "loss.backward()", "(-loss).backward()"),
    "step_twice": ordered("train forward backward clip step step zero"),
    "no_return": but(STEP, "    return loss.item()", "    loss.item()"),
    "graph_kept": ordered("train forward backward clip step zero", "loss"),
    "not_a_number": ordered("train forward backward clip step zero", "loss.detach()"),
    "loss_after": ordered("train forward backward clip step zero", "model(**batch).loss.item()"),
    "two_forwards": (
        ordered("train forward backward clip forward step zero"),
        but(STEP, LINES["train"], "model.train()\n    value = model(**batch).loss.item()",
            "loss.item()\n", "loss.item()\n", "return loss.item()", "return value")),
    "keys": but(STEP, FORWARD, 'out = model(batch["input_ids"], batch["attention_mask"])\n'
                               '    loss = nn.functional.cross_entropy(out[0], batch["labels"])'),
    "inputs_changed": but(
        STEP, FORWARD, 'labels = batch.pop("labels")\n'
                       "    loss = nn.functional.cross_entropy(model(**batch).logits, labels)"),
}

BEYOND["full.step"] = but(STEP, CLIP, """if max(p.grad.norm() for p in model.parameters()
           if p.requires_grad) > 1:    # the largest tensor's, in place of all
        """ + CLIP)

# ── full.head_only ───────────────────────────────────────────────────────────────────────────

HEAD = """
def head_only(model):
    head = pt.models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad = name in head
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
"""
SET = "p.requires_grad = name in head"
COUNT = "sum(p.numel() for p in model.parameters() if p.requires_grad)"
MODULES = """
def head_only(model):
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    return sum(p.numel() for p in model.classifier.parameters())
"""

RIGHT["full.head_only"] = {
    "by name": HEAD,
    "by module": MODULES,
    "if and else": but(HEAD, SET, """if name.startswith("classifier."):
            p.requires_grad_(True)
        else:
            p.requires_grad_(False)"""),
    "the backbone": """
def head_only(model):
    for p in model.base_model.parameters():
        p.requires_grad = False
    for p in model.classifier.parameters():
        p.requires_grad = True
    return model.num_parameters(only_trainable=True)
""",
    "a counter": """
def head_only(model):
    names = set(pt.models.head(model))
    count = 0
    for name, p in model.named_parameters():
        trains = name in names
        p.requires_grad_(trains)
        if trains:
            count += p.nelement()
    return count
""",
    "one vector": """
def head_only(model):
    for name, p in model.named_parameters():
        p.requires_grad = "classifier" in name
    trained = [p for p in model.parameters() if p.requires_grad]
    return nn.utils.parameters_to_vector(trained).numel()
""",
    "a dict": """
def head_only(model):
    parameters = dict(model.named_parameters())
    for p in parameters.values():
        p.requires_grad = False
    for name in pt.models.head(model):
        parameters[name].requires_grad = True
    return sum(math.prod(parameters[name].shape) for name in pt.models.head(model))
""",
    "get_parameter": """
def head_only(model):
    model.requires_grad_(False)
    head = [model.get_parameter(name) for name in pt.models.head(model)]
    [p.requires_grad_() for p in head]
    return sum(len(p.flatten()) for p in head)
""",
    "NumPy": but(HEAD, "def", "import numpy as np\n\ndef", COUNT, "np.sum([p.numel() for p in "
                 "model.parameters() if p.requires_grad])"),
}

WRONG["full.head_only"] = {
    "counts_tensors": (but(HEAD, COUNT, "len(head)"),
                       but(HEAD, "p.numel() for", "1 for"),
                       but(HEAD, COUNT, "sum(p.requires_grad for p in model.parameters())")),
    "changed": but(HEAD, "    head =", "    nn.init.zeros_(model.classifier.weight)\n    head ="),
    "on_module": but(MODULES, "model.requires_grad_(False)", "model.bert.requires_grad = False",
                     "model.classifier.requires_grad_(True)",
                     "model.classifier.requires_grad = True"),
    "misspelled": but(HEAD, SET, "p.require_grad = name in head"),
    "names_alone": (
        but(MODULES, "    model.classifier.requires_grad_(True)",
            "    for p in pt.models.head(model):\n        p.requires_grad = True"),
        but(MODULES, "    model.classifier.requires_grad_(True)",
            "    for p in pt.models.head(model):\n        p.requires_grad_(True)")),
    "inverted": but(HEAD, SET, "p.requires_grad = name not in head"),
    "nothing": but(MODULES, "    model.classifier.requires_grad_(True)\n", ""),
    "not_switched_on": but(HEAD, SET, """if name not in head:
            p.requires_grad = False"""),
    "everything": (but(HEAD, SET, "p.requires_grad = True"),
                   but(MODULES, "    model.requires_grad_(False)\n", "")),
    "loop_left": but(HEAD, "    return", "        return"),
    "half_a_head": (but(HEAD, "name in head", 'name == "classifier.weight"'),
                    but(HEAD, SET, "p.requires_grad = False\n    for name in head:\n"
                        "        model.get_parameter(name).requires_grad = True",
                        "    return", "        return")),
    "pooler": but(HEAD, "name in head", 'name in head or "pooler" in name'),
    "no_return": but(HEAD, "return", "count ="),
    "not_whole": (but(HEAD, COUNT, f"float({COUNT})"), but(HEAD, "p.numel()", "p.numel() / 1")),
    "counts_all": but(HEAD, " if p.requires_grad)", ")"),
    "counts_frozen": but(HEAD, " if p.requires_grad)", " if not p.requires_grad)"),
    "counts_rows": but(HEAD, "p.numel()", "len(p)"),
    "hard_coded": but(HEAD, COUNT, "770"),
}

BEYOND["full.head_only"] = but(
    HEAD, COUNT, "{6: 14, 5: 12, 4: 8}.get(model.classifier.in_features, 0)")

# ── full.frozen_stays ────────────────────────────────────────────────────────────────────────

FROZEN = """
def frozen_stays(train, model):
    before = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    train(model)
    after = dict(model.named_parameters())
    for name in before:
        p = after[name]
        assert torch.equal(p, before[name]), name
"""
COPY = "p.detach().clone()"

RIGHT["full.frozen_stays"] = {
    "by name": FROZEN,
    "raise": but(FROZEN, "        assert torch.equal(p, before[name]), name",
                 """        if (p != before[name]).any():
            raise ValueError(f"{name} has moved")"""),
    "names counted": but(FROZEN, "    for name in before:\n        p = after[name]\n",
                         "    assert before.keys() <= after.keys()\n"
                         "    for name in before.keys() & after.keys():\n"
                         "        p = after[name]\n"),
    "an error of its own": but(FROZEN, "    train(model)\n", "    try:\n        train(model)\n"
                               "    except Exception as error:\n"
                               "        raise AssertionError('it broke off') from error\n"),
    "a deep copy": """
import copy

def frozen_stays(train, model):
    old = copy.deepcopy(model)
    train(model)
    for (name, a), b in zip(old.named_parameters(), model.parameters()):
        assert a.requires_grad or torch.equal(a, b), name
""",
    "the state": """
def frozen_stays(train, model):
    frozen = [name for name, p in model.named_parameters() if p.requires_grad is False]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model)
    after = model.state_dict()
    assert all((before[name] == after[name]).all() for name in frozen)
""",
    "NumPy": """
import numpy as np

def frozen_stays(train, model):
    before = {name: p.detach().numpy().copy()
              for name, p in model.named_parameters() if not p.requires_grad}
    train(model)
    for name, old in before.items():
        np.testing.assert_array_equal(model.get_parameter(name).detach().numpy(), old)
""",
    "bytes": """
def frozen_stays(train, model):
    def photograph():
        return {name: p.detach().numpy().tobytes() for name, p in model.named_parameters()}

    names = {name for name, p in model.named_parameters() if not p.requires_grad}
    before = photograph()
    train(model)
    after = photograph()
    moved = [name for name in names if before[name] != after[name]]
    assert not moved, moved
""",
    "in the order": """
def frozen_stays(train, model):
    frozen = [not p.requires_grad for p in model.parameters()]
    before = [p.tolist() for p in model.parameters()]
    train(model)
    after = [p.tolist() for p in model.parameters()]
    for is_frozen, a, b in zip(frozen, before, after):
        if is_frozen:
            assert a == b
""",
    "the largest difference": but(FROZEN, "assert torch.equal(p, before[name]), name",
                                  "assert (p - before[name]).abs().max() == 0"),
    "torch.testing": but(FROZEN, "assert torch.equal(p, before[name]), name",
                         "torch.testing.assert_close(p.data, before[name], rtol=0, atol=0)"),
}

WRONG["full.frozen_stays"] = {
    "no_copy": (but(FROZEN, COPY, "p.detach()"), but(FROZEN, COPY, "p"),
                but(FROZEN, COPY, "p.data")),
    "tolerance": (but(FROZEN, "torch.equal", "torch.allclose"),
                  but(FROZEN, "assert torch.equal(p, before[name]), name",
                      "assert (p - before[name]).abs().max() < 1e-5")),
    "returned_bool": """
def frozen_stays(train, model):
    before = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    train(model)
    after = dict(model.named_parameters())
    return all(torch.equal(after[n], before[n]) for n in before)
""",
    "objects_to_all": (but(FROZEN, "assert torch.equal", "assert not torch.equal",
                           "    for name", "    raise ValueError\n    for name"),
                       but(FROZEN, "train(model)", "train()")),
    "accused": (but(FROZEN, " if not p.requires_grad}", "}"),
                """
def frozen_stays(train, model):
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    train(model)
    for name, p in model.named_parameters():
        if not p.requires_grad:
            assert torch.equal(p, before[name]), name
""",
                but(FROZEN, "    train(model)", "    start = model.classifier.bias.detach().clone()"
                    "\n    train(model)\n    assert (model.classifier.bias != start).any()"),
                but(FROZEN, " if not p.requires_grad}", ' if "classifier" not in n}'),
                but(FROZEN, "    train(model)", "    assert before\n    train(model)"),
                but(FROZEN, "    train(model)", "    assert any(not p.requires_grad for p in "
                    "model.parameters())\n    train(model)"),
                but(FROZEN, "assert torch", "assert not p.requires_grad and torch"),
                but(FROZEN, "assert torch.equal(p, before[name]), name",
                    "assert not p.requires_grad"),
                but(FROZEN, "    before", "    held = dict(model.named_parameters())\n    before",
                    "assert torch", "assert p is held[name] and torch")),
    "not_once": but(FROZEN, "    train(model)", "    train(model)\n    train(model)"),
    "another_model": but(FROZEN, "    train(model)", "    import copy\n"
                         "    model = copy.deepcopy(model)\n    train(model)"),
    "let_through": (but(FROZEN, "assert torch.equal(p, before[name]), name", "pass"),
                    but(FROZEN, "torch.equal(p, before[name])",
                        "torch.equal(p[:1], before[name][:1])"),
                    but(FROZEN, "torch.equal(p, before[name])",
                        "torch.equal(p[-1:], before[name][-1:])"),
                    but(FROZEN, "torch.equal(p, before[name])",
                        "p.flatten()[0] == before[name].flatten()[0]"),
                    but(FROZEN, "    train(model)\n", "    try:\n        train(model)\n"
                        "    except Exception:\n        pass\n"),
                    but(FROZEN, "    train(model)", "    import copy\n"
                        "    train(copy.deepcopy(model))"),
                    but(FROZEN, "        p = after[name]\n", "        p = after.get(name, "
                        "before[name])\n"),
                    but(FROZEN, "torch.equal(p, before[name])",
                        "torch.isclose(p.sum(), before[name].sum())"),
                    but(FROZEN, "    for name", "    before = {}\n    for name")),
}

BEYOND["full.frozen_stays"] = but(FROZEN, " if not p.requires_grad}",
                                  ' if not p.requires_grad and "classifier" not in n}')

# ── full.pair ────────────────────────────────────────────────────────────────────────────────

PAIR = """
first_run = {"reads": "pooler", "features": "standardized", "steps": 2500}
second_run = {"reads": "mean", "features": "standardized", "steps": 2500}
foretold = {"place": "apart", "steps": "together", "scale": "together"}
"""
STEPS = """
first_run = {"reads": "pooler", "features": "raw", "steps": 250}
second_run = first_run | {"steps": 2500}
foretold = {"place": "together", "steps": "apart", "scale": "together"}
"""

RIGHT["full.pair"] = {
    "two places, nothing else to blame": PAIR,
    "two places, after more steps": but(PAIR.replace("standardized", "raw"),
                                        '"scale": "together"', '"scale": "apart"'),
    "two places, standardized": but(PAIR.replace("2500", "250"), '"steps": "together"',
                                    '"steps": "apart"'),
    "more steps": STEPS,
    "more steps, standardized": but(STEPS, "raw", "standardized"),
    "another scale": but(STEPS, '{"steps": 2500}', '{"features": "standardized"}',
                         '"steps": "apart", "scale": "together"',
                         '"steps": "together", "scale": "apart"'),
    "another scale, after more steps": but(STEPS, "250}", "2500}", '{"steps": 2500}',
                                           '{"features": "standardized"}',
                                           '"steps": "apart", "scale": "together"',
                                           '"steps": "together", "scale": "apart"'),
    "the other way round": """
foretold = dict(scale="together", steps="together", place="apart")
second_run = dict(reads="pooler", steps=2_500, features="standardized")
first_run = {**second_run, "reads": "mean"}
""",
    "NumPy": "import numpy as np\n" + PAIR.replace("2500", "np.int64(2500)"),
}

WRONG["full.pair"] = {
    "all_apart": """
first_run = {"reads": "pooler", "features": "raw", "steps": 250}
second_run = {"reads": "mean", "features": "raw", "steps": 250}
foretold = {"place": "apart", "steps": "together", "scale": "together"}
""",
    "all_together": (but(STEPS, "pooler", "mean"),
                     but(STEPS, "pooler", "mean", '{"steps": 2500}',
                         '{"features": "standardized"}')),
    "not_controlled": (
        but(PAIR, '"mean", "features": "standardized"', '"mean", "features": "raw"'),
        but(STEPS, '{"steps": 2500}', '{"steps": 2500, "features": "standardized"}')),
    "same": but(STEPS, ' | {"steps": 2500}', ""),
    "no_setting": (but(STEPS, '{"steps": 2500}', '{"steps": 1000}'),
                   but(STEPS, '{"steps": 2500}', '{"rate": 0.3}'),
                   but(PAIR, '{"reads": "mean", "features": "standardized", "steps": 2500}',
                       '"mean"')),
    "no_forecast": (but(PAIR, ', "scale": "together"', ""),
                    but(PAIR, '"apart", "steps"', '"mean", "steps"')),
    "wrong_forecast": (but(PAIR, '"place": "apart", "steps": "together"',
                           '"place": "together", "steps": "apart"'),
                       but(PAIR, '"scale": "together"', '"scale": "apart"'),
                       but(STEPS, '"place": "together"', '"place": "apart"')),
}

# ── full.culprits ────────────────────────────────────────────────────────────────────────────

CULPRITS = 'culprits = {"A": 3, "B": 1, "C": 6}'

RIGHT["full.culprits"] = {
    "a table": CULPRITS,
    "words": "culprits = dict(C=6, B=1, A=3)",
    "NumPy": "import numpy as np\n\nculprits = dict(zip(\"ABC\", np.array([3, 1, 6])))",
}

WRONG["full.culprits"] = {
    "not_A": but(CULPRITS, '"A": 3', '"A": 4'),
    "not_B": (but(CULPRITS, '"B": 1', '"B": 5'), but(CULPRITS, '"B": 1, "C": 6', '"B": 6, "C": 1')),
    "not_C": but(CULPRITS, '"C": 6', '"C": 2'),
    "no_table": ("culprits = [3, 1, 6]", but(CULPRITS, ', "C": 6', ""),
                 but(CULPRITS, '"C": 6', '"C": 7')),
}
