"""The claims that people repeat, each beside a number: of a record, or counted on MiniLM."""

from collections.abc import Callable, Mapping

import pandas
import torch
from torch import nn

from .... import account, core, outlines
from ....methods import bottleneck, ia3, lora
from ... import records
from . import measure, recorded
from .rungs import NAMES


def settle(record: Mapping) -> pandas.DataFrame:
    """Return the claims that people repeat, what was found, and what that says of them."""
    gains, last = _on(ia3.inject), _on(lambda model: lora.inject(model, lora.Config(layers=(5,))))
    pfeiffer, bapna = (_on(lambda model, form=form: bottleneck.inject(model, form))
                       for form in (bottleneck.PFEIFFER, bottleneck.BAPNA))
    full, some = (outlines.ledger("minilm", trains) for trains in outlines.TRAINS[::2])
    after = sum("attention" in name for name in core.adapters(bapna))
    rows = [
        *_largely_the_same(record),
        ("IA³ trains about 0.05 %", _share(gains), "a little more, on MiniLM"),
        ("LoRA of rank 8 in the last block trains under 0.05 %", _share(last), "not on MiniLM"),
        ("LoRA needs less memory", "of full fine-tuning's, gradients and optimizer: "
         f"{_trained_bytes(some) / _trained_bytes(full):.1%}; activations: "
         f"{some.activations_bytes / full.activations_bytes:.0%}", "what parameters need, it does"),
        ("IA³ is a Pfeiffer adapter", f"{_share(gains)}, merged into the weights; of the adapter "
         f"{_share(pfeiffer)}, not linear, never merged", "no"),
        ("A Bapna adapter stands after attention",
         f"{after} of its {len(core.adapters(bapna))} do; all end a block", "no"),
        *_plus(),
    ]
    return pandas.DataFrame(rows, columns=["claim", "found", "so"]).set_index("claim")


def _on(inject: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return inject(outlines.outline("minilm"))


def _share(model: nn.Module) -> str:
    found = account.parameters(model)
    return f"{found.adapter:,} numbers, {found.adapter / found.frozen:.3%} of the base"


def _trained_bytes(ledger: account.Ledger) -> int:
    return ledger.gradients_bytes + ledger.optimizer_bytes


def _largely_the_same(record: Mapping) -> list[tuple]:
    pair, found = (NAMES["lora all"], NAMES["full"]), recorded.verdicts(record, measure.interval)
    if pair not in found.index:
        return []
    gap, trained = found.loc[pair], recorded.costs(record)[recorded.COSTS["trained"]]
    return [("A few percent of the parameters give largely the same results",
             f"{pair[0]} trains {trained[pair[0]] / trained[pair[1]]:.1%}; its R² is "
             f"{gap.difference:+.3f} from full's, {gap.low:+.3f} to {gap.high:+.3f}", gap.verdict)]


def _plus() -> list[tuple]:
    of = records.load("lora")
    plus, plain = ([row["accuracy"] for row in records.select(of, group="traded", **wanted)]
                   for wanted in ({"plus": 8}, {"alpha": 128}))
    gap, error = records.difference(plus, plain)
    return [("LoRA++ improves LoRA", "no such method. LoRA+, with B eight times as fast, less LoRA "
             f"with eight times the α: {100 * gap:+.1f} ± {100 * error:.1f} points (lesson 07)",
             records.compared(plus, plain))]
