"""The loop: its records, its schedule, what it leaves behind, and what it refuses."""

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from exact import assert_equal
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import peft_teach as pt
from peft_teach import training
from peft_teach.errors import BadConfig, BadData, NotSupported, TrainingDiverged
from peft_teach.methods import METHODS


@pytest.fixture
def model(tiny):
    return pt.lora.inject(tiny("bert"), pt.lora.Config(rank=4, dropout=0.1))


@pytest.fixture
def toy():
    """Batches of a task that can be learned: the label is which of three tokens comes first."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(60):
        labels = torch.randint(0, 3, (8,), generator=generator)
        ids = torch.randint(10, 90, (8, 6), generator=generator)
        ids[:, 0] = labels + 3
        mask = torch.ones_like(ids)
        mask[0, 4:] = 0
        batches.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return batches


def test_it_learns(model, toy):
    before = pt.evaluate(model, toy[:10])
    steps = list(pt.train(model, toy, lr=1e-2))
    assert [s.index for s in steps] == list(range(60))
    assert all(type(s) is pt.Step for s in steps)
    first, last = (sum(s.loss for s in part) / 10 for part in (steps[:10], steps[-10:]))
    assert last < 0.3 * first
    after = pt.evaluate(model, toy[:10])
    assert before.accuracy < 0.7
    assert after.accuracy > 0.95
    assert after.loss < before.loss
    assert {s.tokens for s in steps} == {8 * 6 - 2}
    assert all(s.seconds > 0 for s in steps)
    with pytest.raises(dataclasses.FrozenInstanceError):
        steps[0].loss = 0


def test_the_loss_is_the_one_before_the_update(tiny, toy):
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(rank=4))
    with torch.no_grad():
        before = model(**toy[0]).loss.item()
    (step,) = pt.train(model, toy[:1])
    assert step.loss == pytest.approx(before, abs=1e-6)
    without = {k: v for k, v in toy[0].items() if k != "attention_mask"}
    (step,) = pt.train(model, [without])
    assert step.tokens == 48


def test_a_run_can_be_repeated(tiny, toy):
    runs = []
    for seed in (1, 1, 2):
        pt.seed(seed)
        model = pt.lora.inject(tiny("bert"), pt.lora.Config(rank=4, dropout=0.2))
        losses = [s.loss for s in pt.train(model, toy[:8], lr=1e-2)]
        runs.append((losses, pt.adapter_state(model)))
    assert runs[0][0] == runs[1][0]
    for n, p in runs[0][1].items():
        assert_equal(p, runs[1][1][n], n)
    assert runs[0][0] != runs[2][0]


def test_seed_covers_python_numpy_and_torch():
    draws = []
    for n in (5, 5, 6):
        pt.seed(n)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[0], draws[2]))


# ── the schedule ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 100, 1001])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_the_rate_rises_in_a_line_and_falls_in_a_line(steps, warmup):
    rates = [training.rate(i, steps, warmup) for i in range(steps)]
    assert all(0 < r <= 1 for r in rates)
    assert max(rates) == 1
    top = rates.index(1)
    assert top == max(0, round(warmup * steps) - 1)
    for part in (rates[:top + 1], rates[top:]):
        second = np.diff(part, 2)
        assert np.allclose(second, 0)
    assert all(np.diff(rates[:top + 1]) > 0)
    assert all(np.diff(rates[top:]) < 0)
    if top < steps - 1:
        assert rates[-1] == pytest.approx(1 / (steps - top))    # one more step would be zero
        assert rates[-1] <= 1 / (steps * (1 - warmup))
    if top > 0:
        assert rates[0] == pytest.approx(1 / (top + 1))


def test_each_step_reports_the_rate_it_used(tiny, toy, monkeypatch):
    used = []
    real = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        used.append([group["lr"] for group in self.param_groups])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(rank=4))
    steps = list(pt.train(model, toy[:10], lr=3e-3, warmup=0.2))
    assert [[s.lr] for s in steps] == used
    assert [s.lr for s in steps] == pytest.approx(
        [3e-3 * training.rate(i, 10, 0.2) for i in range(10)])


# ── the optimizer ────────────────────────────────────────────────────────────────────────────


class Line(nn.Module):
    """loss = mean of w · x; its gradient is the mean of x."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.b = nn.Parameter(torch.zeros(2))

    def forward(self, input_ids, labels):
        loss = (input_ids * (self.w + self.b)).sum(-1).mean()
        return type("Out", (), {"loss": loss})


