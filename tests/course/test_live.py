"""What lessons see of a model on the spot."""

import torch

import peft_teach as pt
from peft_teach.course.desk import live


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


def test_a_model_with_one_output_reads_a_rating():
    model, tokenizer = pt.models.load("minilm", labels=1)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.fill_(-1.26)
    before = live.read(model, tokenizer, "So good.")
    assert before.loc["before training"].to_dict() == {"rating, −4 to 4": "-1.3"}
    assert len(live.read(model, tokenizer, "So good.", before)) == 2
    other, _ = pt.models.load("minilm", labels=1)
    with torch.no_grad():
        other.classifier.weight.zero_()
        other.classifier.bias.fill_(0.5)
    batch = tokenizer(["So good.", "So bad."], return_tensors="pt", padding=True)
    found = live.compare_outputs(model, [batch], {"other": other})
    assert found.loc["other"].tolist() == ["1.8e+00", "1.8e+00"]
