"""Lesson 03: the soft prompt in front of a language model, and the law of its places."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ....core import Adapter
from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, close, difference, named, rejected, strange
from ...mutants import MISTAKES, false_positives, outcomes, score, survivors
from . import versions
from .tiny import Tiny, batch_of


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


class InFront(Adapter):
    """An embedding whose output has ten trained vectors more, in front: too many for the rest."""

    def __init__(self, base: nn.Module):
        super().__init__(base)
        self.P = nn.Parameter(torch.zeros(10, base.embedding_dim))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.base(ids)                                                # (batch, seq, d)
        return torch.cat([self.P.expand(len(x), -1, -1), x], 1)


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


BATCH = ("input_ids", "attention_mask", "labels")


def run_front(SoftPrompt, case: dict) -> dict[str, Any]:
    """Make the learner's prompt, fill it as if it were trained, and call it."""
    model, start = Tiny(seed=case["seed"], scale=case["scale"]), case["start"].clone()
    prompt = SoftPrompt(model, start)
    seen: dict[str, Any] = {"made": named(prompt), "is_module": isinstance(prompt, nn.Module)}
    if not seen["is_module"]:
        return seen
    seen["trains"] = {n: list(p.shape) for n, p in prompt.named_parameters() if p.requires_grad}
    if [*seen["trains"].values()] != [list(start.shape)]:
        return seen
    P, = (p for p in prompt.parameters() if p.requires_grad)
    seen["dtype"], seen["first"] = str(P.dtype), P.detach().clone()
    with torch.no_grad():
        P.copy_(case["P"])
    seen["start_after"] = start
    given = {name: case[name].clone() for name in BATCH}
    out = prompt(**given)
    seen["gave"] = named(out)
    logits, loss = getattr(out, "logits", None), getattr(out, "loss", None)
    if not isinstance(logits, Tensor) or not isinstance(loss, Tensor):
        return seen | {"logits": named(logits), "loss": named(loss)}
    seen |= {"logits": logits.detach().clone(), "loss": loss.detach().clone()}
    if loss.requires_grad and loss.dim() == 0:
        loss.backward()
    seen["grad"] = torch.zeros_like(P) if P.grad is None else P.grad.clone()
    other = _other(given)
    bare = getattr(prompt.eval()(**other), "logits", None)
    seen["bare"] = bare.detach().clone() if isinstance(bare, Tensor) else torch.zeros(())
    P.grad = None
    if isinstance(bare, Tensor) and bare.requires_grad:
        _weighted(bare, other["attention_mask"]).backward()
    seen["slope"] = torch.zeros_like(P) if P.grad is None else P.grad.clone()
    seen["intact"] = all(torch.equal(given[name], case[name]) and given[name]._version == 0
                         for name in BATCH)    # _version counts writings
    return seen


def _weighted(logits: Tensor, mask: Tensor) -> Tensor:
    """Of the real tokens' logits a sum to differentiate, in which each word has another weight."""
    if logits.shape[:2] != mask.shape:    # it is refused for that
        return logits.sum()
    return (logits[mask.bool()] * torch.arange(logits.shape[-1]).cos()).sum()


