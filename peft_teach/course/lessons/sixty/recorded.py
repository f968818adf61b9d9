"""What lesson 13 reads: the field's own table, and the record of five methods under one rule.

    field()                     peft's comparison, 63 runs; the source stands in the file's head
    again(field())              some of its settings, run before with other library versions
    pairs(field())              rows of one method, and what differs between them
    two_ladders(ladder)         R² here and accuracy there, of the methods that both have
    compared(sixty, ladder)     each method of the record beside LoRA, in pairs
"""

from collections.abc import Mapping
from statistics import mean

import pandas

from ... import protocol, records
from ...verdicts import MARGIN, of_runs, verdict

PROBLEMS = 1319                    # of GSM8K, on which each run of the field was tested
LORA = "lora-rank32"               # the run to which the field's others are compared
MLP, LILY = "lora-rank10-target-mlp", "lily-rank140-mlp-a2-b2-s8.0"    # of equal size, on the MLP
SHIRA = "shira-lr_0.0003-random_seed_42"    # a random mask
# Rows of one method, the method's name, and what differs within a pair.
PAIRS = {
    "IA³": ("ia3-default", "ia3-lr_0.001", "the rate"),
    "prompt": ("prompt_tuning-default", "prompt_tuning-lr_0.001", "the rate"),
    "prompt, other start": ("prompt_tuning-lr_0.001", "prompt_tuning-sample_vocab-lr_0.001",
                            "the start"),
    "prefix": ("prefixtuning-lr_0.001", "prefixtuning-tokens50-init_prefix-lr_0.005",
               "rate, start and length"),
    "LoRA 64": ("lora-rank64", "lora-rank64-rslora", "the factor on BA, 2 and 8"),
}
# What both ladders have: the rung's key here, and the run there.
BOTH = {"full": "full-finetuning-lr_0.00001", "lora 8": LORA, "dora 8": "lora-rank32-dora",
        "mask": SHIRA, "ia3": "ia3-all-attn-5k-lr0.005",
        "prefix": "prefixtuning-tokens50-init_prefix-lr_0.005",
        "prompt": "prompt_tuning-sample_vocab-lr_0.001"}


def field() -> pandas.DataFrame:
    """Return peft's comparison, a row a run, the best first."""
    return _read("field").set_index("run").sort_values("accuracy", ascending=False, kind="stable")


def again(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return the problems solved by one setting, run at several times, the first one first."""
    before = _read("field_again")
    before["when"] = before.date.where(before.date < "2026", "early 2026").str.replace(
        r"^2025.*", "2025", regex=True)
    rows = before.pivot(index="run", columns="when", values="accuracy")
    rows["July 2026"] = table.accuracy
    return rows.sort_values("July 2026", ascending=False).rename_axis(None).rename_axis(
        None, axis=1)


def _read(name: str) -> pandas.DataFrame:
    return pandas.read_csv(records.FOLDER / f"{name}.csv", comment="#")


def half(accuracy: float, of: int = 1) -> float:
    """Return half the width of a 95 % interval, for other problems: of one run, or of two apart."""
    return 1.96 * of**0.5 * records.standard_error(accuracy, PROBLEMS)


def pairs(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return two runs of one method beside each other, and what differs between them."""
    return pandas.DataFrame.from_dict({name: {
        "one run": f"{table.accuracy[one]:.1%}", "another": f"{table.accuracy[other]:.1%}",
        "points": round(100 * (table.accuracy[other] - table.accuracy[one]), 1),
        "what differs": what} for name, (one, other, what) in PAIRS.items()}, orient="index")


def two_ladders(ladder: Mapping) -> pandas.DataFrame:
    """Return the methods of both: R² here, accuracy there, and the place by each."""
    table, means = field(), protocol.means(ladder)
    rows = pandas.DataFrame({"here": {key: means[protocol.NAMES[key]] for key in BOTH},
                             "there": {key: table.accuracy[run] for key, run in BOTH.items()}})
    places = rows.rank(ascending=False).astype(int).add_prefix("place ")
    return rows.join(places).rename(index=protocol.NAMES).sort_values("place here")


def scores(sixty: Mapping, ladder: Mapping) -> protocol.Errors:
    """Return the score of each test sentence, by method and seed, lesson 10's runs among them.

    Of the record, those seeds with which all its methods have run.
    """
    rating = protocol.rated(ladder)
    ours = [row for row in sixty["runs"] if row["group"] == "final"]
    methods = {row["method"] for row in ours}
    ours = [row for row in ours
            if {each["method"] for each in ours if each["seed"] == row["seed"]} == methods]
    return protocol.scores([*protocol.finals(ladder), *ours], rating)


def compared(sixty: Mapping, ladder: Mapping) -> pandas.DataFrame:
    """Return each method's size, rate, mean R² and verdicts in words, the best first.

    They are beside LoRA 8, LoRA 1, and LoRA 8 at half its rate: for new seeds on these sentences.
    """
    found, rows = scores(sixty, ladder), {}
    slow = {row["seed"]: row["r2"] for row in records.select(ladder, group="half", method="lora 8")}
    for method in found.keys() - protocol.NAMES.keys():
        runs = {row["seed"]: row for row in records.select(sixty, group="final", method=method)}
        told = [verdict(*protocol.shared(found, method, each)) for each in ("lora 8", "lora 1")]
        told += [of_runs([runs[seed]["r2"] for seed in slow], [*slow.values()], MARGIN)]
        rows[method] = [
            runs[2]["parameters"], runs[2]["lr"],
            round(mean(row["r2"] for row in runs.values()), 3),
            *(f"{each.word}: {each.difference:+.3f} ({each.low:+.3f} to {each.high:+.3f})"
              for each in told)]
    return pandas.DataFrame.from_dict(rows, orient="index", columns=[
        "parameters", "rate", "R²", "less LoRA 8", "less LoRA 1", "less LoRA 8 at half its rate"
    ]).sort_values("R²", ascending=False)