LINE = [{"input_ids": torch.tensor([[3.0, -4.0]]), "labels": torch.zeros(1)}]


def test_the_first_step_of_adamw():
    model = Line()
    list(pt.train(model, LINE, lr=0.1))
    torch.testing.assert_close(model.w.detach(), torch.tensor([-0.1, 0.1]))    # lr · sign(g)
    assert_equal(model.frozen, torch.ones(2))
    assert model.w.grad is None    # nothing is left for a later backward to add to


def test_weight_decay_and_its_absence():
    for decay in (0.0, 0.5):
        model = Line()
        with torch.no_grad():
            model.w.fill_(2.0)
        list(pt.train(model, LINE, lr=0.1, weight_decay=decay))
        torch.testing.assert_close(model.w.detach(),
                                   2 * (1 - 0.1 * decay) + torch.tensor([-0.1, 0.1]))


def test_gradients_are_clipped_over_all_that_trains(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a: seen.append(
        [p.grad.clone() for group in self.param_groups for p in group["params"]]))
    list(pt.train(Line(), LINE, clip=1.0))
    norm = torch.cat(seen[0]).norm()
    assert norm.item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(seen[0][0], torch.tensor([3.0, -4.0]) / math.sqrt(50),
                               rtol=1e-4, atol=1e-5)
    list(pt.train(Line(), LINE, clip=100.0))
    assert_equal(seen[1][0], torch.tensor([3.0, -4.0]))


def test_groups_have_rates_of_their_own():
    model = Line()
    groups = [{"params": [model.w]}, {"params": [model.b], "lr": 0.4}]
    (step,) = pt.train(model, LINE, lr=0.1, groups=groups)
    torch.testing.assert_close(model.w.detach(), torch.tensor([-0.1, 0.1]))
    torch.testing.assert_close(model.b.detach(), torch.tensor([-0.4, 0.4]))
    assert step.lr == 0.1
    only = Line()
    list(pt.train(only, LINE, groups=[{"params": [only.b], "lr": 0.4}]))
    assert_equal(only.w.detach(), torch.zeros(2))
    assert only.w.grad is None    # which no group moves, and no group's step clears


@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode])
def test_where_no_gradient_is_made_nothing_trains(block):
    with block(), pytest.raises(BadConfig, match="no_grad"):
        pt.train(Line(), LINE)


def test_groups_are_left_as_they_were():
    model = Line()
    groups = [{"params": [model.w]}, {"params": [model.b], "lr": 0.4}]
    for lr in (0.1, 0.2):    # the same groups, used again with another rate
        steps = list(pt.train(model, LINE * 3, lr=lr, groups=groups))
        assert max(s.lr for s in steps) == pytest.approx(lr)
    assert [set(group) for group in groups] == [{"params"}, {"params", "lr"}]
    assert groups[1]["lr"] == 0.4


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_it_stops_before_an_update_that_is_not_finite(what):
    model, batches = Line(), LINE * 2
    if what == "gradient":
        run = pt.train(model, batches, lr=0.1)
        next(run)
        model.b.register_hook(lambda gradient: gradient * math.inf)
    else:
        run = pt.train(model, [*LINE, {**LINE[0], "input_ids": LINE[0]["input_ids"] * math.nan}],
                       lr=0.1)
    with pytest.raises(pt.errors.TrainingDiverged, match=f"The {what} of step 1") as error:
        list(run)
    assert len(error.value.steps) == 1
    torch.testing.assert_close(model.w.detach(), torch.tensor([-0.1, 0.1]))    # of the first step
    assert model.w.grad is None
    assert not model.training


def test_pictures_are_trained_on_as_they_are_evaluated():
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48,
        image_size=8, patch_size=4, num_labels=3))
    name = next(name for name, _ in model.named_modules() if name.endswith(("query", "q_proj")))
    batch = {"pixel_values": torch.randn(4, 3, 8, 8), "labels": torch.tensor([0, 1, 2, 0])}
    model = pt.lora.inject(model.eval(), pt.lora.Config(targets=name))
    expected = pt.evaluate(model, [batch]).loss
    (step,) = pt.train(model, [batch])
    assert (step.loss, step.tokens) == (pytest.approx(expected, rel=1e-5), 0)


# ── adapters that would learn nothing ────────────────────────────────────────────────────────


