"""What lesson 13 reads: the field's own table, and the record of five methods under one rule.

    field()                     peft's comparison, 63 runs; the source stands in the file's head
    again()                     the same runs, in each of its tables
    pairs()                     rows of one method, and what differs between them
    two_ladders(ladder)         R² here and accuracy there, of the methods that both have
    compared(sixty, ladder)     each method of the record beside LoRA, in pairs
"""

from collections.abc import Mapping
from statistics import mean

import pandas
import torch

from ... import protocol, records
from ...verdicts import verdict

PROBLEMS = 1319                    # of GSM8K, on which each run of the field was tested
LORA = "lora-rank32"               # the run to which the field's others are compared
# Rows of one method, the method's name, and what differs within a pair.
PAIRS = {
    "IA³": ("ia3-default", "ia3-lr_0.001", "rate and decay"),
    "prompt": ("prompt_tuning-default", "prompt_tuning-lr_0.001", "rate and decay"),
    "prompt, other start": ("prompt_tuning-lr_0.001", "prompt_tuning-sample_vocab-lr_0.001",
                            "the start"),
    "LoRA 64": ("lora-rank64", "lora-rank64-rslora", "the factor on BA, 2 and 8"),
}
# What both ladders have: the rung's key here, and the run there.
BOTH = {"full": "full-finetuning-lr_0.00001", "lora 8": LORA, "dora 8": "lora-rank32-dora",
        "mask": "shira-lr_0.0003-random_seed_42", "ia3": "ia3-all-attn-5k-lr0.005",
        "prefix": "prefixtuning-tokens50-init_prefix-lr_0.005",
        "prompt": "prompt_tuning-sample_vocab-lr_0.001"}


def field() -> pandas.DataFrame:
    """Return peft's comparison, a row a run, the best first."""
    table = _runs().drop_duplicates("run", keep="last").set_index("run")
    return table.sort_values("accuracy", ascending=False, kind="stable")


def again() -> pandas.DataFrame:
    """Return the accuracy of each run, in each table that has it with the same settings."""
    return _runs().pivot(index="run", columns="table", values="accuracy")


def _runs() -> pandas.DataFrame:
    return pandas.read_csv(records.FOLDER / "field.csv", comment="#", dtype={"trained": "Int64"})


def half(accuracy: float, correlation: float = 0) -> float:
    """Return half the width of a 95 % interval of how far two runs are apart, for other problems.

    `correlation` is that of their answers, right or wrong.
    """
    return 1.96 * (2 * (1 - correlation))**0.5 * records.standard_error(accuracy, PROBLEMS)


def alike(ladder: Mapping) -> float:
    """Return the mean correlation of LoRA 8's right signs and other adapters', seed by seed."""
    found = protocol.scores(protocol.finals(ladder), protocol.rated(ladder), of="accuracy")
    others = found.keys() - {"lora 8", "full", "prompt", "head"}
    return mean(float(torch.corrcoef(torch.stack([found["lora 8"][seed], right]).float())[0, 1])
                for each in others for seed, right in found[each].items())


def gaps(name: str) -> pandas.Series:
    """Return how far the runs of a pair are apart, in each table that has both."""
    (one, other, _), runs = PAIRS[name], again()
    return (runs.loc[other] - runs.loc[one]).dropna()


def pairs() -> pandas.DataFrame:
    """Return what differs between two runs of one method, and by how many points, in each table."""
    points = pandas.DataFrame({name: 100 * gaps(name) for name in PAIRS}).T.round(1)
    points.insert(0, "what differs", [what for *_, what in PAIRS.values()])
    return points.astype(object).where(points.notna(), "")


def two_ladders(ladder: Mapping) -> pandas.DataFrame:
    """Return the methods of both: R² here and accuracy there, the best here first."""
    table, means = field(), protocol.means(ladder)
    rows = pandas.DataFrame({"here": {key: means[protocol.NAMES[key]] for key in BOTH},
                             "there": {key: table.accuracy[run] for key, run in BOTH.items()}})
    return rows.rename(index=protocol.NAMES).sort_values("here", ascending=False)


def compared(sixty: Mapping, ladder: Mapping) -> pandas.DataFrame:
    """Return size, rate, mean R² and verdicts in words, the best first.

    Of each method, and of lesson 10's mask and LoRAs, beside LoRA 8 and LoRA 1: at the same seeds.
    """
    ours = records.select(sixty, group="final")
    seeds = {row["seed"] for row in ours}
    both = [*ours, *(row for row in protocol.finals(ladder) if row["seed"] in seeds)]
    found, rows = protocol.scores(both, protocol.rated(ladder)), {}
    runs = {row["method"]: row for row in both}
    for method in ("mask", "lora 8", "lora 1", *(found.keys() - protocol.NAMES.keys())):
        told = [verdict(*protocol.shared(found, method, lora)) if method != lora else None
                for lora in ("lora 8", "lora 1")]
        rows[protocol.NAMES.get(method, method)] = [
            runs[method]["parameters"], runs[method]["lr"],
            round(float(torch.stack([*found[method].values()]).mean()), 3),
            *(f"{each.word}: {each.difference:+.3f} ({each.low:+.3f} to {each.high:+.3f})"
              if each else "" for each in told)]
    return pandas.DataFrame.from_dict(rows, orient="index", columns=[
        "parameters", "rate", "R²", "minus LoRA 8", "minus LoRA 1"
    ]).sort_values("R²", ascending=False)
