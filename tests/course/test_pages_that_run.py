"""The pages on one's own data and on symptoms: their code runs, and shows what they say."""

import csv
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import peft_teach as pt
from peft_teach.course.lessons import find

SITE = Path(__file__).parents[2] / "assets/site"


# ── your own data ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def own_data():
    """The page's code, and the lines of it that count."""
    code, = re.findall(r"```python\n(.*?)```", (SITE / "own_data.md").read_text("utf-8"), re.DOTALL)
    return code


@pytest.mark.long
def test_a_file_becomes_a_verdict_and_a_folder_for_peft(own_data, tmp_path, monkeypatch, capsys):
    """On tweets, of which no lesson has a file: a duplicate goes, and documents stay whole."""
    monkeypatch.chdir(tmp_path)
    tweets = pt.data.load("tweets").train[:60]
    rows = [{"text": text, "label": label, "document": i // 2}
            for i, (text, label) in enumerate(tweets)]
    rows.append(rows[0] | {"text": f" {rows[0]['text']} ", "document": 99})
    with open("mine.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    sweep = find("ladder.sweep").resolve()
    space = {"__name__": "page"}
    with monkeypatch.context() as patch:
        patch.setattr(pt, "mine", lambda id: {"ladder.sweep": sweep}[id])
        exec(compile(own_data, "own_data.md", "exec"), space)
    whole = space["table"].groupby("document")["part"].nunique()
    assert (whole == 1).all()
    assert len(space["table"]) == 60    # of 61
    assert sum(map(len, (space["train"], space["validation"], space["test"]))) == 60
    assert len(space["train"]) == 36
    assert space["words"].sum() == sum((space["leans"](text) > 0) == bool(label)
                                       for text, label in space["test"])
    assert space["right"].shape == (3, len(space["test"]))
    out = capsys.readouterr().out
    assert re.search(r"36 / 12 / 12; majority \d\d", out)
    assert re.search(r"(better|worse|the same|cannot tell): .*from 3 and 12 of them", out)
    assert {file.name for file in Path("mine-peft").iterdir()} >= {"adapter_config.json"}
    assert len([line for line in own_data.splitlines() if line.strip()]) <= 60


# ── symptoms ─────────────────────────────────────────────────────────────────────────────────


def lines():
    """The line of each symptom, by its first words."""
    found = {}
    for row in (SITE / "symptoms.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        if len(cells) == 5 and "`" in cells[2]:
            found[cells[0].rstrip(".")] = re.search(r"`([^`]+)`", cells[2])[1]
    return found


LINES = lines()


@pytest.fixture
def here(tiny, inputs):
    model = tiny("bert").eval()
    batch = inputs(model)
    ids, mask = batch["input_ids"].clone(), torch.ones_like(batch["input_ids"])
    mask[0, -3:] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.zeros(len(ids), dtype=int)}
    return SimpleNamespace(
        pt=pt, torch=torch, fresh=tiny("bert").eval(), batch=batch,
        model=pt.lora.inject(model, pt.lora.Config(4)),
        alone={"input_ids": ids[:1, :-3], "attention_mask": mask[:1, :-3]})


def said(symptom, here, **more):
    return eval(LINES[symptom], vars(here) | more)


def moved(model, size=1.0):
    with torch.no_grad():
        for p in pt.adapter_parameters(model).values():
            p.add_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    return model


def test_every_symptom_is_planted_here():
    assert [*LINES] == [
        "The loss stands still", "The loss is nan", "The accuracy stays at 50 %",
        "Out of memory", "It always answers the same class", "A file loads and does nothing",
        "Good in training, bad in eval", "Another answer in a batch", "It never stops",
        "It forgot what it could do"]


def test_nothing_trains(here):
    assert said("The loss stands still", here) > 100
    assert said("The loss stands still", here, model=here.model.requires_grad_(False)) == 0


def test_a_rate_that_is_too_high_makes_weights_that_are_no_numbers(here):
    assert said("The loss is nan", here) == []
    optimizer = torch.optim.SGD(pt.adapter_parameters(here.model).values(), lr=1e30)
    for _ in range(3):
        here.model(**here.batch).loss.backward()
        optimizer.step()
    assert said("The loss is nan", here)


def test_a_frozen_head(here):
    assert said("The accuracy stays at 50 %", here) == []
    for name in pt.models.head(here.model):
        here.model.get_parameter(name).requires_grad_(False)
    assert said("The accuracy stays at 50 %", here) == list(pt.models.head(here.model))


def test_a_long_text_keeps_more_than_the_weights(here):
    """What the line predicts is what a forward pass keeps, and the largest of its parts."""
    for tokens, largest in ((2, "weights_bytes"), (32, "activations_bytes")):
        ids = torch.ones(16, tokens, dtype=int)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        told = said("Out of memory", here, batch=batch)
        assert max(vars(told), key=vars(told).get) == largest, told
        kept = pt.account.activations(here.model, batch | {"labels": ids[:, 0]})
        assert told.activations_bytes == pytest.approx(kept, rel=0.02)


def test_one_class_is_most_of_the_data(here):
    even, odd = ([("a", int(i < n)) for i in range(20)] for n in (10, 19))
    assert said("It always answers the same class", here, train=even).tolist() == [10, 10]
    assert said("It always answers the same class", here, train=odd).tolist() == [1, 19]


@torch.no_grad()
def test_a_file_whose_names_do_not_fit(here):
    before = here.model(**here.batch).logits
    state = pt.adapter_state(moved(here.model))
    target = pt.lora.inject(here.fresh, pt.lora.Config(4))
    target.load_state_dict({f"base_model.{name}": x for name, x in state.items()}, strict=False)
    assert said("A file loads and does nothing", here, model=target, before=before) == 0
    target.load_state_dict(state, strict=False)
    assert said("A file loads and does nothing", here, model=target, before=before) > 0.01


@torch.no_grad()
def test_what_acts_in_training_alone(here):
    class InTraining(pt.lora.LoRALinear):
        def forward(self, x):
            return super().forward(x) if self.training else self.base(x)

    def losses(model):    # the labels are what training mode says rather than the other
        modes = [model.train(mode)(**here.batch).logits for mode in (True, False)]
        batch = {**here.batch, "labels": (modes[0] - modes[1]).argmax(-1)}
        return said("Good in training, bad in eval", here, model=model, batch=batch)

    train, other = losses(moved(here.model))
    assert other == pytest.approx(train, abs=1e-5)
    train, other = losses(moved(pt.attach(here.fresh, ("query", "value"), lambda base: InTraining(
        base, 4))))
    assert other > train + 1e-3


@torch.no_grad()
def test_padding_that_is_read(here):
    assert said("Another answer in a batch", here) < 1e-3
    bare = {"input_ids": here.batch["input_ids"]}
    assert said("Another answer in a batch", here, batch=bare) > 1e-3


def test_an_end_that_is_masked(here):
    chat = SimpleNamespace(eos_token_id=2)
    labels = torch.tensor([-100, -100, 7, 8, 2])
    assert said("It never stops", here, tokenizer=chat, labels=labels)
    labels[-1] = -100
    assert not said("It never stops", here, tokenizer=chat, labels=labels)


def test_an_adapter_that_is_still_on(here):
    old = [{**here.batch, "labels": here.fresh(**here.batch).logits.argmax(-1)}]
    base = here.fresh
    assert said("It forgot what it could do", here, old=old, base=base) == [1, 1]
    after, before = said("It forgot what it could do", here, old=old, base=base,
                         model=moved(here.model, 30))
    assert after < before == 1
    with pt.disabled(here.model):    # off, it knows everything again
        assert said("It forgot what it could do", here, old=old, base=base) == [1, 1]