class Body(nn.Module):
    """Layers that are called always, never, by chance, or with the data; and a head that counts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(4, 4)) for _ in range(3))
        self.by_chance = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.tower, self.cut, self.pooler = nn.Sequential(nn.Linear(4, 4)), *(
            nn.Linear(4, 4) for _ in range(2))
        self.classifier = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))

    def forward(self, x, labels, images=None):
        for i in (0, 2):
            x = self.layers[i](x)
        x = x + self.experts[1](x)
        for i, layer in enumerate(self.by_chance):    # the first step leaves out all but one
            if not (self.training and i):
                x = layer(x)
        if images is not None:
            x = x + self.tower(images)
        self.pooler(x)
        with torch.no_grad():
            y = self.cut(x)
        loss = nn.functional.cross_entropy(self.classifier(x + y), labels)
        return type("Out", (), {"loss": loss})


class Shift(pt.Adapter):
    """base(x) + v."""

    def __init__(self, base):
        super().__init__(base)
        self.v = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.base(x) + self.v


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return [{"x": torch.randn(6, 4, generator=generator), "labels": torch.tensor([0, 1] * 3)}
            for _ in range(3)]


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize(("targets", "names"), [
    ("layers.*", r"layers\.1"),                                # in a list, beside two that learn
    (("layers.0", "cut"), "cut"),
    ("cut", "cut"),
    ("pooler", "pooler"),
    (("experts.0", "experts.1"), r"experts\.0"),
])
def test_an_adapter_without_a_gradient_is_refused_by_name(targets, names, head, rows):
    model = pt.attach(Body().eval(), targets, Shift)
    model.classifier.requires_grad_(head)    # without it, the loss may have no gradient at all
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(BadConfig, match=f"The adapter at {names} would learn nothing"):
        next(pt.train(model, rows))
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m.training or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("targets", [
    "by_chance.*",                    # left out while training
    "experts.*.0",                    # in one that gets no token
    ("tower.0", "layers.0"), "tower.0",
    ("pooler", "layers.0"),           # called, and read by no head
])
def test_an_adapter_that_some_batches_leave_out_is_no_error(targets, rows):
    model = pt.attach(Body().eval(), targets, Shift)
    assert len(list(pt.train(model, rows))) == 3


def test_nothing_trains_while_disabled(model, toy):
    steps = pt.train(model, toy)
    before = pt.adapter_state(model)
    with pt.disabled(model):
        for call in (lambda: pt.train(model, toy), lambda: next(steps)):
            with pytest.raises(BadConfig, match=r"layer\.0\..*query is disabled") as error:
                call()
            assert "outside of pt.disabled" in error.value.expected
    assert all(torch.equal(t, before[n]) for n, t in pt.adapter_state(model).items())
    assert len(list(pt.train(model, toy[:2]))) == 2


def test_a_loss_without_parameters_is_refused():
    model = Line()
    model.forward = lambda input_ids, labels: type("Out", (), {"loss": input_ids.sum()})
    with pytest.raises(BadConfig, match="depends on no parameter that trains"):
        next(pt.train(model, [{"input_ids": torch.ones(1, 2), "labels": torch.zeros(1)}]))


def test_a_step_that_is_not_made_moves_no_means(rows):
    model = pt.attach(Body().eval(), "layers.0", Shift)
    rows[1]["x"] = torch.full((6, 4), torch.inf)
    steps = pt.train(model, rows)
    next(steps)
    before = model.classifier[0].running_mean.clone()
    assert (before != 0).all()
    with pytest.raises(TrainingDiverged):
        next(steps)
    assert_equal(model.classifier[0].running_mean, before)


# ── modes ────────────────────────────────────────────────────────────────────────────────────


def test_it_trains_in_train_mode_and_ends_in_eval_mode(model, toy):
    for step in pt.train(model, toy[:3]):
        assert model.training, step
    assert not any(m.training for m in model.modules())


def test_stopping_early_leaves_eval_mode(model, toy):
    run = pt.train(model, toy)
    next(run)
    assert model.training
    run.close()
    assert not any(m.training for m in model.modules())
    for _ in pt.train(model, toy):
        break
    assert not model.training
    run = pt.train(model, toy)
    next(run)
    with pytest.raises(pt.errors.TrainingStopped, match="after 1 of") as stopped:
        run.throw(KeyboardInterrupt)
    assert not model.training
    assert [step.index for step in stopped.value.steps] == [0]
    assert "half-trained" in str(stopped.value)
    assert "sys.last_value.steps" in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert stopped.value._render_traceback_() == [f"TrainingStopped: {stopped.value}"]


def test_an_error_in_the_middle_leaves_eval_mode(model, toy):
    steps = pt.train(model, toy[:2])
    next(steps)
    model.register_forward_pre_hook(lambda *_: {}["of a reader's own"])
    with pytest.raises(KeyError, match="of a reader's own"):
        next(steps)
    assert not model.training


NAN, ROWS = math.nan, torch.arange(3, 31).reshape(4, 7)
MASK, LABELS = torch.ones_like(ROWS), torch.tensor([0, 2, 1, 2])
BATCHES = [    # what a batch holds instead, and what is said of it
    ({"input_ids": None}, "dict"), ({3: LABELS}, "dict"), ({"labels": "x"}, "dict"),
    ({"input_ids": ROWS.float()}, "input_ids is float32"),
    ({"input_ids": ROWS + 90}, "goes from 93 to 120"), ({"input_ids": -ROWS}, "from -30"),
    ({"input_ids": ROWS[0]}, r"shape \(7,\)"), ({"input_ids": ROWS[:0]}, r"shape \(0, 7\)"),
    ({"input_ids": ROWS[None]}, r"\(1, 4, 7\)"), ({"input_ids": ROWS.to("meta")}, "input_ids"),
    ({"input_ids": ROWS.repeat(1, 9), "attention_mask": MASK.repeat(1, 9)}, "63 tokens"),
    ({"inputs_embeds": torch.ones(4, 7, 32)}, "input_ids, attention_mask, labels, inputs_embeds"),
    ({"attention_mask": MASK[:, :3]}, r"attention_mask is int64 of shape \(4, 3\)"),
    ({"attention_mask": MASK[0, 0]}, "attention_mask"), ({"attention_mask": MASK * NAN}, "than 0"),
    ({"attention_mask": MASK * 2}, "other numbers than 0 and 1"),
    ({"token_type_ids": MASK * 9}, "token_type_ids goes from 9"),
    ({"token_type_ids": MASK[:, :2]}, "token_type_ids is int64"),
    ({"position_ids": ROWS * 9}, "position_ids goes"), ({"position_ids": MASK * 1.0}, "is float32"),
    ({"labels": LABELS[:2]}, r"labels is int64 of shape \(2,\)"), ({"labels": LABELS[0]}, "labels"),
    ({"labels": LABELS.bool()}, "labels is bool"), ({"labels": LABELS * 1.0}, "labels is float32"),
    ({"labels": LABELS.int()}, "labels is int32"), ({"labels": LABELS[None]}, r"\(1, 4\)"),
    ({"labels": LABELS.to(torch.complex64)}, "labels is complex64"),
    ({"past_key_values": LABELS}, "past_key_values is int64"),
]


def test_a_malformed_batch_is_refused_before_the_first_step(tiny):
    """Or it would come up as an error of torch's, many calls later."""
    from transformers import AutoModelForMaskedLM

    model, good = tiny("bert"), {"input_ids": ROWS, "attention_mask": MASK, "labels": LABELS}
    bare = {name: good[name] for name in ("attention_mask", "labels")}
    narrow = bare | {"inputs_embeds": torch.ones(4, 7, 30)}
    for batch, says in [(bare, "holds attention_mask, labels"), (narrow, "inputs_embeds is"),
                        *((good | other, says) for other, says in BATCHES)]:
        for use in (pt.train, pt.evaluate):
            with pytest.raises(BadData, match=says) as error:
                use(model, [good, batch])
            assert error.value.expected or error.value.hint
    with pytest.raises(BadData, match="nan or infinity"):
        pt.train(tiny("bert"), [good | {"labels": torch.full((4, 3), NAN)}])
    with pytest.raises(BadData, match="labels is float32"):    # its loss would spread over columns
        pt.train(tiny("bert", num_labels=1), [good | {"labels": ROWS * 1.0}])
    for batches in (None, 5, model, torch.tensor(3)):
        for use in (pt.train, pt.evaluate):
            with pytest.raises(BadData, match="batches is a"):
                use(model, batches)
    long = {name: MASK.repeat(1, 5) for name in ("input_ids", "attention_mask", "labels")}
    prompted = pt.prompt.inject(tiny("gpt2", "lm"), pt.prompt.Config(6))
    for batch, says in ((good, "labels is"), (long, "6 vectors before them, and this model")):
        with pytest.raises(BadData, match=says):
            pt.train(prompted, [batch])
    lora = pt.lora.inject(tiny("gpt2", "lm"))
    next(iter(pt.adapters(lora).values())).length = 30    # of something else than vectors in front
    assert pt.evaluate(lora, [long]).tokens == 4 * 34
    for thing in (None, "model", nn.Linear, 5):
        for use in (pt.train, pt.evaluate):
            with pytest.raises(BadConfig, match="not a model"):
                use(thing, [good])
    assert not model.training
    model.bert = checkpoint_wrapper(model.bert)    # of what a wrapper reads, less is known
    assert pt.evaluate(model, [good]).examples == 4
    masked = pt.lora.inject(AutoModelForMaskedLM.from_config(model.config))
    list(pt.train(masked, [good | {"labels": ROWS}]))    # what can be trained on, is
    several = good | {"labels": torch.eye(4)[:, :3]}
    for batch in (several, good | {"labels": LABELS[:, None]}, narrow | {
            "inputs_embeds": torch.ones(4, 7, 32)}):
        list(pt.train(tiny("bert"), [batch]))


