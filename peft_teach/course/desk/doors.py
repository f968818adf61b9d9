"""Three doors into one method: the reader's layer, the library's, and Hugging Face peft's.

    pt.doors("lora", lambda model: inject(model, ("query", "value"), MyLoRA),
             pt.lora.Config(rank=8, alpha=16))

All three stand on the same base and hold the same numbers, the reader's. They read the same
sentences, and take turns at real training steps. Beneath stands the library's own file, folded.
"""

import contextlib
import copy
import html
import importlib
import importlib.util
import inspect
import logging
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ... import data, export, models
from ...adapter import Adapter, adapters, full_name
from ...batch import check, ready
from ...contents import added_parameters, head_parameters
from ...core import undo
from ...errors import BadConfig, BadData, NoAdapter, NotExportable, unknown
from ...methods import METHODS
from ...notes import is_adapted, refuse_adapted
from .budget import budget

if TYPE_CHECKING:
    import pandas

YOURS, LIBRARY, PEFT = "yours", "the library's", "peft's"
SENTENCES, ROUNDS, SECONDS = 8, 12, 8    # of a batch; of a race: at least 3, while there is time
SMOKE = 2                                # sentences, and rounds
NOISE = 0.05    # added to each number of a fresh layer: most start at a base's own outputs
PEFTS = ("lora_", "ia3_l", "prompt_encoder", "modules_to_save")    # in names of what peft trains
# What the names in peft's own model say more than its file, in this order, and what the file says.
IN_A_MODEL = {".default": "", "lora_magnitude_vector.weight": "lora_magnitude_vector",
              "prompt_encoder.embedding.weight": "prompt_embeddings"}
LR = 1e-4       # of the steps that are timed: nobody keeps what they learn
COLUMNS = {"outputs differ by": "{:.1e}", "gradients differ by": "{:.1e}",
           "step, times yours": "{:.2f}"}
OFF = "–"
_PAGE = ("max-height: 40em; overflow: auto; padding: 8px 14px; line-height: 1.35; "
         "border: 1px solid #7c7c7c; color: #1f2328; background: #ffffff")    # in a dark theme, too


@dataclass(frozen=True)
class Doors:
    """What stands behind the doors. A notebook shows it: a table, remarks, a page.

    `table` has a row for each door. Its numbers are the largest distances from the reader's
    logits and gradients, and the time of a training step as a multiple of the reader's; nan where
    there is none, and `remarks` say why. `file` is the library's page of the method.
    """

    table: "pandas.DataFrame"
    remarks: tuple[str, ...]
    file: Path

    def shown(self) -> "pandas.DataFrame":
        """Return the table as text."""
        return self.table.assign(**{name: [
            OFF if math.isnan(value) else COLUMNS[name].format(value) if value else "0"
            for value in self.table[name]] for name in self.table.columns})

    def _title(self) -> str:
        lines = len(self.file.read_text("utf-8").splitlines())
        return f"The library's page: peft_teach/methods/{self.file.name}, {lines} lines"

    def _repr_html_(self) -> str:
        remarks = "".join(f"<p>{html.escape(each)}</p>" for each in self.remarks)
        return (f"{self.shown().to_html()}{remarks}<details><summary>{html.escape(self._title())}"
                f'</summary><div style="{_PAGE}">{_coloured(self.file)}</div></details>')

    def __repr__(self) -> str:
        return "\n".join([self.shown().to_string(), *self.remarks, self._title()])


def doors(method: str, yours: Callable[[nn.Module], nn.Module] | nn.Module, config: Any = None, *,
          names: dict[str, str] | None = None, batch: dict[str, Tensor] | None = None) -> Doors:
    """Compare your layer of a method with the library's and with Hugging Face peft's.

    `yours` puts your layer on a fresh MiniLM with two labels and returns that; its numbers are
    then drawn near where they start. Or it is a model that you trained: then it is copied, and its
    numbers are taken. `config` are the library's settings of the same layer, None its defaults.
    Where your parameters have other names than the library's, `names` says so, as in
    `{"down": "A", "up": "B"}`. `batch` is what the model reads, with labels; without it, reviews
    as MiniLM reads them. Nothing of what is given changes, nor do the random generators.

    Raises `UnknownName` for an unknown method, `BadConfig` for what puts no layer on a
    model, for settings of another method, or for full fine-tuning, which has no layer; `NoAdapter`
    for a model without one; `BadData` for a model that does not read MiniLM's tokens, without a
    `batch`. Where the doors differ in something else, the row stays empty there and a remark says
    why.
    """
    module = _method(method)
    _check(method, yours, config, names)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain, mine, tokenizer = _yours(yours)
        batch = _sentences(mine, tokenizer) if batch is None else batch
        check(mine, batch)
        library = module.inject(copy.deepcopy(plain), config)
        table, remarks = _compared(plain.eval(), mine.eval(), library.eval(), names or {}, batch)
        return Doors(table, tuple(remarks), Path(inspect.getfile(module)))


