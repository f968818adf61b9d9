"""Lesson 03: the soft prompt in front of a language model, and the law of its places."""

from typing import Any

import torch
from torch import Tensor, nn

from ....adapter import Adapter
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import close, difference, named, recognised, rejected, report
from ...checks.mutants import Law
from ...checks.stand_ins import TinyLanguageModel
from . import mutants

WORDS = 13    # that the tiny language model knows


class SoftPrompt(nn.Module):
    """A frozen language model that reads trained vectors P, (length, d), in front of its text."""

    def __init__(self, model: nn.Module, start: Tensor):
        super().__init__()
        self.model = model.requires_grad_(False)
        self.P = nn.Parameter(start.detach().clone().float())             # (length, d)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None):
        """Return the model's output at the text's own places, (batch, seq, vocabulary)."""
        length = len(self.P)
        x = self.model.get_input_embeddings()(input_ids)                  # (batch, seq, d)
        P = self.P.to(x.dtype).expand(len(x), -1, -1)                     # (batch, length, d)
        if labels is not None:
            labels = nn.functional.pad(labels, (length, 0), value=-100)
        out = self.model(inputs_embeds=torch.cat([P, x], 1), labels=labels,
                         attention_mask=nn.functional.pad(attention_mask, (length, 0), value=1))
        out.logits = out.logits[:, length:]
        return out


class Reads(nn.Module):
    """A backbone, called as a language model is whose logits are its last hidden states."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    @property
    def config(self):
        return self.backbone.config

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.get_input_embeddings()

    def forward(self, labels: None = None, **rest):
        from transformers.modeling_outputs import CausalLMOutputWithPast

        return CausalLMOutputWithPast(logits=self.backbone(**rest).last_hidden_state)


class OnBackbone(Adapter):
    """A learner's soft prompt, random at first, around an encoder: its head reads the text alone.

    `kind` is the learner's class. Its parameter is this adapter's own; all else is the base's.
    """

    def __init__(self, base: nn.Module, kind: type[nn.Module], length: int):
        super().__init__(base)
        width = base.get_input_embeddings().embedding_dim
        prompt = kind(Reads(base), torch.empty(length, width).uniform_(-0.5, 0.5))
        self.P, = (p for p in prompt.parameters() if p.requires_grad)     # (length, d)
        vars(self)["_prompt"] = prompt    # not registered: the base is in it again

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **rest):
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        h = vars(self)["_prompt"](input_ids, attention_mask).logits       # (batch, seq, d)
        return BaseModelOutputWithPooling(last_hidden_state=h, pooler_output=self.base.pooler(h))


# ── prompt.front ─────────────────────────────────────────────────────────────────────────────


def front_cases(seed: int) -> list[dict]:
    """Return start and trained prompt, and a batch; no two lengths of a case are equal."""
    generator = torch.Generator().manual_seed(8000 + seed)
    cases = []
    for i, (length, batch, seq, side, asked, pad) in enumerate((
            (2, 3, 5, "right", 2, 0), (4, 3, 6, "left", 2, 0), (1, 2, 4, "right", 2, 0),
            (7, 4, 5, "right", 5, 0),      # here the first word, too, has a label
            (3, 4, 6, "left", 2, 5))):     # and here 0 is a word
        cases.append({"length": length, "seed": 10 * seed + i, "scale": 1.0,
                      "start": torch.randn(length, 6, generator=generator),
                      "P": torch.randn(length, 6, generator=generator),
                      **batch_of(100 * seed + i, side, batch, seq, asked=asked, pad=pad)})
    return cases


def batch_of(seed: int, side: str, batch: int = 3, seq: int = 5, words: int = WORDS,
             asked: int = 2, pad: int = 0) -> dict[str, Tensor]:
    """Return random text, padded on a side, whose last `asked` words of each row have labels.

    Padding is the token `pad`. If it is not 0, then 0 is a word, the last but one of each text.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, words, (batch, seq), generator=generator)
    if pad:
        ids[:, -2] = 0
    mask, labels = torch.ones_like(ids), torch.full_like(ids, -100)
    for i in range(batch):
        missing = i % (seq - 2)
        real = slice(missing, seq) if side == "left" else slice(0, seq - missing)
        mask[i] = 0
        mask[i, real] = 1
        labels[i, real] = torch.where(torch.arange(seq - missing) >= seq - missing - asked,
                                      ids[i, real], -100)
    ids = torch.where(mask.bool(), ids, pad)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


BATCH = ("input_ids", "attention_mask", "labels")
MADE = {"trains": dict[str, tuple[int, ...]]}
CALLED = MADE | {"dtype": str, "first": Tensor, "start_after": Tensor}
REPORT = (report(made=Any) | report(**MADE) | report(**CALLED, out=Any, parts=list)
          | report(**CALLED, logits=Tensor, loss=Tensor, grad=Tensor | None, bare=Any,
                   bare_grad=Tensor | None, intact=bool))