def test_nothing_happens_before_the_first_step(model, toy):
    before = pt.adapter_state(model)
    pt.train(model, toy)
    assert not model.training
    for n, p in pt.adapter_state(model).items():
        assert_equal(p, before[n], n)


def test_what_cannot_be_trained_is_refused_at_the_call(model, toy, tiny):
    with pytest.raises(BadData, match="no batches"):
        pt.train(model, [])
    with pytest.raises(BadData, match="input_ids, but no 'labels'"):
        pt.train(model, [{"input_ids": toy[0]["input_ids"]}])
    with pytest.raises(BadData, match=r"A batch is a dict: \{'labels': \[0\]\}"):
        pt.train(model, [{"labels": [0]}])
    with pytest.raises(BadData, match="A batch is a str: 'input_ids'") as error:
        pt.train(model, toy[0])
    assert "[batch]" in error.value.hint
    nan, inf, own = math.nan, math.inf, next(p for p in model.parameters() if p.requires_grad)
    some, frozen = [own], torch.nn.Parameter(own.detach(), requires_grad=False)
    for name, values in {
            "lr": (0, -1e-3, nan, inf, True, "1e-3", torch.tensor(0.1)),
            "warmup": (-0.1, 2, nan, None), "clip": (0, -1, nan, None, True),
            "weight_decay": (-0.1, nan, inf, "0"),
            "groups": (5, model, own, {"params": some}, ["params"], [some])}.items():
        for value in values:
            with pytest.raises(BadConfig, match=f"^{name} is "):
                pt.train(model, toy, **{name: value})
    for group, says in [({}, "no 'params'"), ({"params": some, "momentum": 0.9}, "'momentum'"),
                        ({"params": some, "lr": nan}, "lr is nan"), ({"params": None}, "NoneType"),
                        ({"params": some, "betas": (0.9, 1)}, "betas is"),
                        ({"params": some, "weight_decay": -1}, "weight_decay is -1"),
                        ({"params": some * 2}, "in another place, too"),
                        ({"params": frozen}, "does not train"), ({"params": ["w"]}, "a str that")]:
        with pytest.raises(BadConfig, match=says):
            pt.train(model, toy, groups=[group])
    for name, value in {"warmup": 1, "clip": inf, "groups": [{"params": some, "eps": 0}]}.items():
        pt.train(model, toy, **{name: value})    # these can work
    with pytest.raises(BadConfig, match="No parameter"):
        pt.train(tiny("bert").requires_grad_(False), toy)
    with pytest.raises(BadConfig, match="No parameter"):
        pt.train(model, toy, groups=[{"params": []}])
    assert not model.training