# ── what was given ───────────────────────────────────────────────────────────────────────────


def _method(name: str):
    """Return the module of a method that puts layers on a model."""
    if name == "full":
        raise BadConfig("Full fine-tuning puts no layer on a model: there is no door to open.",
                        expected="one of " + ", ".join(n for n in METHODS if n != "full"))
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def _check(method: str, yours, config, names) -> None:
    if isinstance(yours, type) or not callable(yours):
        kind = f"the class {yours.__name__}" if isinstance(yours, type) else (
            f"a {type(yours).__name__}")
        raise BadConfig(f"What puts your layer on a model is {kind}.",
                        expected="a function of a fresh model that returns it with your layer on "
                                 "it, or a model that has your layer",
                        hint='lambda model: pt.attach(model, ("query", "value"), Mine)')
    kind = METHODS[method].Config
    if config is not None and not isinstance(config, kind):
        raise BadConfig(f"The settings are {config!r:.80}.",
                        expected=f"a pt.{method}.Config, or None")
    if names is not None and not (isinstance(names, dict)
                                  and all(isinstance(n, str) for n in (*names, *names.values()))):
        raise BadConfig(f"names is {names!r:.80}.",
                        expected="your names to the library's, as in {'down': 'A'}")


def _yours(yours) -> tuple[nn.Module, nn.Module, Any]:
    """Return a plain model, and one with the reader's layer, which may be changed; a tokenizer."""
    if isinstance(yours, nn.Module):
        _need_adapters(yours)
        return undo(copy.deepcopy(yours)), copy.deepcopy(yours), None
    plain, tokenizer = models.load("minilm", labels=2, device=models.best_device())
    mine = yours(copy.deepcopy(plain))
    if not isinstance(mine, nn.Module):
        raise BadConfig(f"Your function returned a {type(mine).__name__}.",
                        expected="the model with your layer on it", hint="return the model")
    mine = mine.to(models.best_device())
    with torch.no_grad():
        for adapter in _need_adapters(mine).values():
            for p in adapter.own_parameters().values():
                p.add_(NOISE * torch.randn_like(p))
        for name, p in head_parameters(mine).items():    # yours may be another one
            head_parameters(plain)[name].copy_(p)
    return plain, mine, tokenizer


def _need_adapters(model: nn.Module) -> dict[str, Adapter]:
    found = adapters(model) if is_adapted(model) else {}
    if not found:
        refuse_adapted(model)    # peft's own, or what is not a whole model
        raise NoAdapter("There is no pt.Adapter on your model.",
                        expected="a layer that inherits from pt.Adapter",
                        hint='pt.attach(model, ("query", "value"), Mine) puts it on')
    return found


def _sentences(model: nn.Module, tokenizer) -> dict[str, Tensor]:
    """Return film reviews as MiniLM reads them."""
    tokenizer = tokenizer or models.load("minilm")[1]
    words = models.config_of(model).vocab_size
    if words != len(tokenizer) or not models.head(model):
        raise BadData("This model does not classify MiniLM's tokens.",
                      expected="batch=, a dict of tensors that it reads, with labels")
    size = SENTENCES if budget().claims else SMOKE
    batch = data.batches(data.load("movies").train[:size], tokenizer, size)[0]
    if models.config_of(model).num_labels == 1:    # ratings
        batch["labels"] = batch["labels"].float()
    return batch


# ── what is found ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Seen:
    """What a model makes of a batch: its logits, and its gradients by the library's names."""

    logits: Tensor
    gradients: dict[str, Tensor]


