"""Two models' answers to the same questions, judged without knowing whose they are."""

import random
from collections.abc import Mapping
from html import escape

import ipywidgets as ipw

from .... import data
from ....widgets import TOLD, Lasting
from ...verdicts import verdict
from .recorded import rows

CHOICES = {"left": 1.0, "no difference": 0.5, "right": 0.0}    # what the answer on the left gets


class Blind(Lasting):
    """A pair of answers at a time, and three buttons. `won` has what the first model got of each.

    `answers` holds both models' answers, in the order of `questions`. Which of a pair stands on the
    left is drawn; names are told when all are judged.
    """

    def __init__(self, questions: list[str], names: tuple[str, str],
                 answers: tuple[list[str], list[str]], seed: int = 0):
        self.questions, self.names, self.answers = questions, names, answers
        draw = random.Random(seed)
        self.first_left = [draw.random() < 0.5 for _ in questions]
        self.won: list[float] = []
        self.page = ipw.HTML().add_class(TOLD)
        self.buttons = {name: ipw.Button(description=name) for name in CHOICES}
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.judge(name))
        super().__init__(ipw.VBox([self.page, ipw.HBox([*self.buttons.values()])]))
        self._show()

    def judge(self, choice: str) -> None:
        """Say which answer of the pair that is shown is the better one."""
        number = len(self.won)
        if number < len(self.questions):
            left = CHOICES[choice]
            self.won.append(left if self.first_left[number] else 1 - left)
            self._show()
            self._renew()

    def still(self) -> tuple[str, str]:
        """Return the pair, or the result."""
        return self.page.value, f"{len(self.won)} of {len(self.questions)} pairs are judged."

    def _show(self) -> None:
        number = len(self.won)
        if number < len(self.questions):
            pair = [answers[number] for answers in self.answers]
            left, right = pair if self.first_left[number] else pair[::-1]
            self.page.value = (f"<b>{number + 1} of {len(self.questions)}: "
                               f"{escape(self.questions[number])}</b><table><tr>" + "".join(
                                   f'<td style="width: 50%; vertical-align: top; text-align: left">'
                                   f"{escape(text)}</td>" for text in (left, right))
                               + "</tr></table>")
            return
        found = verdict(self.won, [1 - won for won in self.won], margin=0)
        self.page.value = escape(f"{self.names[0]} has {sum(self.won):g} of {number} pairs, "
                                 f"{self.names[1]} the others. {found!r}")


def blind(record: Mapping) -> Blind:
    """Return 20 pairs of LoRA's answers after one pass and after five, one question each."""
    one, five = (rows(record, group="main", method="lora", seed=0, passes=passes)[0]["answers"]
                 for passes in (1, 5))
    return Blind([*data.voice().questions[:60:3]], ("one pass", "five passes"),
                 (one[:60:3], five[:60:3]))
