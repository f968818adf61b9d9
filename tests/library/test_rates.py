"""The learning rates that stand with the methods are those of recorded runs that learned."""

import pytest

import peft_teach as pt
from peft_teach.methods import METHODS

RATES = pt.course.records.load("rates")


@pytest.mark.parametrize(("model", "method"), sorted(
    {(row["model"], row["method"]) for row in RATES["runs"] if row["group"] == "defaults"}))
def test_the_recorded_runs_at_the_defaults_learned(model, method):
    """Well above the majority; and so does one at the rate that stands in the file now."""
    rows = pt.course.records.select(RATES, group="defaults", model=model, method=method)
    assert len(rows) == 3, (f"{method} on {model} has {len(rows)} of 3 seeds: python "
                            f"assets/records/rates.py --methods {method} goes on")
    now = [row for row in RATES["runs"] if row["model"] == "minilm" and row["method"] == method
           and row["lr"] == METHODS[method].LEARNING_RATE]
    for kind, found in ((model, rows), ("minilm", now)):
        tests, free = RATES["setting"]["tests"][kind], RATES["without_training"]["majority"][kind]
        assert found, (f"{method} has no run at LEARNING_RATE of peft_teach/methods/{method}.py: "
                       f"python assets/records/rates.py --again --methods {method}")
        mean, _ = pt.course.records.accuracy(found)
        assert mean - free > 3 * (free * (1 - free) / tests / len(found)) ** 0.5, (
            f"{method} on {kind}: {mean:.3f} is no more than {free:.3f}, which no training gives: "
            f"try another LEARNING_RATE in peft_teach/methods/{method}.py")
