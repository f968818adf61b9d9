"""What is handed in beside the notebook: the adapter's folder, and the page.

    rows(folder)             is it small enough, of this base, what peft reads, and lawful?
    gain(folder, sentences)  how many more sentences than the head on the mean does it get right?

A folder comes from a stranger. Its size and its method are looked at before anything is built,
`pt.load` unpickles nothing and builds nothing that its tensors do not fill, and whatever fails is a
reason, not a crash. The grader looks at it in a process confined like those of answers.
"""

import copy
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .... import contents, core, data, export, models, notes, reading, store
from ....adapter import adapters
from ....errors import NotMergeable, PeftTeachError
from ....methods import dora, ia3, lora
from ...checks.exercise import Measured, Part
from ...verdicts import interval

LESSON, DOMAIN, MAX_TOKENS = "14", "news", 48
LIMIT = 40_000                         # bytes of the tensors in adapter.safetensors, head and all
WHOLE = LIMIT + 60_000                 # of the file: what describes it, and the base, has 25,000
HEAD = Path(__file__).with_name("head.safetensors")    # over the mean of the base's tokens
METHODS = {"lora": lora, "dora": dora, "ia3": ia3}     # around layers, and known to peft
CLOSE = 1e-4                           # of the largest logit
SIGNS = 64                             # of what a layer adds, by which copies are recognised


class Row(NamedTuple):
    """One property of a folder: whether it holds, and what was found."""

    property: str
    holds: bool
    found: str


# ── the folder ───────────────────────────────────────────────────────────────────────────────


def rows(folder: Path | str) -> list[Row]:
    """Look at a folder; the first row that does not hold is the last."""
    file = Path(folder) / store.TENSORS
    if not file.is_file():
        return [Row("a file", False, f"There is no {store.TENSORS}: pt.save(model, folder) "
                                     "writes it.")]
    answers = [_size(file)]
    for name, ask in QUESTIONS.items() if answers[0].holds else ():
        try:
            if not answers[-1].holds:
                break
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                answers.append(Row(name, *ask(Path(folder))))
        except Exception as error:    # a stranger's file may raise any
            what = getattr(error, "found", f"{type(error).__name__}: {error}")
            what = " ".join(str(what).replace(str(folder), "the folder").split())[:300]
            answers.append(Row(name, False, what.rstrip(".")))
    return answers


def _size(file: Path) -> Row:
    """Say how many bytes the tensors have: what follows the description in the file."""
    whole = file.stat().st_size
    with file.open("rb") as opened:
        described = int.from_bytes(opened.read(8), "little")
    held = max(whole - 8 - described, 0)    # a damaged file may claim anything; `_method` says so
    return Row("size", held <= LIMIT and whole <= WHOLE,
               f"{held:,} bytes of tensors, of {LIMIT:,}; with its description the file has "
               f"{whole:,}, of {WHOLE:,}")


def adapted(folder: Path | str) -> nn.Module:
    """Return a fresh base with the adapter of a folder, of a method that the brief allows."""
    file = reading.read(folder)
    file.module()    # a name of the library's
    if file.method not in METHODS:
        raise PeftTeachError(f"method {file.method}, which the brief does not know: expected one "
                             f"of {', '.join(METHODS)}")
    return store.load(base(), folder)


def _method(folder: Path) -> tuple[bool, str]:
    """Load it, and say what it is."""
    model = adapted(folder)
    numbers = sum(p.numel() for p in contents.adapter_parameters(model).values())
    return True, f"{notes.need_note(model).method}, {numbers:,} numbers and the head"


def _alive(folder: Path) -> tuple[bool, str]:
    """Does it move the hidden states, and are they the base's without it?"""
    model = adapted(folder)
    y, plain = _hidden(model), _hidden(base())
    with core.disabled(model):
        again = _hidden(model)
    moved = (y - plain).abs().max() / plain.abs().max()
    return (bool(moved > 1e-6 and torch.equal(again, plain)),
            f"it moves hidden states by {moved:.1%}; without it they are the base's"
            f"{'' if torch.equal(again, plain) else ' no longer'}")


