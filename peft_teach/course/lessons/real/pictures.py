"""Pictures of lesson 12: two files and their wires, a knob, and tables of what other libraries say.

Where a library is not installed, a table comes from the record and says so in its caption.
"""

import base64
import copy
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as ipw
import pandas
import safetensors.torch
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from .... import outlines
from ....adapter import adapters
from ....contents import head_state
from ....models import load as load_model
from ....plots import COLOURS, SERIES, figure, logarithmic, name_ends
from ....widgets import Explorer
from ... import records
from ...desk import my_peft_file, work
from .. import find
from . import peft_side, processes
from .files import FRONT, File, read
from .peft_side import gap, installed, knob, logits

AGREE = 1e-5      # of the largest output
YOURS = "as you wrote it"

# ── the files ────────────────────────────────────────────────────────────────────────────────


def from_afar(record: Mapping) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The file of a LoRA that peft trained on film reviews: tensors and settings."""
    afar = record["from_afar"]
    tensors = safetensors.torch.load(base64.b64decode(afar["file"]))
    return {name: t.float() for name, t in tensors.items()}, dict(afar["settings"])


def compare_afar(record: Mapping, model: nn.Module, tokenizer: Any) -> pandas.DataFrame:
    """Logits that peft gave for four sentences, recorded, and those of a model with its file."""
    afar = record["from_afar"]
    asked = tokenizer(afar["asked"], padding=True, return_tensors="pt").to(model.device)
    ours, theirs = logits(model.eval(), asked).cpu(), torch.tensor(afar["logits"])
    return pandas.concat({whose: pandas.DataFrame(
        found.numpy(), afar["asked"], ["negative", "positive"]) for whose, found in (
            ("peft, recorded", theirs), ("yours", ours))}, axis=1).round(4)


# ── wires ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Wires:
    """Where each of our tensors lies in a file, and whether its module answers as ours does."""

    file: str
    ours: tuple[str, ...]              # our names
    theirs: tuple[str, ...]            # the names in the file
    places: tuple[int | None, ...]     # for each of ours, its row in the file
    agree: tuple[bool, ...]            # for each of ours

    @property
    def told(self) -> str:
        """How many tensors are in the file, and how many of their modules answer alike."""
        there = sum(place is not None for place in self.places)
        return (f"{self.file}: {there} of {len(self.ours)} tensors are in the file, "
                f"{sum(self.agree)} answer as yours do")


def wires(ours: nn.Module, base: nn.Module, file: File, name: str = YOURS) -> Wires:
    """Follow each tensor into the file, and feed each module of both models the same numbers."""
    tensors, settings = file
    try:
        theirs = read(copy.deepcopy(base), tensors, settings).model
    except ValueError:    # peft refuses it, too
        theirs = base
    own = {f"{module}.{key}": (p.detach(), module) for module, layer in adapters(ours).items()
           for key, p in layer.own_parameters().items()}
    own |= {key: (p.detach(), key.rpartition(".")[0]) for key, p in head_state(ours).items()}
    own, rows, places, agree = dict(sorted(own.items())), sorted(tensors), [], {}
    for p, module in own.values():
        places.append(next((i for i, row in enumerate(rows) if any(
            each.shape == p.shape and torch.equal(each, p)
            for each in (tensors[row], tensors[row].t()))), None))
        if module not in agree:
            a, b = ours.get_submodule(module), theirs.get_submodule(module)
            x = torch.randn(8, getattr(a, "base", a).in_features,
                            generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                agree[module] = gap(a(x), b(x)) < AGREE
    return Wires(name, tuple(own), tuple(rows), tuple(places),
                 tuple(agree[module] for _, module in own.values()))


def draw_wires(found: Wires) -> Figure:
    """Draw both files, a name a row, and a wire for each tensor that is in both."""
    rows = max(len(found.ours), len(found.theirs))
    made, ax = figure(9.2, 1.1 + 0.19 * rows)
    front = re.match(r"\D*", found.ours[0])[0]
    for head, names, x, side in ((f"yours: {front} …", found.ours, -0.02, "right"),
                                 (f"file: {FRONT}{front} …", found.theirs, 1.02, "left")):
        for y, name in enumerate((head, *_column(names)), -1):    # axes leave room for names
            ax.text(x, y, name, ha=side, va="center", in_layout=False, fontsize=11)
    for y, (place, agrees) in enumerate(zip(found.places, found.agree)):
        if place is None:
            ax.plot([0, 0.3], [y, y], ":", color=COLOURS["rest"], lw=2)
        else:
            colour, dash = ("yours", "-") if agrees else ("lora", "--")
            ax.plot([0, 1], [y, place], dash, lw=2, color=COLOURS[colour])
    ax.set(xlim=(-1.05, 2.45), ylim=(rows - 0.3, -1.7))
    ax.set_axis_off()
    made.suptitle(found.told, fontsize=12)
    made.set_label(f"{found.told}.")
    return made


def _column(names: Sequence[str]) -> list[str]:
    """Names without their common beginning, middle and end, and no module twice."""
    shown, before = [], None
    for name in names:
        name = re.sub(r"(lora\w+)\.weight$", r"\1", name.removeprefix(FRONT))
        name = re.sub(r"^\D*(\d+)\..*\.(\w+\.\w+)$", r"\1 … \2", name)
        module, _, last = name.rpartition(".")
        shown.append(f".{last}" if module == before else f"{module}.{last}")
        before = module
    return shown


def explore_wires(ours: nn.Module, base: nn.Module, file: File) -> Explorer:
    """The reader's file and six false ones, each with its wires."""
    ours, base = (copy.deepcopy(each).cpu().eval() for each in (ours, base))
    files = {YOURS: file} | peft_side.false_files(*file)
    choice = ipw.Dropdown(options=[*files], description="file")
    return Explorer(
        {"name": choice}, functools.cache(lambda name: wires(ours, base, files[name], name)),
        draw_wires,
        lambda seen: "Solid: the module gives what yours gives. Dashed: it does not. Dotted: the "
                     "tensor is nowhere in the file.")


