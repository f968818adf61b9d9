"""Lesson 00: what it claims and what its prose judges, by the record or by a step made now."""

from functools import cache

import torch
from claim_checks import Claim
from quote_checks import record

import peft_teach as pt
from peft_teach.course.lessons.inside import look, steps

EVERYTHING, LORA = "everything", "LoRA"
PEAKS = {row["method"]: row["ours"]["memory_bytes"]["peak"] for row in record("benchmark")["runs"]
         if (row["device"], row["model"]) == ("cpu", "minilm")}


@cache
def step(trains, n, tokens=32):
    """A step on n sentences of so many tokens: what it holds, counted without computing it."""
    ids = torch.arange(n * tokens, device="meta").reshape(n, tokens)
    return steps.through_a_step(look.prepared(trains).to("meta"),
                                {"input_ids": ids, "labels": ids[:, 0]})


def most(trains, n, *phases):
    """The most that is held, of these phases or of all, in bytes."""
    found = step(trains, n)
    return max(size for size, (phase, _) in zip(found.held, found.stretches)
               if not phases or phase in phases)


def passes(n):
    return most(EVERYTHING, n, steps.FORWARD, steps.LOSS, steps.BACKWARD)


def in_step(n):
    return most(EVERYTHING, n, steps.STEP)


def fused(n):
    """The most that is held where AdamW's step takes no working space, everything trained."""
    found = step(EVERYTHING, n)
    return max(passes(n), found.held[-1] - found.working[-1])


def share(n, tokens=32):
    return max(step(LORA, n, tokens).held) / max(step(EVERYTHING, n, tokens).held)


@cache
def predicted(n, tokens):
    """LoRA's share by the library's ledger."""
    lora, full = (pt.account.ledger(look.prepared(trains), n, tokens).peak_bytes
                  for trains in (LORA, EVERYTHING))
    return lora / full


def mb(size):
    return f"{size / 1e6:.0f}"


CLAIMS = (
    Claim("LoRA (rank 8, query and value) on MiniLM takes 37 % of full training's memory.",
          seen=f"one step of 16 × 32, float32, AdamW, every tensor counted: {mb(most(LORA, 16))} of "
               f"{mb(most(EVERYTHING, 16))} MB",
          tried=f"A whole process, by the operating system: {mb(PEAKS['lora'])} of "
                f"{mb(PEAKS['full'])} MB, both a quarter above our count, their ratio "
                f"{100 * PEAKS['lora'] / PEAKS['full']:.0f} %. Torch's AdamW as it is on a CPU goes "
                "tensor by tensor; a fused one needs no working space: "
                f"{100 * most(LORA, 16) / fused(16):.0f} %",
          holds={"takes 37 %": lambda: round(100 * share(16)) == 37,
                 "A whole process": lambda: abs(PEAKS["lora"] / PEAKS["full"] - share(16)) < 0.02,
                 "both a quarter above": lambda: all(1.2 < PEAKS[name] / most(trains, 16) < 1.3 for
                                                     name, trains in (("full", EVERYTHING), ("lora", LORA))),
                 "a fused one": lambda: step(EVERYTHING, 16).working[-1] > most(
                     EVERYTHING, 16) - fused(16) > 0}),
    Claim("When everything trains on 16 × 32, AdamW's step is the fullest moment.",
          seen=f"the two passes {mb(passes(16))} MB, the step {mb(in_step(16))}",
          tried=f"torch's own allocator: as counted. On 32 × 32 it fails: the passes {mb(passes(32))}, "
                f"the step {mb(in_step(32))}. With gradient accumulation activations and gradients "
                "add up",
          holds={"AdamW's step is the fullest": lambda: in_step(16) > passes(16),
                 "On 32 × 32 it fails": lambda: in_step(32) < passes(32)}),
    Claim("Where attention keeps its tables, we predict that longer sentences cost LoRA more of its "
          "saving than more sentences do.",
          seen=f"128 × 32: {100 * predicted(128, 32):.0f} %; 16 × 256: "
               f"{100 * predicted(16, 256):.0f} %, predicted from small batches",
          tried=f"measured: {100 * share(128):.0f} %, and {100 * share(16, 256):.0f} %",
          holds={"longer sentences cost LoRA more": lambda: predicted(16, 256) > predicted(
              128, 32) > predicted(16, 32)}),
)

JUDGED = {
    "Activations grow": lambda: max(step(EVERYTHING, 32).activations) > max(
        step(EVERYTHING, 16).activations),
}
