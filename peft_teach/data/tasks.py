"""The four tasks: rated sentences out of the cache, each in its split."""

import hashlib
import html
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from .. import fetch
from ..errors import unknown

DOMAINS = ("movies", "products", "tweets", "news")
BY_DOCUMENT = ("products", "news")  # their ids are document_sentence
TEST, VALIDATION = 0.25, 0.15
NEUTRAL = 0.5           # of a rating: the farthest from 0 at which it is neither yes nor no

SOURCE = (
    "C.J. Hutto and E.E. Gilbert: VADER: A Parsimonious Rule-based Model for Sentiment Analysis of "
    "Social Media Text. Eighth International Conference on Weblogs and Social Media, Ann Arbor, "
    "2014. The ratings are distributed with vaderSentiment 3.3.2 under the MIT licence."
)


class Example(NamedTuple):
    """A sentence and its label: 1 positive, 0 negative; or its mean rating, from -4 to 4."""

    text: str
    label: int | float


@dataclass(frozen=True, repr=False)
class Dataset:
    """A task with its fixed splits. Each split is in random order, so a slice is a fair sample."""

    name: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    source: str = SOURCE

    @property
    def majority(self) -> float:
        """Test accuracy of always giving training's more common label: the number to beat.

        It may be below a half, where the more common label in training is the rarer one in test.
        """
        answer = Counter(label for _, label in self.train).most_common(1)[0][0]
        return sum(label == answer for _, label in self.test) / len(self.test)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, split)):,} {split}"
                          for split in ("train", "validation", "test"))
        rated = any(isinstance(label, float) for _, label in self.test)
        return f"<{self.name}: {sizes}; " + ("ratings>" if rated else
                                             f"majority {self.majority:.1%}>")


def load(domain: str) -> Dataset:
    """Return the task `domain`: "movies", "products", "tweets" or "news".

    Sentences that the raters found neutral, with a mean within 0.5 of zero, are left out. Raises
    `UnknownName`, and `FetchError` where the sentences are not in the cache yet and cannot be
    fetched.
    """
    return _split_up(domain, [(name, Example(text, int(rating > 0)))
                              for name, rating, text in lines(domain) if abs(rating) > NEUTRAL])


def ratings(domain: str) -> Dataset:
    """Return a task whose labels are the mean ratings, from -4 to 4, neutral sentences included.

    For a model with one output, `models.load(name, labels=1)`, which is trained on the squared
    error. Each sentence is in the split in which `load` has it. Raises as `load` does.
    """
    return _split_up(domain, [(name, Example(text, rating))
                              for name, rating, text in lines(domain)])


def documents(domain: str) -> list[tuple[str, str]]:
    """Return each sentence of "products" or "news" with its document's number, in their order.

    Every text once. Sentences of one document are about one thing. Raises as `load` does.
    """
    if domain not in BY_DOCUMENT:
        raise unknown("domain with documents", domain, BY_DOCUMENT)
    first = {}
    for name, _, text in lines(domain):
        first.setdefault(text, name.split("_")[0])
    return [*first.items()]


def _split_up(domain: str, rows: list[tuple[str, Example]]) -> Dataset:
    """Return a task made of these (id, example), each text once."""
    splits = {"train": [], "validation": [], "test": []}
    seen = set()
    for name, example in rows:
        if example.text not in seen:
            seen.add(example.text)
            unit = name.split("_")[0] if domain in BY_DOCUMENT else example.text
            splits[_split(f"{domain}/{unit}")].append(example)
    # The file is ordered by document or topic; a hash of the text knows nothing of either.
    train, validation, test = (tuple(sorted(examples, key=lambda e: _hash(e.text)))
                               for examples in splits.values())
    return Dataset(domain, train, validation, test)


def lines(domain: str) -> list[tuple[str, float, str]]:
    """Return (id, mean rating, text) of every line of a task's file, repeated texts included.

    Raises as `load` does.
    """
    if domain not in DOMAINS:
        raise unknown("domain", domain, DOMAINS)
    file = fetch.path("vader") / f"{domain}.tsv"
    with open(file, encoding="utf-8") as found:    # tab-separated, with CRLF
        rows = [line.split("\t") for line in found]
    return [(name, float(rating), _clean(text)) for name, rating, text in rows]


def _clean(text: str) -> str:
    """Return plain text: `&amp;lt;`, escaped twice in places, is `<`; runs of spaces are one."""
    return " ".join(html.unescape(html.unescape(text)).split())


def _hash(text: str) -> float:
    """Return a number in [0, 1) that looks random and is the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _split(unit: str) -> str:
    """Return the split of a document or a text. All its sentences go together."""
    share = _hash(unit)
    return "test" if share < TEST else "validation" if share < TEST + VALIDATION else "train"
