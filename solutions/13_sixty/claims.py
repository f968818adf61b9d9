"""Lesson 13: what it claims and what its prose judges, by peft's table and the record."""

from itertools import combinations

import torch
from claims import Claim
from figures import record, select
from torch import nn

from peft_teach.course import protocol
from peft_teach.course.lessons.sixty import layers, recorded
from peft_teach.course.verdicts import BETTER, MARGIN, POINT, SAME, UNSURE, WORSE, of_runs, verdict

FIELD, AGAIN = recorded.field(), recorded.again()
SOLVED = FIELD.accuracy
LORA, LILY, MLP = (SOLVED[run] for run in (recorded.LORA, recorded.LILY, recorded.MLP))
THREE = AGAIN.loc[recorded.MLP].dropna()
JANUARY, JULY = (AGAIN[day] for day in ("2026-01-13", "2026-07-20"))
FELL = (JULY < JANUARY)[(JULY + JANUARY).notna()]
IA3, PROMPT = map(recorded.gaps, recorded.PAIRS)
SIXTY, LADDER = record("sixty"), record("ladder")
BOTH = recorded.two_ladders(LADDER)
SEEDS = (2, 3, 4, 5)    # which LoRA 8 has at both rates
CLIFF = [row["validation"] for rate in (3.2e-3, 6.4e-3) for row in select(
    LADDER, group="rates", method="lora 8", seed=0, lr=rate)]


def points(gaps):
    """Differences of shares as the lesson writes them, in points."""
    return f"{100 * gaps.min():.1f} to {100 * gaps.max():.1f}"


def beside(method, group, of="r2", seeds=SEEDS):
    """The verdict beside LoRA 8 at the rate of its search ("final"), or at half of it ("half")."""
    one, other = ([next(row[of] for row in select(record, group=part, method=name) if row["seed"] == seed)
                   for seed in seeds]
                  for record, part, name in ((SIXTY, "final", method), (LADDER, group, "lora 8")))
    return of_runs(one, other, MARGIN if of == "r2" else POINT)


def written(found):
    """A verdict's difference and interval as the lesson writes them."""
    return f"{found.difference:+.3f} ({found.low:.3f} to {found.high:.3f})".replace("-", "−")


def words(group, of="r2", seeds=SEEDS):
    """The words of the five verdicts."""
    return [beside(method, group, of, seeds).word for method in ("OFT 32", "PiSSA 8", "VeRA 256", "RoAd", "MiSS 16")]


def changes(of="r2", seeds=SEEDS):
    """How many of them half the rate changes."""
    return sum(map(str.__ne__, words("final", of, seeds), words("half", of, seeds)))


*OTHERS, POOR = (row["r2"] for seed in SEEDS for row in select(
    LADDER, group="final", method="lora 8", seed=seed))
FULL = [*(AGAIN.loc["full-finetuning-lr_0.00001"] - AGAIN.loc[recorded.LORA]).dropna()]


def full_is_first():
    """Is full fine-tuning better here than each of the others?"""
    found = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER))
    return all(verdict(*protocol.shared(found, "full", other)).word == BETTER
               for other in recorded.BOTH if other != "full")


EIGHTS = [*protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER))["lora 8"].values()]


def one_seed(a, b):
    """The verdict on one run each."""
    return verdict(a[None], b[None]).word


def is_turned():
    torch.manual_seed(0)
    layer = layers.OFTLinear(nn.Linear(48, 32).requires_grad_(False), 16)
    nn.init.normal_(layer.q)
    W, moved = layer.base.weight, layer.merged().weight
    return (W - moved).norm() > 0.5 and torch.allclose(
        *map(torch.linalg.svdvals, (W, moved)), atol=1e-4)


def is_summed():
    torch.manual_seed(0)
    layer = layers.MiSSLinear(nn.Linear(48, 32).requires_grad_(False), 12)
    nn.init.normal_(layer.M)
    pieces = torch.randn(4, 12)
    one, other = pieces, pieces.sum(0) / 4 + pieces.roll(1, 0) - pieces.mean(0)
    moved = [(layer(x.flatten()) - layer.base(x.flatten())) for x in (one, other)]
    return torch.allclose(*moved, atol=1e-4) and not torch.allclose(one, other)


