"""The claims that people repeat, each beside a number: of a record, or counted on MiniLM."""

from collections.abc import Callable, Mapping

import pandas
import torch
from torch import nn

from .... import account, outlines
from ....adapter import adapters
from ....methods import bottleneck, ia3, lora
from ... import records
from ...protocol import NAMES
from ...verdicts import interval, of_runs
from . import recorded
from .rungs import COSTS


def settle(record: Mapping) -> pandas.DataFrame:
    """Return the claims that people repeat, what was found, and what that says of them."""
    pair = NAMES["lora all"], NAMES["full"]
    gap = recorded.verdicts(record, interval).loc[pair]
    trained = recorded.prices(record)[COSTS["trained"]]
    bapna = _on(lambda model: bottleneck.inject(model, bottleneck.BAPNA))
    vectors = _count(ia3.inject)
    last = _count(lambda model: lora.inject(model, lora.Config(layers=(5,))))
    pfeiffer = _count(lambda model: bottleneck.inject(model, bottleneck.PFEIFFER))
    full, some = (outlines.ledger("minilm", trains) for trains in outlines.TRAINS[::2])
    states = [each.gradients_bytes + each.optimizer_bytes for each in (some, full)]
    after = sum("attention" in name for name in adapters(bapna))
    count, every = "trained numbers, share of MiniLM", account.parameters(bapna).frozen
    of = records.load("lora")
    plus, plain = ([row["accuracy"] for row in records.select(of, group="traded", **wanted)]
                   for wanted in ({"plus": 8}, {"alpha": 128}))
    found = of_runs(plus, plain)
    rows = [
        ("A few percent trained, largely the same results",
         f"{pair[0]}, {trained[pair[0]] / trained[pair[1]]:.1%} trained: R² less full's",
         f"{gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})", gap.verdict),
        ("IA³ trains about 0.05 %", count, f"{vectors:,}: {vectors / every:.3%}", "a little more"),
        ("LoRA 8 in the last block trains under 0.05 %", count, f"{last:,}: {last / every:.3%}",
         "not on MiniLM"),
        ("LoRA needs less memory", "gradients and optimizer; activations, of full's",
         f"{states[0] / states[1]:.1%}; {some.activations_bytes / full.activations_bytes:.0%}",
         "yes; activations in part"),
        ("IA³ is a Pfeiffer adapter", "trained numbers; does it merge?",
         f"{vectors:,}, yes; {pfeiffer:,}, no", "no"),
        ("A Bapna adapter stands after attention", f"of {len(adapters(bapna))} adapters, "
         "after attention", f"{after}", "no: at the end of a block"),
        ("LoRA++ improves LoRA", "LoRA+ less LoRA at 8 α, lesson 07, points",
         f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})",
         f"no such method; LoRA+: {found.word}"),
    ]
    return pandas.DataFrame(rows, columns=["claim", "measured", "found", "so"]).set_index("claim")


def _on(inject: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return inject(outlines.outline("minilm"))


def _count(inject: Callable[[nn.Module], nn.Module]) -> int:
    return account.parameters(_on(inject)).adapter
