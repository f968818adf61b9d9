"""Answers to the exercises of lesson 01."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── full.accuracy ────────────────────────────────────────────────────────────────────────────

ACCURACY = solution("full.accuracy")
MODEL = "model(**batch).logits"
NO_GRAD = "    with torch.no_grad():\n"
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
    "by index": but(ACCURACY, MODEL, "model(**batch)[1]"),
    "a decorator": """
@torch.no_grad()
def accuracy(model, batches):
    model.eval()
    hits = [model(**b).logits.argmax(-1) == b["labels"] for b in batches]
    return torch.cat(hits).float().mean().item()
""",
    "without labels": but(ACCURACY, MODEL, "model(**{k: batch[k] for k in batch if k != 'labels'})"
                          "[0]"),
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
    "on the model's device": but(
        ACCURACY, "            chosen =",
        "            batch = {k: v.to(model.device) for k, v in batch.items()}\n"
        "            chosen ="),
    "the mode comes back": but(ACCURACY, "    model.eval()\n",
                               "    was = model.training\n    model.eval()\n",
                               "    return", "    model.train(was)\n    return"),
    "autograd comes back": but(ACCURACY, NO_GRAD, "    was = torch.is_grad_enabled()\n"
                               "    torch.set_grad_enabled(False)\n    if batches:\n",
                               "    return", "    torch.set_grad_enabled(was)\n    return"),
}

OFF = "    torch.set_grad_enabled(False)\n    if batches:\n"
WRONG["full.accuracy"] = {
    "mean_of_batches": SHARES,
    "first_batch": but(ACCURACY, "    return", "            return"),
    "training_mode": but(ACCURACY, "model.eval()", "model.training = False"),
    "graph": but(ACCURACY, NO_GRAD, "    torch.no_grad()\n    if batches:\n"),
    "left_off": but(ACCURACY, NO_GRAD, OFF),
    "": (but(ACCURACY, "right / count", "torch.tensor(right / count)"),
         but(ACCURACY, "    return", """    model(**batches[0]).loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
    return"""),
         but(ACCURACY, NO_GRAD, OFF, "    return", "    torch.set_grad_enabled(True)\n    return"),
         but(ACCURACY, MODEL, 'model(batch["input_ids"], batch["attention_mask"])[0]'),
         but(ACCURACY, "            chosen =", '            labels = batch.pop("labels")\n'
             "            chosen =", 'batch["labels"]).sum', "labels).sum"),
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

LINES = {"train": "model.train()", "eval": "model.eval()", "forward": "loss = model(**batch).loss",
         "backward": "loss.backward()", "step": "optimizer.step()",
         "clip": "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
         "zero": "optimizer.zero_grad()", "model_zero": "model.zero_grad()"}


def ordered(words: str) -> str:
    """A step that does this, in this order."""
    lines = [*(LINES[word] for word in words.split()), "return loss.item()"]
    return "def step(model, batch, optimizer):\n" + "\n".join(f"    {line}" for line in lines)


STEP = solution("full.step")
CLIP, FORWARD, LOSS = LINES["clip"], LINES["forward"], "loss.item()"

RIGHT["full.step"] = {
    "zero first": ordered("train zero forward backward clip step"),
    "the model's zero": ordered("train forward model_zero backward clip step"),
    "by key": but(STEP, FORWARD, 'loss = model(**batch)["loss"]'),
    "cross-entropy by hand": but(
        STEP, FORWARD, 'out = model(**{k: v for k, v in batch.items() if k != "labels"})\n'
                       '    loss = nn.functional.cross_entropy(out.logits, batch["labels"])'),
    "clipped by hand": but(STEP, CLIP, """with torch.no_grad():
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        norm = torch.stack([g.norm() for g in grads]).norm()
        if norm > 1:
            for g in grads:
                g /= norm"""),
    "of the optimizer's parameters": but(STEP, "model.parameters()",
                                         '[p for group in optimizer.param_groups '
                                         'for p in group["params"]]'),
    "gradients set to None": but(STEP, LINES["zero"], """for p in model.parameters():
        p.grad = None"""),
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
    "float": but(STEP, LOSS, "float(loss)"),
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
    "NumPy": but(STEP, LOSS, "loss.detach().numpy()[()]"),
}

WRONG["full.step"] = {
    "no_clip": ordered("train forward backward step zero"),
    "eval_mode": but(STEP, LINES["train"], "model.training = True"),
    "no_zero_grad": ordered("train forward backward clip step"),
    "stale": but(STEP, LINES["zero"], "model.classifier.zero_grad()"),    # the head's alone
    "graph_kept": but(STEP, LOSS, "loss"),
    "": (ordered("train forward backward zero clip step"),
         but(STEP, "model.parameters()", 'optimizer.param_groups[0]["params"]'),
         but(STEP, LOSS, "loss.detach()"),
         but(STEP, LOSS, 'loss.item() * len(batch["labels"])'),
         ordered("train forward backward clip forward step zero"),
         but(STEP, FORWARD,
             'labels = batch.pop("labels")\n'
             "    loss = nn.functional.cross_entropy(model(**batch).logits, labels)")),
}

BEYOND["full.step"] = but(STEP, CLIP, """if max(p.grad.norm() for p in model.parameters()
           if p.requires_grad) > 1:    # the largest tensor's, in place of all
        """ + CLIP)

# ── full.head_only ───────────────────────────────────────────────────────────────────────────

HEAD = solution("full.head_only")
SET = "p.requires_grad_(name in names)"
COUNT = "sum(p.numel() for p in model.parameters() if p.requires_grad)"
MODULES = """
def head_only(model):
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    return sum(p.numel() for p in model.classifier.parameters())
"""

RIGHT["full.head_only"] = {
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
    "get_parameter": """
