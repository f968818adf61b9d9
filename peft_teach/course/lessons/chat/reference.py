"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import re


# ── chat.stop ────────────────────────────────────────────────────────────────────────────────

def stops(batch, end):
    for labels in batch["labels"].tolist():
        run = []
        for label in [*labels, -100]:
            if label != -100:
                run.append(label)
                continue
            assert not run or end in run[-2:], f"{len(run)} labels, and the end is not the last"
            run = []


# ── chat.style ───────────────────────────────────────────────────────────────────────────────

def style(answer):
    traits = (r"(?i:\b(folks|ladies and gentlemen|sports fans)\b)", r"\b[A-Z]{2,}\b", r"!",
              r"(?i:\b(ball|captain|champion|coach|crowd|field|final|goal|keeper|lap|league|match|"
              r"pitch|player|race|referee|score\w*|season|second half|stadium|stands|team|title|"
              r"trophy|whistle|win\w*)s?\b)")
    found = sum(bool(re.search(trait, answer)) for trait in traits) / len(traits)
    rest = {*re.sub("|".join(traits), " ", answer).lower().split()}
    return found * min(1.0, 2 * len(rest) / max(1, len(answer.split())))


# ── chat.choose ──────────────────────────────────────────────────────────────────────────────

checkpoints = {"stage": 90, "stranger": 18, "desk": 36}
