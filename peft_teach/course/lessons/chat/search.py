"""A search of targets, batch and rate: a button that trains a pass, or asks the record for it."""

import itertools
from collections.abc import Mapping
from html import escape

import ipywidgets as ipw
import pandas

from .... import data, models, training
from ....methods import lora
from ....widgets import TOLD, Lasting
from . import measure
from .recorded import tried

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
BATCHES = (4, 8, 16)
PASSES = 5
TARGETS = {"all linear layers": ("linear",), "query and value": ("query", "value")}


class Search(Lasting):
    """Three settings and a button: each press is one pass of LoRA, and a row of `table`.

    A setting of the record comes at once. Any other is trained here, a minute or more, with the
    record's seed, though in float32.
    """

    def __init__(self, record: Mapping):
        self.recorded, self.runs = tried(record), {}
        self.controls = {
            "targets": ipw.ToggleButtons(options=[*TARGETS], description="targets"),
            "batch": ipw.ToggleButtons(options=BATCHES, value=8, description="batch",
                                       style={"button_width": "60px"}),
            "rate": ipw.ToggleButtons(options=[(f"{rate:g}", rate) for rate in RATES], value=1e-3,
                                      description="rate", style={"button_width": "72px"})}
        self.button = ipw.Button(description="one pass")
        self.button.on_click(lambda _: self.train())
        self.page = ipw.HTML("No pass yet.").add_class(TOLD)
        super().__init__(ipw.VBox([*self.controls.values(), self.button, self.page]))

    def train(self) -> float:
        """Make the pass that is set; return the loss of the voice."""
        setting = tuple(control.value for control in self.controls.values())
        if setting in self.recorded:
            self.runs[setting] = self.recorded[setting], "the record"
        elif setting not in self.runs:
            self.page.value = "Not in the record: it trains here, for a minute or more …"
            self.runs[setting] = one_pass(*setting), "here"
        self.page.value = self.table.to_html(index=False)
        self._renew()
        return self.runs[setting][0]

    @property
    def table(self) -> pandas.DataFrame:
        """The passes so far, the lowest loss first."""
        table = [(*setting, loss, where) for setting, (loss, where) in self.runs.items()]
        return pandas.DataFrame(table, columns=[*self.controls, "loss of the voice", "trained"]
                                ).sort_values("loss of the voice").round(4)

    def still(self) -> tuple[str, str]:
        """Return the table, or that there is none yet."""
        return self.page.value, escape(str(self.table)) if self.runs else "No pass yet."


def one_pass(targets: str, batch: int, rate: float, seed: int = 2) -> float:
    """Train LoRA for the first of five passes, as the record's; return the loss of the voice."""
    training.seed(seed)
    model, tokenizer = models.load("smollm2")
    model = lora.inject(model, lora.Config(8, 16, targets=TARGETS[targets]))
    voice = data.voice()
    batches = data.chat(voice.train, tokenizer, batch, seed=seed, epochs=PASSES)
    for _ in itertools.islice(training.train(model, batches, rate), len(batches) // PASSES):
        pass
    losses = measure.losses(model, data.chat(voice.validation, tokenizer, 12, shuffle=False))
    return sum(losses) / len(losses)