def _compared(plain: nn.Module, mine: nn.Module, library: nn.Module, names: dict[str, str],
              batch: dict[str, Tensor]) -> tuple["pandas.DataFrame", list[str]]:
    """Return the table, with nan where nothing was compared, and the remarks that say why."""
    import pandas

    yours = _seen(mine, batch, lambda found: {renamed: found[name] for name, renamed in
                                              own_names(mine, names) if name in found})
    moved = distance(yours.logits, outputs(plain, batch))
    largest = max((g.abs().max().item() for g in yours.gradients.values()), default=0.0)
    remarks = [f"{len(batch['labels'])} texts. Your layer moves the logits by up to {moved:.2g}; "
               f"the largest entry of its gradients is {largest:.2g}."
               + ("" if moved else " While it moves nothing, equal outputs say little.")]
    why = copied(mine, library, names)
    theirs, said = _peft(plain, library, batch)
    remarks += ([f"Only time is compared: {why}"] if why else []) + said
    runners = {YOURS: mine, LIBRARY: library} | ({PEFT: theirs} if theirs is not None else {})
    rows = {YOURS: {}, LIBRARY: {}, PEFT: {}}
    if not why:
        rows[LIBRARY] = differences(yours, _seen(library, batch))
    if not why and theirs is not None:
        peft = _seen(theirs, batch, lambda found: _by_our_names(library, found))
        rows[PEFT] = differences(yours, peft)
        if not peft.gradients:
            remarks.append("peft trains other numbers here than yours, so their gradients are not "
                           "compared.")
    equal = [name for name, row in rows.items() if row and all(x < 1e-5 for x in row.values())]
    if equal and moved:
        remarks.insert(1, f"Your layer computes the same as {' and '.join(equal)}, within 1e-5.")
    # The steps come last: they change the numbers.
    seconds = race({name: stepper(model, batch) for name, model in runners.items()})
    for name, times in seconds.items():
        rows[name]["step, times yours"] = statistics.median(
            t / own for t, own in zip(times, seconds[YOURS]))
    remarks.append(f"Each makes a training step, in {len(seconds[YOURS])} turns; its time over "
                   "yours is the median.")
    table = pandas.DataFrame.from_dict(rows, "index", dtype=float).reindex(columns=[*COLUMNS])
    return table, remarks


def _seen(model: nn.Module, batch: dict[str, Tensor],
          named: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict) -> Seen:
    return Seen(outputs(model, batch), named(slopes(model, batch)))


def _peft(plain: nn.Module, library: nn.Module, batch: dict[str, Tensor]
          ) -> tuple[nn.Module | None, list[str]]:
    """Return peft's model with the library's numbers, or None, and what is to be said of it."""
    if importlib.util.find_spec("peft") is None:
        return None, ["peft is not installed, so its row is empty. "
                      "pip install 'peft-teach[lab]' brings it."]
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)    # which peft imports
    base, said = copy.deepcopy(plain), []
    try:
        if models.quantized(library):
            base = models.to_hf(undo(copy.deepcopy(library)))
            said = ["peft's base holds the library's 4-bit weights as plain numbers, so its steps "
                    "unpack nothing."]
        with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as folder:
            peft = importlib.import_module("peft")
            export.to_peft(library, folder)
            theirs = peft.PeftModel.from_pretrained(base, folder).eval()
            for name, p in theirs.named_parameters():    # it loads a prompt or prefix frozen
                p.requires_grad_(any(part in name for part in PEFTS))
            outputs(theirs, batch)
    except NotExportable as error:
        return None, [*said, f"peft's row is empty. {error.found}"]
    except Exception as error:    # another version, of peft or transformers, may raise anything
        why = f": {str(error).splitlines()[0]:.200}" if str(error) else "."
        return None, [*said, f"peft's row is empty: it raised {type(error).__name__}{why}"]
    return theirs, [*said, f"peft {peft.__version__}, with the library's numbers."]