def _merges(folder: Path) -> tuple[bool, str]:
    """Does it answer alike when it is merged, where its method can be?"""
    model = adapted(folder)
    y = logits(model)
    try:
        return same(logits(core.merge(model)), y)
    except NotMergeable as error:
        return True, error.found


def _in_peft(folder: Path) -> tuple[bool, str]:
    """Does it answer alike in peft? Without peft, when it is exported and read back."""
    model = adapted(folder)
    y = logits(model)
    with tempfile.TemporaryDirectory() as written:
        export.to_peft(model, written)
        if not importlib.util.find_spec("peft"):    # then its own reader says whether it is whole
            holds, found = same(logits(export.from_peft(base(), written)), y)
            return holds, f"exported, and read back as peft is not installed: {found}"
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)    # it misses kernels, aloud
        import peft

        return same(logits(peft.PeftModel.from_pretrained(base(), written).eval()), y)


QUESTIONS = {"loads on MiniLM": _method, "the base, with it and without": _alive,
             "merged": _merges, "in peft": _in_peft}


def same(found: Tensor, right: Tensor) -> tuple[bool, str]:
    """Compare logits, relative to the largest."""
    off = ((found - right).abs().max() / right.abs().max()).item()
    return off <= CLOSE, f"logits off by {off:.0e} of the largest"


# ── the gain ─────────────────────────────────────────────────────────────────────────────────


def gain(folder: Path | str, sentences: Sequence[tuple[str, int]] = ()) -> Measured:
    """Compare the adapter with the head on the mean on the same sentences, one by one.

    By default on the domain's test sentences.
    """
    return _gain(examine_gain(Path(folder), sentences), sentences)


