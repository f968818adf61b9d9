"""What lessons see of a model on the spot, and how a page shows what a cell returns."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

import peft_teach as pt
from peft_teach.course.desk import live, shown
from peft_teach.errors import BadConfig


def test_a_model_reads_a_text_and_its_outputs_are_compared():
    movies = pt.data.load("movies")
    model, tokenizer = pt.models.load("minilm", labels=2)
    batches = pt.data.batches(movies.test[:64], tokenizer, 64, shuffle=False)
    same, = live.compare_outputs(model, batches, {"merged": model}).itertuples()
    assert same[1:] == ("0.0e+00", "0.0e+00")
    before = live.read(model, tokenizer, "So good.")
    assert [*live.read(model, tokenizer, "So good.", before).index] == [
        "before training", "after training"]
    told = live.likelihoods(torch.tensor(0.2), torch.tensor(0.8))
    assert told.loc["before training"].to_dict() == {"negative": "20%", "positive": "80%"}


def test_what_tests_say_of_a_broken_version_and_no_random_number_is_used_up():
    def accepts(version):
        return version() == torch.rand(1)    # whatever it returns

    def rejects(version):
        assert version() == 2, "two"

    before = torch.get_rng_state()
    said = live.tried([accepts, rejects], lambda: 1)["the broken version"]
    assert said.to_dict() == {"accepts": "accepts it", "rejects": "rejects it: AssertionError: two"}
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_with_one_output_reads_a_rating():
    model, tokenizer = pt.models.load("minilm", labels=1)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.fill_(-1.26)
    before = live.read(model, tokenizer, "So good.")
    assert before.loc["before training"].to_dict() == {"rating, −4 to 4": "-1.3"}
    assert len(live.read(model, tokenizer, "So good.", before)) == 2
    two, _ = pt.models.load("minilm", labels=2)    # an earlier one: the training was interrupted
    with pytest.raises(BadConfig, match=r"negative, positive.\nExpected: rating(.|\n)*trains it"):
        live.read(two, tokenizer, "So good.", before)
    other, _ = pt.models.load("minilm", labels=1)
    with torch.no_grad():
        other.classifier.weight.zero_()
        other.classifier.bias.fill_(0.5)
    batch = tokenizer(["So good.", "So bad."], return_tensors="pt", padding=True)
    found = live.compare_outputs(model, [batch], {"other": other})
    assert found.loc["other"].tolist() == ["1.8e+00", "1.8e+00"]


def cells_of(html):
    """The cells of a table, row by row; the headers of rows and columns among them."""
    rows = re.findall(r"<tr.*?>(.*?)</tr>", html, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


@pytest.mark.parametrize(("value", "expected"), [
    (pd.DataFrame({"a": [True, False], "n": [91150856, 3], "x": [0.5, float("nan")]}),
     [["a", "n", "x"], ["yes", "91,150,856", "0.5"], ["no", "3", "–"]]),
    (pd.Series({"unchanged": True, "trained": 73728, "share": None}).to_frame("LoRA"),
     [["", "LoRA"], ["unchanged", "yes"], ["trained", "73,728"], ["share", "–"]]),
    (pd.Series([0.527, 0.114], ["beside", "merged"], name="R²"),
     [["", "R²"], ["beside", "0.527"], ["merged", "0.114"]]),
    (pd.DataFrame({"rank": [1, 1], "alpha": [2, 16], "seed": [0, 0], "right": [0.8, 0.7]}).pivot(
        index=["rank", "alpha"], columns="seed", values="right"),
     [["rank", "alpha", "seed 0"], ["1", "2", "0.8"], ["1", "16", "0.7"]]),
    (torch.tensor([3.98, 2.43]), [["3.98", "2.43"]]),
    (torch.arange(4).reshape(2, 2), [["0", "1"], ["2", "3"]]),
    (torch.tensor([2**24 + 1]), [["16,777,217"]]), (torch.tensor([1 + 2j]), [["1.0+2.0j"]])],
    ids=repr)
def test_a_page_shows_tables_without_row_numbers_and_without_reprs(value, expected, monkeypatch):
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    monkeypatch.setattr(shown, "shell", lambda: shell)
    shown.install()
    formats, _ = shell.display_formatter.format(value)
    assert cells_of(formats["text/html"]) == expected
    assert formats["text/plain"] == repr(value)    # text stays


@pytest.mark.parametrize("tensor", [
    torch.zeros(2, 2, 2), torch.zeros(99, 99), torch.empty(0), torch.eye(2).to_sparse(),
    torch.empty(2, device="meta"), torch.empty((), device="meta")], ids=repr)
def test_what_is_too_large_for_a_page_or_has_no_numbers_is_left_to_its_library(tensor):
    assert shown.tensor(tensor) is None
    assert shown.frame(pd.DataFrame({"n": range(1000)})) is None
    assert "50 × 1, bfloat16" in shown.tensor(torch.zeros(50, 1, dtype=torch.bfloat16))