def run_front(SoftPrompt, case: dict) -> dict[str, Any]:
    """Make the learner's prompt, fill it as if it were trained, and call it."""
    model, start = TinyLanguageModel(seed=case["seed"], scale=case["scale"]), case["start"].clone()
    prompt = SoftPrompt(model, start)
    if not isinstance(prompt, nn.Module):
        return {"made": prompt}
    trained = {name: p for name, p in prompt.named_parameters() if p.requires_grad}
    seen: dict[str, Any] = {"trains": {name: tuple(p.shape) for name, p in trained.items()}}
    if [*seen["trains"].values()] != [start.shape]:
        return seen
    P, = trained.values()
    seen |= {"dtype": str(P.dtype), "first": P.detach().clone()}
    with torch.no_grad():
        P.copy_(case["P"])
    given = {name: case[name].clone() for name in BATCH}
    out = prompt(**given)
    seen |= {"start_after": start}
    logits, loss = getattr(out, "logits", None), getattr(out, "loss", None)
    if not isinstance(logits, Tensor) or not isinstance(loss, Tensor):
        return seen | {"out": out, "parts": [logits, loss]}
    if loss.requires_grad and loss.dim() == 0:
        loss.backward()
    grad, P.grad = P.grad, None
    other = _other(given)
    bare = getattr(prompt.eval()(**other), "logits", None)
    if isinstance(bare, Tensor) and bare.requires_grad:
        _weighted(bare, other["attention_mask"]).backward()
    intact = all(torch.equal(given[name], case[name]) and given[name]._version == 0
                 for name in BATCH)    # _version counts writings
    return seen | {"logits": logits, "loss": loss, "grad": grad, "bare": bare,
                   "bare_grad": P.grad, "intact": intact}


def _weighted(logits: Tensor, mask: Tensor) -> Tensor:
    """Return a sum of the real tokens' logits to differentiate, each word with its own weight."""
    if logits.shape[:2] != mask.shape:    # it is refused for that
        return logits.sum()
    return (logits[mask.bool()] * torch.arange(logits.shape[-1]).cos()).sum()