def _by_our_names(library: nn.Module, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return peft's gradients by the library's names; none where it trains other numbers.

    Of a prefix with projection, it trains K and V.
    """
    found = {}
    for more, filed in IN_A_MODEL.items():
        theirs = {name.replace(more, filed): tensor for name, tensor in theirs.items()}
    with contextlib.suppress(KeyError, NotExportable):
        found = export.by_our_names(library, theirs)
    return found if {*found} == {*added_parameters(library)} else {}


def own_names(model: nn.Module, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the full name of each of the adapters' own parameters, and what another calls it."""
    for module, adapter in adapters(model).items():
        for own in adapter.own_parameters():
            yield full_name(module, own), full_name(module, names.get(own, own))


def copied(mine: nn.Module, library: nn.Module, names: dict[str, str]) -> str | None:
    """Copy the numbers of one model's adapters into another's; or say why that fails."""
    ours = dict(own_names(mine, names))
    sources = {ours[name]: p for name, p in added_parameters(mine).items()}
    targets = added_parameters(library)
    if {*sources} != {*targets}:
        return _other_names(mine, library, {*sources} ^ {*targets})
    wrong = next((n for n, p in sources.items() if p.shape != targets[n].shape), None)
    if wrong:
        return (f"your {wrong} has the shape {tuple(sources[wrong].shape)}, the library's "
                f"{tuple(targets[wrong].shape)}. Give it your settings.")
    with torch.no_grad():
        for name, p in targets.items():
            p.copy_(sources[name])
    return None


def _other_names(mine: nn.Module, library: nn.Module, lone: set[str]) -> str:
    """Say in what the names of two models' adapters differ."""
    here, there = ({own for a in adapters(model).values() for own in a.own_parameters()}
                   for model in (mine, library))
    places, others = {*adapters(mine)}, {*adapters(library)}
    if places != others:
        return (f"yours stands on {len(places)} modules and the library's on {len(others)}; "
                f"{min(places ^ others)} has one of them only. Give it your settings.")
    return (f"your numbers are called {', '.join(sorted(here))}, and the library's "
            f"{', '.join(sorted(there))} ({len(lone)} without a partner). "
            "names={yours: the library's} pairs them.")


def differences(yours: Seen, other: Seen) -> dict[str, float]:
    """Return the largest distances of logits and of gradients; nan where a gradient is missing."""
    shared = {*yours.gradients} == {*other.gradients} and bool(yours.gradients)
    return {"outputs differ by": distance(yours.logits, other.logits),
            "gradients differ by": max(distance(g, other.gradients[name])
                                       for name, g in yours.gradients.items())
            if shared else math.nan}


def distance(one: Tensor, other: Tensor) -> float:
    """Return the largest distance of two entries; nan where the shapes differ."""
    return (one - other).abs().max().item() if one.shape == other.shape else math.nan


@torch.no_grad()
def outputs(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Return the logits of a batch; of a text, those of its own tokens."""
    logits = model(**{k: v for k, v in ready(model, batch).items() if k != "labels"}).logits
    if logits.ndim == 3:    # peft returns those of a prompt, too
        mask = batch["attention_mask"].bool().to(logits.device)
        logits = logits[:, -mask.shape[1]:][mask]
    return logits.float().cpu()


def slopes(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of each parameter that trains, by its plain name; without dropout."""
    model.eval().zero_grad(set_to_none=True)
    model(**ready(model, batch)).loss.backward()
    named = dict(model.named_parameters())
    if is_adapted(model):
        named = added_parameters(model)
    found = {n: p.grad.detach().float().cpu() for n, p in named.items() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


# ── the time of a step ───────────────────────────────────────────────────────────────────────


def stepper(model: nn.Module, batch: dict[str, Tensor]) -> Callable[[], None]:
    """Return a function that makes one training step."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR)
    inputs = ready(model, batch)

    def step() -> None:
        model.train()
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()    # on a GPU this waits

    return step


def race(steps: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Let steps take turns, in reverse order every second round; return their seconds by name."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    rounds, least = (ROUNDS, 3) if budget().claims else (SMOKE, SMOKE)
    begun = time.perf_counter()
    for turn in range(-1, rounds):    # the first warms up
        if turn >= least and time.perf_counter() - begun > SECONDS:
            break
        for name in list(steps) if turn % 2 else reversed(steps):
            start = time.perf_counter()
            with warnings.catch_warnings(action="ignore"):    # peft's, about transformers
                steps[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


# ── the page ─────────────────────────────────────────────────────────────────────────────────


def _coloured(file: Path) -> str:
    """Return a file of Python as html, with its colours in it: a notebook may drop style sheets."""
    text = file.read_text("utf-8")
    try:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer
    except ImportError:    # it comes with IPython
        return f"<pre>{html.escape(text)}</pre>"
    return highlight(text, PythonLexer(), HtmlFormatter(noclasses=True, nobackground=True))
