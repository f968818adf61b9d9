"""What the capstone shows: one's own tries, and the folder as it is marked."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas
from matplotlib.figure import Figure
from torch import nn

from .... import contents, core, plots, store
from ....adapter import adapters
from ....errors import PeftTeachError
from ....methods import lora
from ...checks.part import Measured
from ...verdicts import POINT, verdict
from . import handed_in
from .handed_in import answered, gain

__all__ = ["answered", "chosen", "compare", "draw_tries", "gain", "hand_in", "places", "ship"]


def chosen(name: str, config: Any, epochs: Any, lr: Any, make: Callable) -> tuple:
    """Return what is to be trained: a try of yours, or an example where dots are left."""
    if ... not in (config, epochs, lr):
        return name, config, epochs, lr, make
    block = 5 if name == "adapter" else 0
    print(f"Dots are left: an example trains instead, the values of block {block}.")
    example = lora.Config(rank=1, alpha=8.0, targets=("value",), layers=(block,))
    return f"example_{name}", example, 1, 5e-3, lambda base: lora.LoRALinear(base, 1, 8.0)


def places(config: Any, make: Callable[[nn.Linear], nn.Module]) -> tuple[str, ...]:
    """Return the modules that `config` names, if `make` builds the adapter that it describes.

    Raises as `ship` does: random numbers show before training what zeros would hide.
    """
    names = tuple(adapters(_method(config).inject(handed_in.base(), config)))
    mine = core.attach(handed_in.base(), names, make)
    for p in contents.adapter_parameters(mine).values():
        p.data.normal_(std=0.1)
    _known(mine.eval(), config)
    return names


def ship(model: nn.Module, config: Any, folder: Path | str) -> Path:
    """Write your adapter as the method of `config`, which peft knows, if that is what it is.

    Raises `PeftTeachError` where names, shapes or outputs differ; then nothing is written.
    """
    return store.save(_known(model.to("cpu").eval(), config), folder)


def _method(config: Any) -> Any:
    known = {method.Config: method for method in handed_in.METHODS.values()}
    if type(config) not in known:
        raise PeftTeachError(f"{type(config).__name__} is no setting that can be shipped.",
                             expected="a Config of pt.lora, pt.dora or pt.ia3")
    return known[type(config)]


def _known(mine: nn.Module, config: Any) -> nn.Module:
    """Return the library's own model with your numbers, which answers as yours does."""
    shipped = _method(config).inject(handed_in.base(), config)
    try:
        shipped.load_state_dict(mine.state_dict())
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise PeftTeachError(f"Your adapter is not what {config} says: {told}",
                             hint="the same modules, parameters' names and shapes") from None
    row = handed_in.same("", *(handed_in.logits(each) for each in (mine, shipped.eval())))
    if not row.holds:
        raise PeftTeachError(f"With the same numbers, your adapter and {config} differ: "
                             f"{row.found}.", hint="is the scale alpha / rank in both?")
    return shipped


def hand_in(folder: Path | str, sentences: Sequence[tuple[str, int]]) -> pandas.DataFrame:
    """Look at a folder as the grader will, but on these sentences."""
    found = handed_in.rows(folder)
    if found[0].holds:
        ahead, told, _ = handed_in.measure(Path(folder), sentences)
        found.append(handed_in.Row("gain", ahead, told))
    return pandas.DataFrame(found).set_index("property")


def compare(one: Path | str, other: Path | str,
            sentences: Sequence[tuple[str, int]]) -> pandas.DataFrame:
    """Return by how many points the first is right more often, sentence by sentence."""
    found = verdict(*(handed_in.answered(each, sentences) for each in (one, other)), POINT)
    gap, low, high = (f"{100 * each:+.1f}" for each in (found.difference, found.low, found.high))
    return pandas.DataFrame({"difference, points": gap, "95 %, from": low, "to": high},
                            index=[f"{len(sentences)} sentences, one seed"])


def draw_tries(tries: Mapping[str, Measured]) -> Figure:
    """Draw the gain of each try with its 95 % interval."""
    made, ax = plots.figure(8, 1 + 0.5 * len(tries))
    for y, m in enumerate(tries.values()):
        ax.plot([100 * m.low, 100 * m.gain, 100 * m.high], [y] * 3, "-o", markevery=[1], lw=2, ms=8,
                color=plots.COLOURS["yours"])
        ax.text(100 * m.gain, y - 0.2, f"{100 * m.gain:+.1f}".replace("-", "−"), ha="center",
                fontsize=11)
    ax.axvline(0, color=plots.COLOURS["head"], lw=2)
    ax.set(yticks=range(len(tries)), yticklabels=tries, ylim=(len(tries) - 0.5, -0.6),
           title="points against the head alone (grey)")
    made.set_label(" ".join(f"{name}, {m}" for name, m in tries.items()))
    return made


EXAMPLES = {"tries": lambda: draw_tries({
    "first": Measured(58_000, 0.10, 0.06, 0.14, 0.85, 345),
    "second": Measured(40_000, 0.02, -0.02, 0.05, 0.77, 345)})}