def _other(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return another batch, without labels: the texts of this one from the last, and twice."""
    return {name: batch[name].flip(0).repeat(2, 1) for name in ("input_ids", "attention_mask")}


def judge_front(case: dict, seen) -> Verdict:
    if odd := strange(seen, "made", "is_module", made=str, is_module=bool, trains=dict, dtype=str,
                      first=Tensor, start_after=Tensor, gave=str, logits=(Tensor, str),
                      loss=(Tensor, str), grad=Tensor, bare=Tensor, slope=Tensor,
                      intact=bool):
        return odd
    if not seen["is_module"]:
        return rejected("no_module", f"SoftPrompt(model, start) made {seen['made']}.")
    if "trains" not in seen:
        return UNREAD
    wanted = list(case["start"].shape)
    if [*seen["trains"].values()] != [wanted]:
        return _wrong_parameters(seen["trains"], wanted)
    if not seen.keys() >= {"dtype", "first", "start_after", "gave", "logits", "loss"}:
        return UNREAD
    if not close(seen["first"], case["start"]):
        return rejected("other_start", difference("The trained parameter", seen["first"],
                                                  case["start"]))
    if seen["dtype"] != "torch.float32":
        return Verdict(False, f"The trained parameter is {seen['dtype']}; expected float32.")
    if not torch.equal(seen["start_after"], case["start"]):
        return rejected("start_shared", "When the prompt was trained, `start` changed with it.")
    if seen["gave"] == "None":
        return rejected("no_return")
    logits, loss = seen["logits"], seen["loss"]
    if isinstance(logits, str) or isinstance(loss, str):
        what = ", ".join(x if isinstance(x, str) else "a tensor" for x in (logits, loss))
        return rejected("no_output", f"What forward gave, {seen['gave']}, has as .logits and "
                                     f".loss: {what}.")
    if not seen.keys() >= {"grad", "bare", "slope", "intact"}:
        return UNREAD
    right = _right(case)
    if logits.shape != right["logits"].shape:
        length = "length" if logits.shape[1:2] == (case["length"] + case["input_ids"].shape[1],) \
            else "shape"
        return rejected(length, f"A text of {tuple(case['input_ids'].shape)} tokens has logits "
                                f"{tuple(logits.shape)}; expected "
                                f"{tuple(right['logits'].shape)}.")
    real = case["attention_mask"].bool()
    told = (f"{case['length']} vectors in front of {tuple(real.shape)} tokens, padded: at the "
            "first real token, " + difference("logits", logits[real][0], right["logits"][real][0]))
    if not close(logits[real], right["logits"][real]):
        mistake = next((name for name, value in _usual(case).items()
                        if close(logits[real], value[real])), None)
        if close(logits[real][0], right["logits"][real][0]):
            told = "The first token's logits are right, and later ones are not."
        return Verdict(False, told, mistake)
    if not close(loss, right["loss"]):
        found = f"The loss is {loss.item():.4f}; expected {right['loss'].item():.4f}." if (
            loss.numel() == 1) else f"The loss is {named(loss)}; expected a number."
        mistake = next((name for name, value in _usual_losses(case).items()
                        if close(loss, value)), None)
        return Verdict(False, found, mistake)
    if not close(seen["grad"], right["grad"]):
        return rejected("no_gradient", difference("After loss.backward(), the prompt's gradient",
                                                  seen["grad"], right["grad"]))
    other = _other(case)
    prompt = SoftPrompt(Tiny(seed=case["seed"], scale=case["scale"]), case["P"])
    with torch.enable_grad():
        bare = prompt(**other).logits
        _weighted(bare, other["attention_mask"]).backward()
    real = other["attention_mask"].bool()
    if seen["bare"].shape != bare.shape or not close(seen["bare"][real], bare[real]):
        return rejected("second_call", "Called again, in eval mode, with other texts and no "
                                       "labels, its logits are not those of P and these texts.")
    if not close(seen["slope"], prompt.P.grad):
        return rejected("no_gradient", difference("Called without labels, the gradient of its "
                                                  "logits with respect to P", seen["slope"],
                                                  prompt.P.grad))
    if not seen["intact"]:
        return rejected("inputs_changed", "The batch was written into.")
    return Verdict(True, "P stands in front, everyone sees it, and the text keeps its places.")


UNREAD = Verdict(False, "The check's report is not whole.")


def _wrong_parameters(trains: dict, wanted: list[int]) -> Verdict:
    told = f"What trains: {', '.join(f'{n} {tuple(s)}' for n, s in trains.items()) or 'nothing'}."
    if not trains:
        return rejected("no_parameter", told)
    if wanted in trains.values():
        return rejected("base_trained", f"Besides the prompt, {len(trains) - 1} parameters of the "
                                        f"model train, {next(iter(trains))} among them."
                        if len(trains) > 1 else told)
    return rejected("prompt_shape", f"{told} Expected one parameter of shape {tuple(wanted)}.")


def _right(case: dict) -> dict[str, Tensor]:
    model = Tiny(seed=case["seed"], scale=case["scale"])
    prompt = SoftPrompt(model, case["P"])
    with torch.enable_grad():
        out = prompt(**{name: case[name] for name in BATCH})
        out.loss.backward()
    return {"logits": out.logits.detach(), "loss": out.loss.detach(), "grad": prompt.P.grad}


def _parts(case: dict) -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor]:
    model = Tiny(seed=case["seed"], scale=case["scale"])
    x = model.get_input_embeddings()(case["input_ids"]).detach()
    ones = torch.ones(len(x), case["length"], dtype=torch.long)
    return model, case["P"].expand(len(x), -1, -1), x, ones, case["attention_mask"]


def _usual(case: dict) -> dict[str, Tensor]:
    """Return the logits that the usual mistakes give, by name."""
    model, P, x, ones, mask = _parts(case)
    length, seq = case["length"], x.shape[1]
    both, seen = torch.cat([P, x], 1), torch.cat([ones, mask], 1)
    return {
        "wrong_end": model(inputs_embeds=both, attention_mask=seen).logits[:, :seq],
        "padding_seen": model(inputs_embeds=both).logits[:, length:],
        "prompt_unseen": model(inputs_embeds=both, attention_mask=torch.cat(
            [0 * ones, mask], 1)).logits[:, length:],
        "mask_behind": model(inputs_embeds=both, attention_mask=torch.cat(
            [mask, ones], 1)).logits[:, length:],
        "mask_guessed": model(inputs_embeds=both, attention_mask=torch.cat(
            [ones, (case["input_ids"] != 0).long()], 1)).logits[:, length:],
        "behind": model(inputs_embeds=x, attention_mask=mask).logits,
        "positions": model(inputs_embeds=both, attention_mask=seen, position_ids=torch.cat(
            [torch.arange(length), torch.arange(seq)])).logits[:, length:],
        "positions_of_mask": model(inputs_embeds=both, attention_mask=seen, position_ids=(
            seen.cumsum(1) - 1).clamp(min=0)).logits[:, length:],
    }


def _usual_losses(case: dict) -> dict[str, Tensor]:
    """Return the losses that the usual mistakes give, by name."""
    model, P, x, ones, mask = _parts(case)
    both, seen = torch.cat([P, x], 1), torch.cat([ones, mask], 1)

    def loss(labels: Tensor) -> Tensor:
        return model(inputs_embeds=both, attention_mask=seen, labels=labels).loss

    none, labels = torch.full_like(ones, -100), case["labels"]
    logits = model(inputs_embeds=both, attention_mask=seen).logits[:, case["length"]:]
    later = torch.cat([none[:, :1], labels[:, 1:]], 1)
    return {"labels_behind": loss(torch.cat([labels, none], 1)),
            "labels_guessed": loss(torch.cat([none, labels.masked_fill(labels == 0, -100)], 1)),
            "first_unasked": loss(torch.cat([none, later], 1)),
            "labels_zero": loss(torch.cat([0 * ones, labels], 1)),
            "labels_unshifted": nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=-100)}


FRONT_MISTAKES = {
    "no_return": NO_RETURN,
    "no_module": "SoftPrompt is a torch.nn.Module that holds the model.",
    "no_parameter": "An optimizer asks for parameters: what is to be trained is a "
                    "torch.nn.Parameter, set as an attribute of the module.",
    "base_trained": "The model stays frozen; P alone trains.",
    "prompt_shape": "One parameter holds all vectors, as `start` does: (length, d). Every sentence "
                    "of a batch reads the same ones.",
    "other_start": "Before any training P is `start`.",
    "start_shared": "The parameter and `start` are one piece of memory. Which method of a tensor "
                    "makes a copy?",
    "no_output": "What comes back is the model's own output, with its logits cut and its loss.",
    "misfit": "A mask or labels were not as long as what the model reads: P has places, too.",
    "length": "The logits at P's own places are still there.",
    "shape": "Each token of the text has its logits, and nothing else has.",
    "wrong_end": "The logits of as many places were kept, counted from P on: those of the text "
                 "stand behind it.",
    "padding_seen": "The text's padding is seen. What became of attention_mask?",
    "prompt_unseen": "No token looks at P: a place whose mask is 0 is hidden.",
    "mask_behind": "The ones for P stand at the end of the mask, and P stands at the front.",
    "mask_guessed": "Which tokens are padding was read off the ids, and here 0 is a word. Another "
                    "tokenizer pads with another token: attention_mask alone says which.",
    "behind": "These are the logits without any prompt. Is P read at all, and from where? What "
              "stands behind the text a causal model's words never see.",
    "positions": "The text begins at position 0 again, where P begins. Positions go on counting.",
    "positions_of_mask": "The positions were counted from the mask. The model counts places, "
                         "padding among them; without position_ids it does so by itself.",
    "first_unasked": "The first word of a text has a label here. What foretells it is the last "
                     "vector of P: its label stays.",
    "labels_guessed": "The label 0 was left out of the loss, and here 0 is a word. Only −100 says "
                      "that nothing is asked.",
    "labels_behind": "The labels were filled up at their end: each is now `length` places too "
                     "early.",
    "labels_zero": "At P's places a word is asked for. There is nothing to foretell there, and the "
                   "label that says so is −100.",
    "labels_unshifted": "Each label was compared with the logits of its own place. The label at a "
                        "place is for the logits before it.",
    "second_call": "Each call reads the texts that it is given, labels or not, with P in front: "
                   "after the training, too.",
    "no_gradient": "Between P and the logits or the loss the graph is cut: .data, .detach() and "
                   "no_grad do that.",
    "inputs_changed": "Whoever calls it may need the batch again: make new tensors.",
}

FRONT = Exercise(
    id="prompt.front", lesson="03", names=("SoftPrompt",), points=3, minutes=12, difficulty=2,
    reference="peft_teach.course.lessons.prompt.front:SoftPrompt",
    equivalents=("peft_teach.methods.prompt:SoftPrompt",),
    cases=front_cases, run=run_front, judge=judge_front, mistakes=FRONT_MISTAKES,
    hints=("Four things have one entry for each place of the input: the embedded words, the mask, "
           "the labels, the logits. Which of them must become longer, and which shorter again?",
           "The model takes inputs_embeds in the place of input_ids, and the module that "
           "get_input_embeddings() gives makes them. .expand gives every sentence the same P.",
           "At which end do P's entries stand, in the mask and in the labels, and with which "
           "value? Write down the lengths of all four for 2 vectors and 5 tokens."))


# ── prompt.holds ─────────────────────────────────────────────────────────────────────────────


def places_kept(prompt_class, fresh) -> None:
    """Object to a soft prompt that moves the text's places.

    `fresh()` returns a `Tiny`. Vectors that are words must do what these words would do as text.
    """
    model, words = fresh(), torch.tensor([3, 7, 1])
    ids = torch.tensor([[5, 2, 9, 4, 8], [0, 0, 6, 1, 12]])    # padding that words could look at
    mask = (ids > 0).long()
    labels = torch.where(torch.arange(5) >= 3, ids, -100)
    front = words.expand(2, -1)
    right = model(torch.cat([front, ids], 1), labels=torch.cat(
        [torch.full_like(front, -100), labels], 1), attention_mask=torch.cat(
            [torch.ones_like(front), mask], 1))
    start = model.get_input_embeddings()(words).detach()
    found = prompt_class(fresh(), start)(input_ids=ids, attention_mask=mask, labels=labels)
    real = mask.bool()
    assert found.logits.shape == (2, 5, 13), f"logits {tuple(found.logits.shape)}"
    assert torch.allclose(found.logits[real], right.logits[:, 3:][real], atol=1e-5), "logits"
    assert torch.allclose(found.loss, right.loss, atol=1e-5), "loss"


def run_holds(places_kept, case: dict) -> dict[str, Any]:
    """Put the test on trial, and note what it asks of a version."""
    asked = {"padding": False, "left": False, "labels": False}

    def note(prompt, given, named):
        given = dict(zip(("input_ids", "attention_mask", "labels"), given)) | named
        mask = given.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 2:
            asked["padding"] |= not bool(mask.bool().all())
            asked["left"] |= not bool(mask[:, 0].bool().all())
        asked["labels"] |= given.get("labels") is not None

    def put(version):
        def noted(model, start):
            prompt = version(model, start)
            prompt.register_forward_pre_hook(note, with_kwargs=True)
            return prompt

        return places_kept(noted, Tiny)

    return {"answers": outcomes(put, versions.RIGHT | versions.BROKEN, case["seed"]), **asked}


def judge_holds(case: dict, seen) -> Verdict:
    """Judge a test by its outcomes, and name what it forgot to give."""
    if odd := strange(seen, "answers", "padding", "left", "labels", answers=dict, padding=bool,
                      left=bool, labels=bool):
        return odd
    verdict = score(seen["answers"], versions.RIGHT, versions.BROKEN)
    if verdict.mistake == "let_through":
        passed = set(survivors(seen["answers"], versions.BROKEN))
        if versions.PADDING in passed and not seen["left"]:
            return rejected("padding_right" if seen["padding"] else "no_padding", verdict.message)
        if passed == {versions.EXCHANGED}:
            return rejected("some_unread", verdict.message)
        if passed <= versions.ONLY_IN_THE_LOSS:
            return rejected("loss_unread" if seen["labels"] else "no_labels", verdict.message)
    if false_positives(seen["answers"], versions.RIGHT) == [versions.COPY]:
        return rejected("pads_compared", verdict.message)
    return verdict


HOLDS_MISTAKES: Mapping[str, str] = MISTAKES | {
    "no_padding": "Every mask of yours was all ones, so none could be forgotten. Give it a text "
                  "with padding.",
    "padding_right": "Your padding stands behind the words, where a causal model never looks. On "
                     "the left it would be seen.",
    "no_labels": "No labels were given, so none could move.",
    "loss_unread": "Labels were given; what they lead to is the loss.",
    "some_unread": "Some tokens' logits alone were compared, or a sum of them: each real token has "
                   "a place that it may lose.",
    "pads_compared": "Logits at padding were compared. Nobody reads them, and a version may leave "
                     "there what it likes.",
}

HOLDS = Exercise(
    id="prompt.holds", lesson="03", names=("places_kept",), points=3, minutes=10, difficulty=3,
    reference="peft_teach.course.lessons.prompt.front:places_kept",
    cases=lambda seed: [{"seed": seed}], run=run_holds, judge=judge_holds, mistakes=HOLDS_MISTAKES,
    hints=("You need a case in which you know the right answer without any soft prompt. What if "
           "the vectors of P were those of words?",
           "Then the frozen model itself says what is right, asked with these words in front of "
           "the text. Which of its logits, and which loss?",
           "Several places must be told apart: a text with padding, labels at some tokens only, "
           "and a prompt that is not as long as the text. Compare where the mask is 1."),
    arguments=lambda pieces: (pieces["SoftPrompt"], Tiny))