CLAIMS = (
    Claim("peft's table does not show by how much a method is better than LoRA.",
          seen=f"LoRA on the MLP, with the same settings and seed, in three tables: "
               f"{', '.join(f'{100 * each:.1f}' for each in THREE)} %. Lily is {100 * (LILY - MLP):.1f} "
               "points ahead of the last",
          tried="a run repeated within one table: there is none. Between the tables the software "
                f"changed: {FELL.sum()} of {len(FELL)} runs fell from January to July",
          holds={"in three tables": lambda: len(THREE) == 3
                 and round(THREE.max() - THREE.min(), 3) == round(LILY - MLP, 3),
                 "there is none": lambda: not recorded.runs().duplicated(["run", "table"]).any()}),
    Claim("In that table rate and weight decay move two methods further than the first is from LoRA. An "
          "observation.",
          seen=f"IA³ by {points(IA3)} points, prompt by {points(PROMPT)}: four tables, one seed; from LoRA of "
               f"rank 32 to the first {100 * (LILY - LORA):.1f}",
          tried="in either pair both runs train equally many numbers. Of LoRA there is one rate alone",
          holds={"move two methods further": lambda: min(*IA3, *PROMPT) > LILY - LORA
                 and len(IA3) == len(PROMPT) == 4 and SOLVED.max() == LILY,
                 "both runs train equally many numbers": lambda: all(
                     FIELD.trained[one] == FIELD.trained[other]
                     for one, other in recorded.PAIRS.values()),
                 "one rate alone": lambda: set(FIELD.rate[FIELD.method == "lora"]) == {1e-4}}),
    Claim("One poor run of LoRA 8 decides four of five verdicts in R². An observation.",
          seen=f"four seeds; OFT minus LoRA 8 {written(beside('OFT 32', 'final'))} at the searched rate, "
               f"{written(beside('OFT 32', 'half'))} at half of it",
          tried="without that seed both rates give the same five verdicts. In accuracy half the rate changes one, "
                "RoAd's. The half was run later: the search, of one seed, had "
                f"chosen next to a cliff, {CLIFF[0]:.3f} to {CLIFF[1]:.3f} on validation. LoRA 8, run again "
                "with seed 2, gave lesson 10's R² to the last digit",
          holds={"decides four of five verdicts": lambda: changes() == 4 and min(OTHERS) - 0.03 > POOR,
                 "both rates give the same five verdicts": lambda: changes(seeds=SEEDS[:-1]) == 0,
                 "changes one, RoAd's": lambda: changes("accuracy") == 1
                 and words("half", "accuracy")[3] == WORSE,
                 "gave lesson 10's R²": lambda: select(SIXTY, group="again")[0]["answers"] == select(
                     LADDER, group="final", method="lora 8", seed=2)[0]["answers"]}),
    Claim("Turning a layer's inputs changes none of its singular values, and shared shards see a "
          "sum of the pieces.",
          seen="a proof of one line each, and drawn",
          tried="a random layer of each form: singular values alike, and two inputs with equal "
                "sums moved alike, to 0.0001",
          holds={"changes none of its singular values": is_turned, "see a sum": is_summed}),
)

LASTS = BOTH.groupby("method").agg({"here": "first", "there": "max"})
JUDGED = {
    "+1.8, then +0.5, then −0.7": lambda: [round(100 * gap, 1) for gap in FULL] == [1.8, 0.5, -0.7],
    "the two rates agree on all five": lambda: changes(seeds=SEEDS[:-1]) == 0,
    "one poor run of": lambda: min(OTHERS) - 0.03 > POOR,
    "35 of 37 runs fell": lambda: (FELL.sum(), len(FELL)) == (35, 37),
    "Even at their best, prompt and prefix are last there as here": lambda: all(
        [*LASTS[side].sort_values().index[:2]] == ["prompt", "prefix"] for side in LASTS),
    "full fine-tuning, first here, is not first there": lambda: full_is_first()
        and LASTS.there.idxmax() != "full fine-tuning",
    "does half the rate change the verdict": "the question",
    "takes the better of two rates": "what the cell does",
    "only MiSS can be told from it": lambda: words("final") == [UNSURE] * 4 + [WORSE],
    "OFT is ahead, and VeRA and RoAd are behind, too": lambda:
        words("half") == [BETTER, SAME, WORSE, WORSE, WORSE],
    "tells 28 of": lambda:
        sum(one_seed(*pair) in (BETTER, WORSE) for pair in combinations(EIGHTS, 2)) == 28
        and len(EIGHTS) == 10,
    "At the better of two rates these two runs are the same": "the output above it, of runs of the day",
}
