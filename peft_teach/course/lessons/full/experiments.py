"""The exercises of lesson 01 on experiments: two runs that tell explanations apart; sick ones."""

from typing import Any

from ...checks.exercise import VALUE, Exercise, Verdict
from ...checks.judge import plain, rejected, whole
from . import sick

# ── full.pair ────────────────────────────────────────────────────────────────────────────────

APART, TOGETHER = "apart", "together"
SETTINGS = {"reads": ("pooler", "mean"), "features": ("raw", "standardized"),
            "steps": (250, 2500)}
# Whether a run ends low, by each explanation of the eight points.
LOW = {"place": lambda run: run["reads"] == "pooler",
       "steps": lambda run: run["reads"] == "pooler" and run["steps"] == 250,
       "scale": lambda run: run["reads"] == "pooler" and run["features"] == "raw"}


def judge_pair(case: None, found) -> Verdict:
    """Ask of two runs whether they differ in one thing, and tell explanations apart."""
    *runs, foretold = found
    for run in runs:
        if odd := _no_setting(run):
            return rejected("no_setting", odd)
    differing = [name for name in SETTINGS if runs[0][name] != runs[1][name]]
    if not differing:
        return rejected("same", f"They are {runs[0]} and {runs[1]}.")
    told = f"They differ in {' and '.join(differing)}."
    if len(differing) > 1:
        return rejected("not_controlled", told)
    right = {name: APART if low(runs[0]) != low(runs[1]) else TOGETHER
             for name, low in LOW.items()}
    if len(set(right.values())) == 1:
        return rejected(f"all_{right['place']}", f"{told} Each of the three explanations predicts "
                                                 f"that these two end {right['place']}.")
    if not isinstance(foretold, dict) or foretold.keys() != right.keys() or not all(
            value in (APART, TOGETHER) for value in foretold.values()):
        return rejected("no_forecast", f"The forecast is {foretold!r}.")
    if wrong := [name for name in right if foretold[name] != right[name]]:
        return rejected("wrong_forecast", f"{told} Look again at the forecast for {wrong[0]}.")
    return Verdict(True, f"{told} " + "; ".join(
        f"if it is the {name}, they end {end}" for name, end in right.items()) + ".")


def _no_setting(run: Any) -> str:
    """Say what is not a setting in this; an empty text where nothing is."""
    if not isinstance(run, dict) or run.keys() != SETTINGS.keys():
        return f"A run is {run!r}."
    odd = [name for name, values in SETTINGS.items() if plain(run[name]) not in values]
    return f"A run's {odd[0]} is {run[odd[0]]!r}." if odd else ""


PAIR_MISTAKES = {
    "no_setting": "Each run is a dict with reads, features and steps, and values out of the table.",
    "same": "Two runs that differ in nothing tell nothing apart but luck.",
    "not_controlled": "If they end apart, which of these was it? Change one thing.",
    "all_apart": "So whatever comes out, all three survive, or all three fall. Change what one of "
                 "them blames, in both runs.",
    "all_together": "So whatever comes out, all three survive, or all three fall. Take a run that "
                    "at least one of them says is low.",
    "no_forecast": "For each explanation, place, steps and scale, say whether the two runs would "
                   "end \"apart\" or \"together\" if it were the whole truth.",
    "wrong_forecast": "Take that explanation for the whole truth: which of your two runs, if any, "
                      "has what it blames, and so ends low?",
}

PAIR = Exercise(
    id="full.pair", names=("first_run", "second_run", "foretold"), points=2,
    minutes=7, difficulty=2, answer=VALUE,
    cases=lambda seed: [None], run=lambda answer, case: answer, judge=judge_pair,
    mistakes=PAIR_MISTAKES, returns=tuple[Any, Any, Any],
    hints=("A run ends low if it has what an explanation blames. Go through the eight combinations "
           "of the table: which end low if the place is to blame? The steps? The scale?",
           "Two runs decide something if at least one explanation has them end apart and at least "
           "one together.",
           "The two heads that were compared, on raw features after 250 steps, end apart by all "
           "three. What could you change in both of them, so that one explanation has nothing to "
           "blame any more?"))


# ── full.culprits ────────────────────────────────────────────────────────────────────────────

CULPRITS = dict(sick.RUNS)


def judge_culprits(case: None, found) -> Verdict:
    """Compare the change that is blamed for each run with the one that was made."""
    if not isinstance(found, dict) or found.keys() != CULPRITS.keys() or any(
            whole(plain(value)) not in sick.CHANGES for value in found.values()):
        return rejected("no_table", f"It is {found!r}.")
    wrong = [name for name, change in CULPRITS.items() if whole(plain(found[name])) != change]
    if wrong:
        blamed = sick.CHANGES[whole(plain(found[wrong[0]]))]
        return rejected(f"not_{wrong[0]}", f"{len(wrong)} of 3 are not what happened. Run "
                                           f"{wrong[0]}: it is not that {blamed}.")
    return Verdict(True, "All three.")


CULPRITS_MISTAKES = {
    "no_table": "A dict is wanted with a number from the list for each of \"A\", \"B\" and \"C\".",
    "not_A": "A's weights moved, and it answers hardly better than a coin. What did it learn from?",
    "not_B": "B answers nearly as well as the healthy one, and its loss says that it is very sure "
             "where it is wrong. What keeps its weights running?",
    "not_C": "C moves in the right direction. How far did its weights go, compared with the "
             "healthy one's?",
}

CULPRITS_EXERCISE = Exercise(
    id="full.culprits", names=("culprits",), points=2, minutes=6, difficulty=2,
    answer=VALUE, optional=True, cases=lambda seed: [None], run=lambda answer, case: answer,
    judge=judge_culprits, mistakes=CULPRITS_MISTAKES,
    hints=("Three symptoms, not one: the loss, the accuracy, and how far the weights went.",
           "For each change of the list say what it would do to all three, then compare.",
           "Try a suspicion: break a copy of your own step and train a head with it."))