# ── what peft says ───────────────────────────────────────────────────────────────────────────


def complaints(record: Mapping, base: nn.Module, ours: nn.Module, file: File,
               batch: Mapping[str, Tensor]) -> pandas.DataFrame:
    """What peft says of the reader's file and of six false ones; recorded, where it is missing."""
    found = peft_side.complaints(base, ours, file, batch) if installed() else pandas.DataFrame(
        record["complaints"]).set_index("file")
    return found.assign(off=found.off.map("{:.0e}".format, na_action="ignore")).rename(
        columns={"off": "logits differ by, of the largest",
                 "peft": "peft" if installed() else "peft (recorded)"}).fillna("–")


def suspects(base: nn.Module, ours: nn.Module, file: File, batch: Mapping[str, Tensor]
             ) -> dict[str, Callable[[float], Tensor]]:
    """Three false files as peft loads them, each a function of f; without peft, by its rules."""
    found, files = {}, peft_side.false_files(*file)
    for name, fault in zip(("anna.safetensors", "ben.safetensors", "carl.safetensors"),
                           ("a false scale", "the head left out", "A and B exchanged")):
        model = peft_side.load(base, *files[fault])[0] if installed() else read(
            copy.deepcopy(base), *files[fault]).model.eval()
        found[name] = knob(model, batch)
    return found


def draw_knob(ours: Callable, theirs: Mapping[str, Callable]) -> Figure:
    """Draw how far each suspect, as loaded, is from ours at each turn of our knob."""
    made, ax = figure(8.4, 3.6)
    turns = torch.linspace(0, 3, 31).tolist()
    answers, told, reached, ends = [ours(f) for f in turns], [], [], {}
    for (name, other), (colour, dash, _) in zip(theirs.items(), SERIES):
        right = other(1.0)
        off = [max(gap(y, right), 1e-7) for y in answers]
        ax.plot(turns, off, dash, color=colour, lw=2.2)
        least, best = min(zip(off, turns))
        told.append(f"{name}: nearest at f = {best:.1f}, {least:.0e} apart")
        reached += [f"{name} at f = {best:.1f}"] * (least < AGREE)
        ends[name.partition(".")[0]] = off[-1], colour
    logarithmic(ax, "y")
    ax.axhspan(1e-7, AGREE, color=COLOURS["band"], lw=0, zorder=0)
    ax.text(0.05, 1e-6, "alike", va="center", fontsize=11)
    ax.set(xlabel="f: your update is multiplied by this", ylabel="distance of the logits",
           xlim=(0, 3), ylim=(1e-7, None), yticks=(1, 1e-2, 1e-4),
           title=f"reached: {', '.join(reached) or 'none'}")
    name_ends(ax, ends)
    made.set_label("; ".join(told) + ".")
    return made