def test_batches_may_be_a_generator(model, toy):
    assert len(list(pt.train(model, (batch for batch in toy[:4])))) == 4


# ── evaluate ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("training_mode", [True, False])
def test_evaluate_counts_examples(training_mode, tiny, toy):
    model = tiny("bert")
    uneven = [toy[0], {k: v[:3] for k, v in toy[1].items()}]    # 8 and 3: no mean of means
    right, losses = 0, []
    with torch.no_grad():
        for batch in uneven:
            for ids, mask, label in zip(batch["input_ids"], batch["attention_mask"],
                                        batch["labels"]):
                scores = model(ids[None], attention_mask=mask[None]).logits[0].tolist()
                right += max(range(3), key=scores.__getitem__) == label
                losses.append(math.log(sum(math.exp(s) for s in scores)) - scores[label])
    model.train(training_mode)
    weights = [p.detach().clone() for p in model.parameters()]
    result = pt.evaluate(model, iter(uneven))
    assert type(result) is pt.Evaluation
    assert result.examples == 11
    assert result.accuracy == pytest.approx(right / 11)
    assert result.loss == pytest.approx(sum(losses) / 11, rel=1e-5)
    assert model.training == training_mode
    for p, q in zip(model.parameters(), weights):
        assert_equal(p, q)
    assert all(p.grad is None for p in model.parameters())


