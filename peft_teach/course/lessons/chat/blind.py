"""Two models' answers to the same questions, judged without knowing whose they are."""

import random
from collections.abc import Mapping
from html import escape

import ipywidgets as ipw

from .... import data
from ....errors import BadData
from ....widgets import Lasting
from ...verdicts import Comparison, verdict
from .recorded import rows

CHOICES = {"left": 1.0, "no difference": 0.5, "right": 0.0}    # what the answer on the left gets


class Blind(Lasting):
    """A pair of answers at a time, and three buttons. `scores` has those of `names`, a judged pair.

    `answers` holds both models' answers, in the order of `questions`. Which of a pair stands on the
    left is drawn; names are told when all are judged.
    """

    def __init__(self, questions: list[str], names: tuple[str, str],
                 answers: tuple[list[str], list[str]], seed: int = 0):
        self.questions, self.names, self.answers = questions, names, answers
        draw = random.Random(seed)
        self.first_left = [draw.random() < 0.5 for _ in questions]
        self.scores: list[tuple[float, float]] = []
        self.page = ipw.HTML()
        self.buttons = {name: ipw.Button(description=name) for name in CHOICES}
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.judge(name))
        super().__init__(ipw.VBox([self.page, ipw.HBox([*self.buttons.values()])]))
        self._show()

    def judge(self, choice: str) -> None:
        """Say which answer of the pair that is shown is the better one."""
        number = len(self.scores)
        if number == len(self.questions):
            return
        left = CHOICES[choice]
        first = left if self.first_left[number] else 1 - left
        self.scores.append((first, 1 - first))
        self._show()
        self._renew()

    def verdict(self) -> Comparison:
        """Compare the first model with the second: 1 a pair won, ½ where there is no difference."""
        if len(self.scores) < 2:
            raise BadData(f"{len(self.scores)} of {len(self.questions)} pairs are judged.",
                          expected="two at least", hint="press the buttons below the answers")
        first, second = zip(*self.scores)
        return verdict(first, second, margin=0)

    def still(self) -> tuple[str, str]:
        """Return the pair, or the result."""
        return self.page.value, f"{len(self.scores)} of {len(self.questions)} pairs are judged."

    def _show(self) -> None:
        number = len(self.scores)
        if number < len(self.questions):
            pair = [answers[number] for answers in self.answers]
            left, right = pair if self.first_left[number] else pair[::-1]
            self.page.value = (f"<b>{number + 1} of {len(self.questions)}: "
                               f"{escape(self.questions[number])}</b><table><tr>" + "".join(
                                   f'<td style="width: 50%; vertical-align: top; text-align: left">'
                                   f"{escape(text)}</td>" for text in (left, right))
                               + "</tr></table>")
            return
        won = sum(first for first, _ in self.scores)
        self.page.value = (f"{escape(self.names[0])} has {won:g} of {number} pairs, "
                           f"{escape(self.names[1])} the others. {escape(repr(self.verdict()))}")
        for button in self.buttons.values():
            button.disabled = True


def blind(record: Mapping, passes: tuple[float, float] = (1, 5), pairs: int = 20) -> Blind:
    """Return pairs of LoRA's answers after so many passes, one question each."""
    found = [rows(record, group="main", method="lora", seed=0, passes=each)[0]["answers"]
             for each in passes]
    chosen = range(0, len(found[0]), max(len(found[0]) // pairs, 1))
    every = data.voice().questions
    return Blind([every[i] for i in chosen], tuple(f"{each:g} passes" for each in passes),
                 tuple([answers[i] for i in chosen] for answers in found))