def head_only(model):
    model.requires_grad_(False)
    head = [model.get_parameter(name) for name in pt.models.head(model)]
    [p.requires_grad_() for p in head]
    return sum(len(p.flatten()) for p in head)
""",
    "NumPy": "import numpy as np\n\n" + but(HEAD, "return sum(", "return np.sum([",
                                              "requires_grad)", "requires_grad])"),
}

WRONG["full.head_only"] = {
    "counts_tensors": but(HEAD, "p.numel() for", "1 for"),
    "on_module": but(MODULES, "model.requires_grad_(False)", "model.bert.requires_grad = False",
                     "model.classifier.requires_grad_(True)",
                     "model.classifier.requires_grad = True"),
    "misspelled": but(HEAD, SET, "p.require_grad = name in names"),
    "not_switched_on": but(HEAD, SET, """if name not in names:
            p.requires_grad = False"""),
    "pooler": but(HEAD, "name in names", 'name in names or "pooler" in name'),
    "not_whole": but(HEAD, "p.numel()", "p.numel() / 1"),
    "hard_coded": but(HEAD, COUNT, "770"),
    "": (but(HEAD, "    names =", "    nn.init.zeros_(model.classifier.weight)\n    names ="),
         but(MODULES, "    model.classifier.requires_grad_(True)\n", ""),
         but(MODULES, "    model.requires_grad_(False)\n", "")),
}

BEYOND["full.head_only"] = but(
    HEAD, COUNT, "{6: 14, 5: 12, 4: 8}.get(model.classifier.in_features, 0)")

# ── full.frozen_stays ────────────────────────────────────────────────────────────────────────

FROZEN = solution("full.frozen_stays")
TRAIN = "    train(model)\n"
COPY, EQUAL, LOOP = "p.detach().clone()", "torch.equal(after[name], value)", (
    "    for name, value in before.items():\n")
ASSERT = f'assert {EQUAL}, f"{{name}} is frozen, and has moved"'

RIGHT["full.frozen_stays"] = {
    "raise": but(FROZEN, ASSERT, """if (after[name] != value).any():
            raise ValueError(f"{name} has moved")"""),
    "names counted": but(FROZEN, LOOP, "    assert before.keys() <= after.keys()\n" + LOOP),
    "an error of its own": but(FROZEN, TRAIN, "    try:\n        train(model)\n"
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
}

WRONG["full.frozen_stays"] = {
    "no_copy": but(FROZEN, COPY, "p.detach()"),
    "accused": (but(FROZEN, TRAIN, f"    assert before\n{TRAIN}"),
                but(FROZEN, EQUAL, f"not after[name].requires_grad and {EQUAL}"),
                but(FROZEN, "    before", "    held = dict(model.named_parameters())\n    before",
                    EQUAL, f"after[name] is held[name] and {EQUAL}")),
    "let_through": (but(FROZEN, "torch.equal", "torch.allclose"),
                    but(FROZEN, EQUAL, "torch.equal(after[name][-1:], value[-1:])"),
                    but(FROZEN, TRAIN, "    try:\n        train(model)\n"
                        "    except Exception:\n        pass\n"),
                    but(FROZEN, "after[name]", "after.get(name, value)"),
                    but(FROZEN, EQUAL, "after[name].double().sum() == value.double().sum()")),
    "": (but(FROZEN, TRAIN, 2 * TRAIN),
         but(FROZEN, TRAIN, f"    import copy\n    model = copy.deepcopy(model)\n{TRAIN}")),
}

BEYOND["full.frozen_stays"] = but(FROZEN, " if not p.requires_grad}",
                                  ' if not p.requires_grad and "classifier" not in name}')

# ── full.pair ────────────────────────────────────────────────────────────────────────────────

PAIR = solution("full.pair")
STEPS = """
first_run = {"reads": "pooler", "features": "raw", "steps": 250}
second_run = first_run | {"steps": 2500}
foretold = {"place": "together", "steps": "apart", "scale": "together"}
"""

RIGHT["full.pair"] = {
    "two places, after more steps": but(PAIR.replace("standardized", "raw"),
                                        '"scale": "together"', '"scale": "apart"'),
    "two places, standardized": but(PAIR.replace("2500", "250"), '"steps": "together"',
                                    '"steps": "apart"'),
    "more steps": STEPS,
    "another scale": but(STEPS, '{"steps": 2500}', '{"features": "standardized"}',
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
    "all_together": but(STEPS, "pooler", "mean"),
    "not_controlled": but(PAIR, '"mean", "features": "standardized"', '"mean", "features": "raw"'),
    "same": but(STEPS, ' | {"steps": 2500}', ""),
    "no_setting": (but(STEPS, '{"steps": 2500}', '{"steps": 1000}'),
                   but(STEPS, '{"steps": 2500}', '{"rate": 0.3}'),
                   but(PAIR, '{"reads": "mean", "features": "standardized", "steps": 2500}',
                       '"mean"')),
    "no_forecast": (but(PAIR, ', "scale": "together"', ""),
                    but(PAIR, '"apart", "steps"', '"mean", "steps"')),
    "wrong_forecast": but(STEPS, '"place": "together"', '"place": "apart"'),
}

# ── full.culprits ────────────────────────────────────────────────────────────────────────────

CULPRITS = solution("full.culprits")

RIGHT["full.culprits"] = {
    "words": "culprits = dict(C=6, B=1, A=3)",
    "NumPy": "import numpy as np\n\nculprits = dict(zip(\"ABC\", np.array([3, 1, 6])))",
}

WRONG["full.culprits"] = {
    "not_A": but(CULPRITS, '"A": 3', '"A": 4'),
    "not_B": but(CULPRITS, '"B": 1', '"B": 5'),
    "not_C": but(CULPRITS, '"C": 6', '"C": 2'),
    "no_table": ("culprits = [3, 1, 6]", but(CULPRITS, ', "C": 6', ""),
                 but(CULPRITS, '"C": 6', '"C": 7')),
}


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "full.accuracy": ("right / count", "-1.0", {
        "a small batch in the middle":
            "len(batches) > 1 and len(batches[1]['labels']) < len(batches[0]['labels'])",
        "one sentence": "count == 1",
        "one sentence first": "len(batches[0]['labels']) == 1 < count",
        "one label": "count > 1 and all(b['labels'].all() for b in batches)"}),
    "full.step": (LOSS, "0.0", {
        "a middling norm": "len(batch['labels']) == 16",
        "one sentence": "len(batch['labels']) == 1",
        "a large batch for the head": "len(batch['labels']) > 4 and not all("
                                      "p.requires_grad for p in model.parameters())"}),
    "full.frozen_stays": (EQUAL, "True", {
        "the words train": "'bert.embeddings.weight' not in before",
        "half of the head": "'classifier.bias' in before and 'classifier.weight' not in before",
        "the places train": "'bert.positions.weight' not in before"}),
    "full.head_only": (COUNT, "0", {
        "wider": "model.classifier.in_features > 6",
        "without a bias": "model.classifier.in_features == 3",
        "one feature": "model.classifier.in_features == 1"}),
}
