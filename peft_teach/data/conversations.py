"""Questions and answers in one voice, a sports commentator's, which we wrote ourselves."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TEXTS = Path(__file__).parent / "texts"


class Pair(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, repr=False)
class Voice:
    """Questions that a sports commentator answers, split by topic, and texts of other kinds.

    `train`, 140 pairs of ten topics, and `validation`, 70 of five others. `questions`, 60 of six
    more, come without an answer. `others` has 40 short texts of each kind: "chat", pairs with plain
    answers, "news" and "code". `topics` names each split's.
    """

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    questions: tuple[str, ...]
    others: dict[str, tuple[Pair, ...] | tuple[str, ...]]
    topics: dict[str, tuple[str, ...]]

    def __repr__(self) -> str:
        return (f"<a sports commentator: {len(self.train)} train, {len(self.validation)} "
                f"validation; {len(self.questions)} questions>")


def voice() -> Voice:
    """Return answers in one voice, a sports commentator's, and what else a lesson asks of it."""
    rows, texts = ([json.loads(line) for line in
                    (TEXTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
                   for name in ("pairs", "others"))
    splits = {split: [row for row in rows if row["split"] == split]
              for split in ("train", "validation", "test")}
    return Voice(_pairs(splits["train"]), _pairs(splits["validation"]),
                 tuple(row["question"] for row in splits["test"]),
                 {"chat": _pairs([row for row in texts if row["kind"] == "chat"])} |
                 {kind: tuple(row["text"] for row in texts if row["kind"] == kind)
                  for kind in ("news", "code")},
                 {split: tuple(dict.fromkeys(row["topic"] for row in found))
                  for split, found in splits.items()})


def _pairs(rows: list[dict]) -> tuple[Pair, ...]:
    return tuple(Pair(row["question"], row["answer"]) for row in rows)