def examine_gain(folder: Path, sentences: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Return which sentences the adapter gets right, (sentences,), and the bytes of its file."""
    return {"right": answered(folder, _given(sentences)),
            "size_bytes": (folder / store.TENSORS).stat().st_size}


def _given(sentences: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
    return tuple(sentences) or data.load(DOMAIN).test


def _gain(found: dict[str, Any], sentences: Sequence[tuple[str, int]]) -> Measured:
    """Return the gain with its 95 % interval on new sentences: another seed may end elsewhere."""
    right, alone = found["right"], right_alone(_given(sentences))
    return Measured(found["size_bytes"], (right - alone).mean().item(),
                    *interval(right[None], alone[None]), right.mean().item(), len(right))


def answered(folder: Path | str, sentences: Sequence[tuple[str, int]]) -> Tensor:
    """Return 1 for each sentence that the adapter gets right, else 0: (sentences,), float64."""
    file = Path(folder) / store.TENSORS
    if not file.is_file() or not _size(file).holds:
        raise PeftTeachError(rows(folder)[0].found)
    return _answered(Path(folder), file.read_bytes(), tuple(sentences))


@lru_cache(maxsize=8)
def _answered(folder: Path, file: bytes, sentences: tuple) -> Tensor:
    return _right(adapted(folder), sentences)


@cache
def right_alone(sentences: tuple) -> Tensor:
    """Return 1 where the head on the mean is right, else 0: (sentences,), float64."""
    model = copy.deepcopy(_loaded("mean")[0])
    model.load_state_dict(load_file(HEAD), strict=False)
    return _right(model, sentences)


def _right(model: nn.Module, sentences: Sequence[tuple[str, int]]) -> Tensor:
    batches = data.batches(sentences, _loaded()[1], 64, MAX_TOKENS, shuffle=False)
    return torch.cat([_answers(model, batch).argmax(1) == batch["labels"]
                      for batch in batches]).double()


# ── the base ─────────────────────────────────────────────────────────────────────────────────

PROBE = ("The mayor has done what she promised.", "A tax that nobody asked for, and nobody wants.",
         "No.")


@cache
def _loaded(pool: str = "cls") -> tuple[nn.Module, Any]:
    return models.load("minilm", labels=2, pool=pool, device="cpu")


def base() -> nn.Module:
    """Return a fresh base, whose head gives the same at each call."""
    return copy.deepcopy(_loaded()[0])


@torch.no_grad()
def _answers(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(**{name: t for name, t in batch.items() if name != "labels"}).logits.float()


def _probe() -> dict[str, Tensor]:
    return _loaded()[1](list(PROBE), return_tensors="pt", padding=True)


def logits(model: nn.Module) -> Tensor:
    """Return what a classifier says of three sentences, (3, 2)."""
    return _answers(model, _probe())


def _hidden(model: nn.Module) -> Tensor:
    return model(**_probe(), output_hidden_states=True).hidden_states[-1]


# ── for the grader ───────────────────────────────────────────────────────────────────────────


def examine_file(folder: Path, sentences: Any = ()) -> list[Any]:
    """Return whether the folder is as the brief asks, and why or why not."""
    last = rows(folder)[-1]
    return [last.holds, f"{last.property}: {last.found}."]


def judge_file(found: list[Any], sentences: Any = ()) -> tuple[bool, str, None]:
    """Return what `examine_file` found, as a mark has it."""
    holds, why = found
    return holds is True, why, None


def judge_gain(found: dict[str, Any], sentences: Sequence[tuple[str, int]]
             ) -> tuple[bool, str, Measured]:
    """Return whether it is ahead, in words, and the numbers.

    The interval does not decide: with 300 sentences, half of it is as large as a good gain.
    """
    gained = _gain(found, sentences)
    return gained.gain > 0, str(gained), gained


def measure(folder: Path, sentences: Sequence[tuple[str, int]]) -> tuple[bool, str, Measured]:
    """Measure a folder of one's own: what the grader will say of it."""
    return judge_gain(examine_gain(folder, sentences), sentences)


def module_case(folder: Path) -> list[dict[str, Any]]:
    """Return a case for `capstone.adapter`: a layer of the base, and what the file makes of it."""
    layer = next(iter(adapters(adapted(folder)).values())).eval()
    x = torch.randn(4, layer.base.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return [contents.copies({"W": layer.base.weight, "b": layer.base.bias, "x": x,
                                 "y": layer(x)})
                | {"tensors": contents.copies(layer.own_parameters())}]


def likeness(folder: Path) -> list[str]:
    """Return "layer=signs" for each layer: 64 signs, in hex, of sums of what it adds to its weight.

    Each number goes into one of the sums, with a sign that is drawn. An angle of x degrees between
    what two files add turns about x of 180 signs; a scale turns none, nor does another A and B with
    the same product.
    """
    found = []
    for name, layer in adapters(adapted(folder)).items():
        with torch.no_grad():
            added = (layer.merged().weight - layer.base.weight).flatten()
        drawn = torch.Generator().manual_seed(0)
        of, sign = (torch.randint(most, added.shape, generator=drawn) for most in (SIGNS, 2))
        sums = torch.zeros(SIGNS).index_add_(0, of, added * (2 * sign - 1))
        bits = "".join("1" if each > 0 else "0" for each in sums.tolist())
        found.append(f"{name}={int(bits, 2):0{SIGNS // 4}x}")
    return found


def sample(folder: Path) -> None:
    """Write a folder that passes and has learned nothing."""
    model = lora.inject(base(), lora.Config(rank=1, alpha=8.0, targets=("value",)))
    with torch.no_grad():
        for p in contents.adapter_parameters(model).values():
            p.normal_(std=0.02, generator=torch.Generator().manual_seed(0))
    store.save(model, folder)


RUBRIC = (    # as the notebook and the guide have it
    ("What I predicted",
     "a number; a reason that could have been wrong; what the result says about this reason",
     "words in place of a number"),
    ("The pair that decided",
     "the same bytes, spent in two ways, both runs shown in the notebook; why this choice; the "
     "difference with its interval, over sentences and at least three seeds",
     "one run alone; a run that answers the same to every sentence"),
    ("My claim",
     "the gain with its interval; how many tries and seeds, and which sentences; nothing wider "
     "than that",
     "a choice made on test sentences"),
    ("When not to use it",
     "a kind of text or a user for whom it should fail; a reason; how one would notice",
     "what is true of every model"),
)
HANDED_IN = (
    Part("capstone.file", LESSON, 4, examine_file, judge_file, likeness=likeness, sample=sample,
         further=("capstone.adapter", module_case)),
    Part("capstone.gain", LESSON, 3, examine_gain, judge_gain),
    Part("capstone.page", LESSON, 12, rubric=RUBRIC, ends=("\n## Your name\n", "**Sources**")))