def _other(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return another batch, without labels: the texts of this one from the last, and twice."""
    return {name: batch[name].flip(0).repeat(2, 1) for name in ("input_ids", "attention_mask")}


PROPERTIES = {"hidden": "every real token must see P; ",
              "padding_seen": "no token may see the padding; ",
              "wrong_end": "the logits must be those of the text's places; "}


def judge_front(case: dict, seen: dict) -> Verdict:
    if "made" in seen:
        return Verdict(False, f"SoftPrompt(model, start) made {named(seen['made'])}; expected a "
                              "torch.nn.Module that holds the model.")
    start, real = case["start"], case["attention_mask"].bool()
    if [*seen["trains"].values()] != [start.shape]:
        trains = [f"{name} {shape}" for name, shape in seen["trains"].items()] or ["nothing"]
        return Verdict(False, f"What trains: {', '.join(trains[:3])}{', …' * (len(trains) > 3)}; "
                              f"expected one nn.Parameter of shape {tuple(start.shape)}.")
    if not close(seen["first"], start):
        return Verdict(False, "Before any training, " + difference("P", seen["first"], start))
    if seen["dtype"] != "torch.float32":
        return Verdict(False, f"The trained parameter is {seen['dtype']}; expected float32.")
    if not torch.equal(seen["start_after"], start):
        return rejected("start_shared", "When the prompt was trained, `start` changed with it.")
    if "out" in seen:
        logits, loss = map(named, seen["parts"])
        return rejected("no_return") if seen["out"] is None else Verdict(
            False, f"What forward gave, {named(seen['out'])}, has as .logits and .loss: {logits}, "
                   f"{loss}; expected two tensors.")
    logits, loss = seen["logits"], seen["loss"]
    with torch.enable_grad():
        right = run_front(SoftPrompt, case)
    told = f"{case['length']} vectors in front of {tuple(real.shape)} tokens, padded:"
    if logits.shape != right["logits"].shape:
        return Verdict(False, f"{told} {difference('logits', logits, right['logits'])}")
    if not close(logits[real], right["logits"][real]):
        first = difference("logits", logits[real][0], right["logits"][real][0])
        mistake = recognised(_usual(case), lambda value: close(logits[real], value[real]))
        told = (f"{told} {PROPERTIES.get(mistake, '')}at the first real token, {first}"
                if not close(logits[real][0], right["logits"][real][0])
                else "The first token's logits are right, and later ones are not.")
        return Verdict(False, told, mistake)
    if not close(loss, right["loss"]):
        told = "The loss must be that of the text's labels, and of nothing else: "
        return Verdict(False, told + difference("loss", loss, right["loss"]), recognised(
            _usual_losses(case), lambda value: close(loss, value)))
    if not close(seen["grad"], right["grad"]):
        return rejected("no_gradient", difference("After loss.backward(), the prompt's gradient",
                                                  seen["grad"], right["grad"]))
    found, bare, real = seen["bare"], right["bare"], _other(case)["attention_mask"].bool()
    if not isinstance(found, Tensor) or found.shape != bare.shape or not close(
            found[real], bare[real]):
        return Verdict(False, "Called again, in eval mode, with other texts and no labels, its "
                              "logits are not those of P and these texts.")
    if not close(seen["bare_grad"], right["bare_grad"]):
        return rejected("no_gradient", difference(
            "Called without labels, the gradient of its logits with respect to P",
            seen["bare_grad"], right["bare_grad"]))
    if not seen["intact"]:
        return Verdict(False, "The batch was written into: make new tensors.")
    return Verdict(True, "P stands in front, everyone sees it, and the text keeps its places.")


def _parts(case: dict) -> tuple[nn.Module, Tensor, Tensor]:
    """The model, what it reads, and the mask: P in front."""
    model = TinyLanguageModel(seed=case["seed"], scale=case["scale"])
    x = model.get_input_embeddings()(case["input_ids"])
    mask = nn.functional.pad(case["attention_mask"], (case["length"], 0), value=1)
    return model, torch.cat([case["P"].expand(len(x), -1, -1), x], 1), mask


def _usual(case: dict) -> dict[str, Tensor]:
    """Return the logits that the usual mistakes give, by name."""
    (model, both, mask), (length, seq) = _parts(case), (case["length"], case["labels"].shape[1])
    zeros = nn.functional.pad(case["attention_mask"], (length, 0))
    return {
        "hidden": model(inputs_embeds=both, attention_mask=zeros).logits[:, length:],
        "wrong_end": model(inputs_embeds=both, attention_mask=mask).logits[:, :seq],
        "padding_seen": model(inputs_embeds=both).logits[:, length:]}


def _usual_losses(case: dict) -> dict[str, Tensor | tuple[Tensor, ...]]:
    """Return the losses that the usual mistakes give, by name."""
    (model, both, mask), labels, length = _parts(case), case["labels"], case["length"]
    pad, later = nn.functional.pad, labels.index_fill(1, torch.tensor([0]), -100)
    wrong = {"labels_behind": pad(labels, (0, length), value=-100),
             "first_unasked": pad(later, (length, 0), value=-100)}
    found = {name: model(inputs_embeds=both, attention_mask=mask, labels=each).loss
             for name, each in wrong.items()}
    return found | {"predicted": tuple(
        model(inputs_embeds=both, attention_mask=mask, labels=pad(labels, (length, 0), value=word)
              ).loss for word in range(WORDS))}


FRONT_MISTAKES = {
    "start_shared": "The parameter and `start` are one piece of memory. Which method of a tensor "
                    "makes a copy?",
    "wrong_end": "The logits of as many places were kept, counted from P on: those of the text "
                 "stand behind it.",
    "padding_seen": "The text's padding is seen. What became of attention_mask?",
    "hidden": "The text does not see the prompt: a 0 in the mask hides a position, and P's entries "
              "are 0.",
    "predicted": "The vectors of P are predicted as if they were text: their labels are a word. "
                 "Which label does the loss leave out?",
    "first_unasked": "The first word of a text has a label here. What predicts it is the last "
                     "vector of P: its label stays.",
    "labels_behind": "The labels were filled up at their end: each is now `length` places too "
                     "early.",
    "no_gradient": "Between P and the logits or the loss the graph is cut: .data, .detach() and "
                   "no_grad do that.",
}

FRONT = Exercise(
    id="prompt.front", names=("SoftPrompt",), points=3, minutes=15, difficulty=2,
    equivalents=("peft_teach.methods.prompt:SoftPrompt",),
    cases=front_cases, run=run_front, judge=judge_front, mistakes=FRONT_MISTAKES,
    returns=REPORT,
    hints=("Four things have one entry for each place of the input: the embedded words, the mask, "
           "the labels, the logits. Which of them must become longer, and which shorter again?",
           "The model takes inputs_embeds in the place of input_ids, and the module that "
           "get_input_embeddings() gives makes them. .expand gives every sentence the same P.",
           "At which end do P's entries stand, in the mask and in the labels, and with which "
           "value? Write down the lengths of all four for 2 vectors and 5 tokens."))


# ── prompt.holds ─────────────────────────────────────────────────────────────────────────────


LAW = Law(mutants.RIGHT, mutants.BROKEN,
          call=lambda test, version: test(version, TinyLanguageModel))

HOLDS = Exercise(
    id="prompt.holds", names=("places_kept",), points=3, minutes=16, difficulty=3,
    **LAW.fields,
    hints=("You need a case in which you know the right answer without any soft prompt. What if "
           "the vectors of P were those of words?",
           "Then the frozen model itself says what is right, asked with these words in front of "
           "the text. Which of its logits, and which loss?",
           "Several places must be told apart: a text with padding, labels at some tokens only, "
           "and a prompt that is not as long as the text. Compare where the mask is 1."),
    arguments=lambda pieces: (pieces["SoftPrompt"], TinyLanguageModel))