def test_labels_may_stand_in_a_column(model, toy):
    column = [batch | {"labels": batch["labels"][:, None]} for batch in toy]
    assert pt.evaluate(model, column) == pt.evaluate(model, toy)


def test_evaluate_refuses(model, toy):
    with pytest.raises(BadData, match="no batches"):
        pt.evaluate(model, [])
    with pytest.raises(BadData, match="A batch is a str"):
        pt.evaluate(model, toy[0])
    model.train()
    with pytest.raises(BadData, match="no 'labels'"):
        pt.evaluate(model, [{"input_ids": toy[0]["input_ids"]}])
    assert model.training


def test_an_interrupt_in_the_middle_of_a_step_leaves_no_gradient(model, toy):
    last = next(p for p in model.parameters() if p.requires_grad)

    def interrupt(p):
        raise KeyboardInterrupt

    handle = last.register_post_accumulate_grad_hook(interrupt)
    with pytest.raises(pt.errors.TrainingStopped, match="The model is as it was") as stopped:
        list(pt.train(model, toy))
    handle.remove()
    assert stopped.value.steps == []
    assert all(p.grad is None for p in model.parameters())
    assert not model.training


# ── evaluate, of a language model ────────────────────────────────────────────────────────────


@torch.no_grad()
def asked_one_by_one(model, batches) -> tuple[list[float], int]:
    """Return the loss of each token that is asked for, and how many are the model's first guess.

    Each row goes in alone, without its padding, and each token's loss is taken by hand.
    """
    losses, right = [], 0
    for batch in batches:
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"].bool(),
                                     batch["labels"]):
            ids, labels = ids[mask], labels[mask]
            scores = model(input_ids=ids[None]).logits[0].double().log_softmax(-1)
            for i in range(1, len(ids)):
                if labels[i] != -100:
                    losses.append(-scores[i - 1, ids[i]].item())
                    right += int(scores[i - 1].argmax() == ids[i])
    return losses, right


def without(labels, row: int, until: int):
    labels = labels.clone()
    labels[row, :until] = -100
    return labels


@pytest.mark.parametrize(("family", "padding"), [
    ("gpt2", "right"), ("llama", "right"), ("llama", "left")])
def test_a_language_model_is_measured_token_by_token(family, padding, tiny, inputs):
    model = pt.lora.inject(tiny(family, "lm"), pt.lora.Config(
        targets=("qkv",) if family == "gpt2" else ("query", "value")))
    one, other = inputs(model, padding), inputs(model, padding, seed=2)
    other = {k: v[1:3] for k, v in other.items()}    # fewer rows: no mean of means
    one["labels"] = without(one["labels"], 0, 6)     # six tokens of the first row are given
    losses, right = asked_one_by_one(model, [one, other])
    mean = sum(losses) / len(losses)
    model.train()
    found = pt.evaluate(model, iter([one, other]))
    assert type(found) is pt.LanguageEvaluation
    assert found.tokens == len(losses) < one["labels"].numel()
    assert found.loss == pytest.approx(mean, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(mean), rel=1e-4)
    assert found.accuracy == right / len(losses)
    assert model.training

    first = torch.zeros_like(one["labels"]).scatter(1, one["attention_mask"].argmax(-1)[:, None], 1)
    one["labels"] = one["labels"].masked_fill(first.bool(), -100)    # which nothing real precedes
    with torch.no_grad():    # then, on one batch, it is transformers' own loss
        assert pt.evaluate(model, [one]).loss == pytest.approx(model.eval()(**one).loss.item(),
                                                               rel=1e-5)
    bare = [{**batch, "labels": batch["input_ids"]} for batch in (one, other)]
    hidden = [{**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0,
                                                                -100)} for batch in bare]
    assert pt.evaluate(model, bare) == pt.evaluate(model, hidden)    # padding is no token


@pytest.mark.parametrize(("family", "method"), [
    ("gpt2", pt.lora), ("gpt2", pt.prompt), ("llama", pt.prompt), ("llama", pt.prefix)])
