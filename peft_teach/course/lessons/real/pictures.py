"""Pictures of lesson 12: files and their wires, a knob, and tables of what peft says.

Where a library is not installed, a table comes from the record and says so in its columns.
"""

import base64
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas
import safetensors.torch
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ....adapter import adapters
from ....contents import head_state
from ....ink import both
from ....models import load as load_model
from ....plots import COLOURS, SERIES, claim, entitle, figure, logarithmic, name_ends
from ... import records
from . import mutants, peft_side, processes
from .files import FRONT, File, read, silent, written
from .peft_side import gap, installed, knob, logits

AGREE = 1e-5      # of the largest output

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


FOUR = {"A and B exchanged": ("exchanged",), "a false scale": ("scale",),
        "the head left out": ("head",), "the right file": ()}


@dataclass(frozen=True)
class Wires:
    """Where our tensors lie in a file, and whether its modules answer as ours do."""

    ours: tuple[str, ...]              # our names
    theirs: tuple[str, ...]            # the names in the file
    places: tuple[int | None, ...]     # for each of ours, its row in the file
    agree: tuple[bool, ...]            # for each of ours


def wires(ours: nn.Module, base: nn.Module, file: File, around: str = "") -> Wires:
    """Follow each tensor into the file, and feed each module of both models the same numbers.

    With `around`, a part of modules' names, only these modules and the head.
    """
    tensors, settings = file
    try:
        theirs = read(copy.deepcopy(base), tensors, settings).model
    except ValueError:    # peft refuses it, too
        theirs = base
    own = {f"{module}.{key}": (p.detach(), module) for module, layer in adapters(ours).items()
           for key, p in layer.own_parameters().items() if around in module}
    own |= {key: (p.detach(), key.rpartition(".")[0]) for key, p in head_state(ours).items()}
    rows = sorted(row for row in tensors if around in row or "lora" not in row)
    own, places, agree = dict(sorted(own.items())), [], {}
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
    return Wires(tuple(own), tuple(rows), tuple(places),
                 tuple(agree[module] for _, module in own.values()))


def draw_files(ours: nn.Module, base: nn.Module) -> Figure:
    """Draw a model with LoRA in four files: one block of equal ones, the head, and their wires."""
    ours, base = (copy.deepcopy(each).cpu().eval() for each in (ours, base))
    blocks = len({re.search(r"\.\d+\.", name)[0] for name in adapters(ours)})
    made, *axes = figure(9.2, 5.3, columns=2, rows=2)
    told = []
    for ax, (name, faults) in zip(axes, FOUR.items()):
        file = silent(*written(ours, stabilized=False), *faults)
        found = wires(ours, base, file, ".0.")
        _draw(ax, found, blocks)
        ax.set_title(name, fontsize=12)
        there = sum(place is not None for place in found.places)
        told.append(f"{name}: of the {len(found.ours)} tensors of a block and the head {there} are "
                    f"in the file, {sum(found.agree)} answer as yours do")
    claim(made, "With a false scale every tensor is in its place, and no adapted module answers as "
          "yours", "; ".join(told) + ".")
    return made


def _draw(ax: Any, found: Wires, blocks: int) -> None:
    """Draw the wires of one file; a band lies behind what each block has."""
    own = [".".join(name.split(".")[-2:]) for name in found.ours]
    rows = [".".join(row.removesuffix(".weight").split(".")[-2:]) if "lora" in row else
            row.removeprefix(FRONT) for row in found.theirs]
    last = sum(not name.startswith("classifier") for name in own) - 0.5
    ax.axhspan(-0.5, last, color=COLOURS["band"], lw=0, zorder=0)
    ax.text(-0.87, last / 2 - 0.25, f"{blocks} ×", ha="right", va="center", fontsize=11)
    for names, x, side in ((own, -0.03, "right"), (rows, 1.03, "left")):
        for y, name in enumerate(names):
            ax.text(x, y, name, ha=side, va="center", fontsize=11)
    for y, (place, agrees) in enumerate(zip(found.places, found.agree)):
        if place is None:
            ax.plot([0, 0.3], [y, y], ":", color=COLOURS["rest"], lw=2)
        else:
            colour, dash = ("yours", "-") if agrees else ("ink", "--")
            ax.plot([0, 1], [y, place], dash, lw=2, color=COLOURS[colour])
    ax.set(xlim=(-1.15, 2.15), ylim=(len(own) - 0.5, -0.5))
    ax.set_axis_off()


# ── what peft says ───────────────────────────────────────────────────────────────────────────