def built() -> dict[str, list | None]:
    """The reader's answers for each method that peft has; None where one of them is missing.

    Where no reader works, as in builds and tests, they are the course's.
    """
    own, found = my_peft_file.read().own, {}
    for method, ids in peft_side.PARTS.items():
        parts = [own(e) if work.folder() else e.one_by_one(e.resolve()) for e in map(find, ids)]
        found[method] = None if None in parts else [part for part, in parts]
    return found


def beside_peft(record: Mapping, method: str, parts: Sequence[Any] | None, base: nn.Module,
                inject: Callable, batch: Mapping[str, Tensor]) -> dict[str, str]:
    """A row: the reader's method and peft's, with the same numbers; dashes without `parts`.

    How far each moves the logits, and their largest difference, in shares of the largest logit.
    """
    here, told = installed(), ["–"] * 3
    try:
        if parts is not None:
            found = (peft_side.beside(method, parts, base, inject, batch) if here else
                     record["methods"][method])
            told = [f"{found['ours']:.2f}", f"{found['peft']:.2f}", f"{found['off']:.1g}" + (
                "" if found["off"] < AGREE else ": not the same")]
    except Exception as error:    # whatever the reader has made of it
        told[2] = f"{type(error).__name__}: {error}"
    return {name + ("" if here else " (recorded)"): each for name, each in zip(
        ("ours", "peft", "largest difference"), told)}


def four_bits(record: Mapping, linear: nn.Linear, Linear4bit: Any) -> pandas.DataFrame:
    """The reader's four bits beside bitsandbytes'; recorded, where that is missing."""
    here = installed("bitsandbytes")
    found = peft_side.four_bits(linear, Linear4bit) if here else pandas.Series(record["four_bits"])
    return found.map("{:,.0f}".format).to_frame("a query matrix" + ("" if here else " (recorded)"))


# ── several processes, and larger models ─────────────────────────────────────────────────────


def losses(record: Mapping, live: bool) -> pandas.DataFrame:
    """The losses of the same steps in one process and in two: live, or else as recorded."""
    found = [processes.launch(count) if live else None for count in (1, 2)]
    live = None not in found    # some machines let no processes meet
    one, two = found if live else record["processes"].values()
    table = pandas.DataFrame({"one process": one, "two processes": two}, range(1, 1 + len(one)))
    table = table.assign(difference=(table["one process"] - table["two processes"]).abs())
    return table if live else table.add_suffix(" (recorded)")


def on_a_card() -> pandas.DataFrame:
    """What training of a larger model holds, in GB: computed from its shapes, not measured."""
    rows = {}
    for trains in ("everything", outlines.TRAINS[2]):
        ledger = outlines.ledger("tinyllama-1.1b", trains, batch_size=8, tokens=256,
                                 dtype="bfloat16", fused=True)
        rows[trains] = {part: getattr(ledger, f"{part}_bytes") / 1e9 for part in (
            "weights", "gradients", "optimizer", "activations", "total")}
    return pandas.DataFrame(rows).T.round(2)


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


def _small() -> tuple[nn.Module, nn.Module, File]:
    """A reader's model, its base and its file."""
    from .answers import to_peft

    base, _ = load_model("minilm", labels=2, device="cpu")
    ours, _ = load_model("minilm", labels=2, device="cpu")
    tensors, settings = from_afar(records.load("real"))
    ours = read(ours, tensors, settings).model
    return ours, base, to_peft(adapters(ours), head_state(ours))


def _wires() -> Explorer:
    return explore_wires(*_small())


def _knob() -> Figure:
    ours, base, file = _small()
    batch = {"input_ids": torch.arange(200, 216).view(2, 8)}
    return draw_knob(knob(ours, batch), suspects(base, ours, file, batch))


EXAMPLES = {"wires": _wires, "knob": _knob}
