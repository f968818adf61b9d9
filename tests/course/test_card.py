"""Cards: the same words in a notebook and in a terminal, escaped, and never on stderr."""

import re
from types import SimpleNamespace

import IPython
import pytest

from peft_teach.course.desk.card import Card, show

CARD = Card("demo.double", "wrong", "0 of 3 points", ("The output <is> the input.", ""),
            table=(("a", "b"), (1, "x & y"), (100, "z")), code_label="Where it happened:",
            code="Traceback:\n  if a < b:\n", next="pt.hint('demo.double')")


def test_plain_text_says_everything():
    assert repr(CARD).split("\n") == [
        "✗ demo.double: wrong (0 of 3 points)",
        "  The output <is> the input.",
        "  a    b",
        "  1    x & y",
        "  100  z",
        "  Where it happened:",
        "  Traceback:",
        "    if a < b:",
        "  Next: pt.hint('demo.double')"]
    assert repr(Card("Lesson")) == "Lesson"


def test_html_says_the_same_and_is_escaped():
    html = CARD._repr_html_()
    assert "demo.double: wrong (0 of 3 points)" in html
    assert "&lt;is&gt;" in html
    assert "<is>" not in html
    assert "if a &lt; b:" in re.search("<pre.*?</pre>", html, re.DOTALL).group()
    assert "pt.hint(&#x27;demo.double&#x27;)" in html
    assert "x &amp; y" in html


@pytest.mark.parametrize("state", ["passed", "wrong", "not attempted", "reference", ""])
def test_the_state_is_in_words_and_the_page_gives_the_colours(state):
    html = Card("lora.layer", state)._repr_html_()
    assert state in re.search('aria-label="(.*?)"', html).group(1)
    colours = re.findall(r"[^-](?:color|background): ([^;\"]*)", html)
    assert set(colours) == {"inherit", "transparent"}
    assert "<style" not in html  # Colab and untrusted notebooks drop style sheets


def test_html_is_balanced():
    html = CARD._repr_html_()
    for tag in ("div", "pre", "table", "tr", "td", "th", "code", "strong"):
        assert html.count(f"<{tag}>") + html.count(f"<{tag} ") == html.count(f"</{tag}>"), tag


def test_shown_by_print_without_ipython(capsys):
    show(CARD)
    assert capsys.readouterr() == (f"{CARD}\n", "")


def test_shown_by_display_in_ipython(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace())
    monkeypatch.setattr("IPython.display.display", shown.append)
    show(CARD)
    assert shown == [CARD]
    assert capsys.readouterr() == ("", "")