def complaints(record: Mapping, base: nn.Module, ours: nn.Module, file: File,
               batch: Mapping[str, Tensor]) -> pandas.DataFrame:
    """What peft says of the reader's file and of false ones; recorded, where peft is missing."""
    found = peft_side.complaints(base, ours, file, batch) if installed() else pandas.DataFrame(
        record["complaints"]).set_index("file")
    return found.assign(off=found.off.map("{:.2g}".format, na_action="ignore")).rename(
        columns={"off": "logits differ by, of the largest",
                 "peft": "peft" if installed() else "peft (recorded)"}).fillna("–")


def loaded(base: nn.Module, file: File, fault: str, batch: Mapping[str, Tensor]
           ) -> Callable[[float], Tensor]:
    """The file with this fault as peft loads it, a function of f; without peft, by its rules."""
    false = silent(*file, fault)
    model = (peft_side.load(base, *false)[0] if installed() else
             read(copy.deepcopy(base), *false).model.eval())
    return knob(model, batch)


def draw_knob(ours: Callable, theirs: Mapping[str, Callable]) -> Figure:
    """Draw how far each suspect, as loaded, is from ours at each turn of our knob."""
    turns = torch.linspace(0, 3, 31).tolist()
    answers, loaded = [ours(f) for f in turns], {name: other(1.0) for name, other in theirs.items()}
    return _draw_knob(turns, {name: [max(gap(y, right), 1e-7) for y in answers]
                              for name, right in loaded.items()})


@both
def _draw_knob(turns: Sequence[float], distances: Mapping[str, Sequence[float]]) -> Figure:
    made, ax = figure(8.4, 3.8)
    told, reached, ends = [], [], {}
    for (name, off), (colour, dash, _) in zip(distances.items(), SERIES):
        ax.plot(turns, off, dash, color=colour, lw=2.2)
        least, best = min(zip(off, turns))
        told.append(f"{name}: nearest at f = {best:.1f}, {least:.0e} apart")
        reached += [f"{name} at f = {best:.1f}"] * (least < AGREE)
        ends[name] = off[-1], colour
    logarithmic(ax, "y")
    ax.axhspan(1e-7, AGREE, color=COLOURS["band"], lw=0, zorder=0)
    ax.text(0.05, 1e-6, "alike", va="center", fontsize=11)
    ax.set(xlim=(0, 3), ylim=(1e-7, None), yticks=(1, 1e-2, 1e-4))
    entitle(ax, "f: your update is multiplied by this", "distance of the logits")
    name_ends(ax, ends)
    claim(made, f"Your knob reaches {', '.join(reached) or 'none of them'}", "; ".join(told) + ".")
    return made


def noticed(believes: Callable) -> pandas.DataFrame:
    """Which false ways through a file two comparisons notice: of fresh models, and the reader's."""
    rows = {}
    for name, exchange in mutants.BROKEN.items():
        model, x = mutants.fresh(4, 6.0), torch.randn(64, 6)
        with torch.no_grad():
            before = model(x)
            rows[name] = {"two fresh models": gap(before, exchange(model)(x)) > AGREE}
        try:
            believes(exchange, mutants.fresh)
            rows[name]["your test"] = False
        except Exception:    # whatever it raises, it objects
            rows[name]["your test"] = True
    return pandas.DataFrame(rows).T.replace({True: "notices it", False: "–"})


# ── several processes ────────────────────────────────────────────────────────────────────────


def losses(record: Mapping, live: bool) -> pandas.DataFrame:
    """The losses of the same steps in one process and in two: live, or else as recorded."""
    found = [processes.launch(count) if live else None for count in (1, 2)]
    live = None not in found    # some machines let no processes meet
    one, two = found if live else record["processes"].values()
    table = pandas.DataFrame({"one process": one, "two processes": two}, range(1, 1 + len(one)))
    table = table.assign(difference=(table["one process"] - table["two processes"]).abs())
    return table if live else table.add_suffix(" (recorded)")


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


def _small() -> tuple[nn.Module, nn.Module, File]:
    """A reader's model, its base and its file."""
    from .reference import to_peft

    base, _ = load_model("minilm", labels=2, device="cpu")
    ours, _ = load_model("minilm", labels=2, device="cpu")
    tensors, settings = from_afar(records.load("real"))
    ours = read(ours, tensors, settings).model
    return ours, base, to_peft(adapters(ours), head_state(ours))


def _files() -> Figure:
    ours, base, _ = _small()
    return draw_files(ours, base)


def _knob() -> Figure:
    ours, base, file = _small()
    batch = {"input_ids": torch.arange(200, 216).view(2, 8)}
    faults = {"anna": "scale", "ben": "head", "carl": "exchanged"}
    return draw_knob(knob(ours, batch), {name: loaded(base, file, fault, batch)
                                         for name, fault in faults.items()})


EXAMPLES = {"files": _files, "knob": _knob}