def test_padding_on_the_left_moves_no_text(family, method, tiny, inputs):
    """A model by itself counts it as text, from where its positions or a prompt begin."""
    model = method.inject(tiny(family, "lm"))
    for p in pt.adapter_parameters(model).values():
        p.data.normal_()    # large enough to show
    batch = inputs(model, "left")
    losses, right = asked_one_by_one(model, [batch])
    mean = sum(losses) / len(losses)
    found = pt.evaluate(model, [batch])
    assert (found.tokens, found.accuracy) == (len(losses), right / len(losses))
    assert found.loss == pytest.approx(mean, rel=1e-5)
    counted = {**batch, "position_ids": torch.arange(batch["input_ids"].shape[1])[None]}
    assert pt.evaluate(model, [counted]).loss != pytest.approx(mean, rel=1e-4)    # if told so
    for wrap, name in ((torch.compile, "OptimizedModule"),    # does it take them?
                       (nn.DataParallel, "DataParallel")):    # and is it a language model?
        with pytest.raises(NotSupported, match=f"wrapped in {name}"):
            pt.evaluate(wrap(model), [batch])


def test_an_example_without_a_label_is_not_counted(tiny, inputs):
    model = tiny("bert")
    batch = inputs(model)
    some = {k: v[[0, 2]] for k, v in batch.items()}
    found = pt.evaluate(model, [batch | {"labels": torch.tensor([0, -100, 1, -100])}])
    known = pt.evaluate(model, [some])
    assert (found.examples, found.accuracy) == (2, known.accuracy)
    assert found.loss == pytest.approx(known.loss, rel=1e-5)
    with pytest.raises(BadData, match="nothing in them to predict"):
        pt.evaluate(model, [batch | {"labels": torch.full((4,), -100)}])


def test_a_model_that_is_sure_and_wrong_has_no_finite_perplexity(tiny, inputs):
    model = tiny("gpt2", "lm")
    with torch.no_grad():
        model.transformer.ln_f.weight.mul_(1e4)
    assert pt.evaluate(model, [inputs(model)]).perplexity == math.inf


def test_evaluate_refuses_what_has_no_classes(tiny, inputs):
    from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

    config = BertConfig(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                        num_attention_heads=4, num_labels=11)
    batch = {"input_ids": torch.ones(4, 11, dtype=torch.long)}
    for make, labels, number in ((BertForTokenClassification, torch.ones(4, 11).long(), 11),
                                 (BertForSequenceClassification, torch.ones(4, 11), 11),
                                 (BertForSequenceClassification, torch.ones(4), 1)):
        config.num_labels, config.problem_type = number, None
        with pytest.raises(BadData, match="there is no accuracy of these") as error:
            pt.evaluate(make(config), [{**batch, "labels": labels}])
        assert "one class an example" in error.value.expected
    model = tiny("llama", "lm")
    given = inputs(model)
    with pytest.raises(BadData, match="nothing in them to predict"):
        pt.evaluate(model, [{**given, "labels": torch.full_like(given["labels"], -100)}])


@pytest.mark.parametrize("label", [3, 7, -1])
def test_a_label_that_is_no_class_of_the_model_is_named(label, tiny, inputs):
    model = pt.lora.inject(tiny("bert"))    # three classes
    good = inputs(model)
    bad = good | {"labels": torch.tensor([0, label, -100, 2])}
    for use in (lambda: pt.evaluate(model, [good, bad]),
                lambda: pt.train(model, [good, bad], lr=1e-3)):    # before the first step
        with pytest.raises(BadData, match=f"the label {label}, and .* 3 classes") as error:
            use()
        assert "labels from 0 to 2" in error.value.expected
        assert "labels=N" in error.value.hint
    assert not model.training


def test_a_label_that_is_no_token_of_the_model_is_named(tiny, inputs):
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"num_layers": 1, "num_heads": 1, "d_model": 8, "d_ff": 8, "d_kv": 8}
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=97, **sizes))
    batch = inputs(tiny("gpt2", "lm"))
    batch["labels"][0, 3] = 97
    for model in (tiny("gpt2", "lm"), t5):
        with pytest.raises(BadData, match="the label 97, and this model has 97 tokens") as error:
            pt.train(model, [batch], lr=1e-3)
        assert "tokenizer" in error.value.hint


def test_numbers_are_no_classes_out_of_range(tiny, inputs):
    model = pt.lora.inject(tiny("bert", num_labels=1))    # a regression
    batch = inputs(model) | {"labels": torch.tensor([5.0, -7.0, 0.5, 3.0])}
    assert len([*pt.train(model, [batch])]) == 1
    several = tiny("bert", problem_type="multi_label_classification")
    batch = inputs(several) | {"labels": torch.tensor([[0.0, 1, 1]] * 4)}
    assert len([*pt.train(pt.lora.inject(several), [batch])]) == 1


