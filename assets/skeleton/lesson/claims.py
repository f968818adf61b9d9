"""Lesson NN: what it claims and what its prose judges, by the record."""

from claim_checks import Claim

import peft_teach as pt

N_IN, N_OUT = 384, 1536


def held(rank):
    return pt.lora.count(N_IN, N_OUT, rank)


LARGEST = max(rank for rank in range(1, N_IN) if held(rank) < N_IN * N_OUT)

CLAIMS = (
    Claim(f"Two factors of this matrix save numbers up to rank {LARGEST}.",
          seen=f"{held(LARGEST):,} in place of {N_IN * N_OUT:,}",
          tried=f"At rank {LARGEST + 1} they hold {held(LARGEST + 1):,}.",
          holds={"save numbers up to": lambda: held(LARGEST) < N_IN * N_OUT < held(LARGEST + 1)}),
)

JUDGED: dict = {}
