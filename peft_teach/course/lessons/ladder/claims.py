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
    count = "trained numbers, share of MiniLM"
    rows = [
        *_largely_the_same(record),
        ("IA³ trains about 0.05 %", count, _share(gains), "a little more"),
        ("LoRA 8 in the last block trains under 0.05 %", count, _share(last), "not on MiniLM"),
        ("LoRA needs less memory", "gradients and optimizer; activations, of full's",
         f"{_trained_bytes(some) / _trained_bytes(full):.1%}; "
         f"{some.activations_bytes / full.activations_bytes:.0%}", "yes; activations in part"),
        ("IA³ is a Pfeiffer adapter", "trained numbers; does it merge?",
         f"{_count(gains):,}, yes; {_count(pfeiffer):,}, no", "no"),
        ("A Bapna adapter stands after attention",
         f"of {len(core.adapters(bapna))} adapters, after attention", f"{after}",
         "no: at the end of a block"),
        *_plus(),
    ]
    return pandas.DataFrame(rows, columns=["claim", "measured", "found", "so"]).set_index("claim")


def _on(inject: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return inject(outlines.outline("minilm"))


def _count(model: nn.Module) -> int:
    return account.parameters(model).adapter


def _share(model: nn.Module) -> str:
    return f"{_count(model):,}: {_count(model) / account.parameters(model).frozen:.3%}"


def _trained_bytes(ledger: account.Ledger) -> int:
    return ledger.gradients_bytes + ledger.optimizer_bytes


def _largely_the_same(record: Mapping) -> list[tuple]:
    pair, found = (NAMES["lora all"], NAMES["full"]), recorded.verdicts(record, measure.interval)
    if pair not in found.index:
        return []
    gap, trained = found.loc[pair], recorded.costs(record)[recorded.COSTS["trained"]]
    return [("A few percent trained, largely the same results",
             f"{pair[0]}, {trained[pair[0]] / trained[pair[1]]:.1%} trained: R² less full's",
             f"{gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})", gap.verdict)]


def _plus() -> list[tuple]:
    of = records.load("lora")
    plus, plain = ([row["accuracy"] for row in records.select(of, group="traded", **wanted)]
                   for wanted in ({"plus": 8}, {"alpha": 128}))
    gap, error = records.difference(plus, plain)
    return [("LoRA++ improves LoRA", "LoRA+ less LoRA at 8 α, lesson 07, points",
             f"{100 * gap:+.1f} ± {100 * error:.1f}",
             f"no such method; LoRA+: {records.compared(plus, plain)}")]