# ── the rate that stands with a method ───────────────────────────────────────────────────────


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_at_its_own_rate_unless_told_otherwise(tiny, inputs, method):
    model = tiny("bert")
    batches = [inputs(model)] * 3
    module = METHODS[method]
    model = module.inject(model)
    assert pt.training.learning_rate(model) == module.LEARNING_RATE
    steps = list(pt.train(model, batches))
    assert max(step.lr for step in steps) == pytest.approx(module.LEARNING_RATE)
    assert max(step.lr for step in pt.train(model, batches, 2e-3)) == pytest.approx(2e-3)


SIX = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")


@pytest.mark.parametrize(("method", "config", "rate"), [
    (pt.bottleneck, pt.bottleneck.PARALLEL, pt.bottleneck.LEARNING_RATE / 4),
    (pt.lora, pt.lora.Config(targets="linear"), pt.qlora.LEARNING_RATE),
    (pt.lora, pt.lora.Config(targets=SIX), pt.qlora.LEARNING_RATE),
    (pt.lora, pt.lora.Config(targets=SIX, layers=1), pt.lora.LEARNING_RATE),
    (pt.lora, pt.lora.Config(targets=(*SIX[:3], "*.layer.*.dense")), pt.qlora.LEARNING_RATE),
    (pt.lora, pt.lora.Config(targets=SIX[:-1], also_train="ffn_out"), pt.lora.LEARNING_RATE),
    (pt.dora, pt.dora.Config(targets=("linear",)), pt.qlora.LEARNING_RATE),
    (pt.dora, pt.dora.Config(targets=SIX), pt.qlora.LEARNING_RATE),
    (pt.qlora, pt.qlora.Config(targets=SIX), pt.qlora.LEARNING_RATE),
    (pt.qlora, pt.qlora.Config(targets=SIX, layers=1), pt.lora.LEARNING_RATE),
    (pt.qlora, pt.qlora.Config(targets=("query", "value")), pt.lora.LEARNING_RATE),
    (pt.bitfit, pt.bitfit.Config(targets="linear"), pt.bitfit.LEARNING_RATE)])
def test_what_acts_more_strongly_learns_at_less(method, config, rate, tiny):
    assert pt.training.learning_rate(method.inject(tiny("bert"), config)) == rate


def test_rates_where_no_method_of_ours_made_the_adapters(tiny):
    model = tiny("bert")
    assert pt.training.learning_rate(model) == pt.full.LEARNING_RATE
    model = pt.attach(model, ("query",), lambda base: pt.lora.LoRALinear(base, rank=2))
    assert pt.training.learning_rate(model) == pt.training.DEFAULT_LEARNING_RATE
    head = pt.full.inject(tiny("bert"), pt.full.Config(train="head"))
    assert pt.training.learning_rate(head) == pt.full.HEAD_LEARNING_RATE


def test_what_would_train_in_float16_is_refused(tiny, inputs):
    model = pt.lora.inject(tiny("bert").half())
    with pytest.raises(BadConfig, match="float16") as error:
        pt.train(model, [inputs(model)])
    assert error.value.expected == "float32"    # in bfloat16 most of a small rate's steps are lost
    assert len([*pt.train(model.float(), [inputs(model)])]) == 1


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_language_model_trains_on_what_it_is_evaluated_on(family, padding, tiny, inputs):
    """The first step's loss, before any update, is the one that evaluate gives, without padding."""
    model = pt.lora.inject(tiny(family, "lm"))
    batch = inputs(model, padding)
    batch["labels"] = batch["input_ids"]
    expected = pt.evaluate(model, [batch]).loss
    (step,) = pt.train(model, [batch])
    assert step.loss == pytest.approx(expected, abs=1e-5)


def test_an_adapter_of_ones_own_around_the_backbone_trains(tiny, inputs):
    """Transformers does not find the word embeddings through it; nothing here needs them."""
    class Shifted(pt.Adapter):
        def __init__(self, base):
            super().__init__(base)
            self.b = torch.nn.Parameter(torch.zeros(32))

        def forward(self, *args, **kwargs):
            out = self.base(*args, **kwargs)
            out.pooler_output = out.pooler_output + self.b
            return out

    model = pt.attach(tiny("bert"), "bert", Shifted)
    with pytest.raises(NotImplementedError):
        model.get_input_embeddings()
    batch = inputs(model)
    assert len([*pt.train(model, [batch] * 3)]) == 3
    assert model.bert.b.any()
    with pytest.raises(BadData, match="attention_mask"):
        pt.train(model, [batch | {"attention_mask": batch["attention_mask"][:, 1:]}])
