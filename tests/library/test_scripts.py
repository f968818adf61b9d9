"""Two scripts as somebody would write them who knows the README and the docstrings, run whole.

They use public names only, and say with `assert` what their author would look for.
"""

import pytest
import torch
from exact import assert_equal

import peft_teach as pt

pytestmark = pytest.mark.long


def test_two_tasks_on_one_base(tmp_path):
    """Two adapters of one base: trained, kept, loaded, swapped, and one merged into a plain model.

    Each is as good as when it was trained.
    """
    results, tests = {}, {}
    for task in ("movies", "news"):
        pt.seed(0)
        model, tokenizer = pt.models.load("minilm", labels=2)
        data = pt.data.load(task)
        tests[task] = pt.data.batches(data.test[:128], tokenizer, batch_size=64, shuffle=False)
        model = pt.lora.inject(model, pt.lora.Config(rank=8))
        assert pt.account.parameters(model).share < 0.01
        steps = list(pt.train(model, pt.data.batches(data.train[:800], tokenizer), lr=3e-3))
        assert sum(s.loss for s in steps[-20:]) < sum(s.loss for s in steps[:20])
        results[task] = pt.evaluate(model, tests[task])
        assert results[task].examples == 128
        assert results[task].accuracy > data.majority + 0.05
        pt.save(model, tmp_path / task)

    kept = pt.saved(tmp_path)
    assert [(a.name, a.method) for a in kept] == [("movies", "lora"), ("news", "lora")]
    assert all(a.size_bytes < 1_000_000 for a in kept)
    model, _ = pt.models.load("minilm", labels=2)
    model = pt.load(model, tmp_path / "movies")
    weights = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    other = pt.evaluate(model, tests["news"])    # the adapter of the wrong task
    assert other != results["news"]
    for task in ("news", "movies", "news"):
        model = pt.swap(model, tmp_path / task)
        assert pt.evaluate(model, tests[task]) == results[task]
    for n, p in model.named_parameters():
        if n in weights:
            assert_equal(p, weights[n], n)

    merged = pt.merge(model)
    assert not pt.adapters(merged)
    assert pt.evaluate(merged, tests["news"]).accuracy == pytest.approx(
        results["news"].accuracy, abs=0.01)
    merged.save_pretrained(tmp_path / "plain")    # a plain transformers model
    tokenizer.save_pretrained(tmp_path / "plain")
    again, _ = pt.models.load(f"hub:{tmp_path / 'plain'}", labels=2)
    assert pt.evaluate(again, tests["news"]) == pt.evaluate(merged, tests["news"])


QUESTIONS = {
    "What is a lantern for?": "for light in the dark", "What is a rope for?": "for tying things",
    "What is a clock for?": "for telling the time", "What is a broom for?": "for sweeping floors",
    "What is a kettle for?": "for boiling water", "What is a map for?": "for finding the way",
    "What is a knife for?": "for cutting things", "What is a pen for?": "for writing words",
    "What is a bell for?": "for calling people", "What is an oven for?": "for baking bread",
    "What is a coat for?": "for keeping warm", "What is a bridge for?": "for crossing rivers",
}
HELD_OUT = {"What is a boat for?": "for crossing water", "What is a lamp for?": "for reading late",
            "What is a spoon for?": "for eating soup", "What is a key for?": "for opening doors"}


def conversation(tokenizer, question: str, answer: str | None = None) -> str:
    said = [{"role": "user", "content": question}]
    if answer is not None:
        said.append({"role": "assistant", "content": f"Arr, matey! It is {answer}."})
    return tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=answer is None)


def batch_of(tokenizer, pairs: dict[str, str]) -> dict[str, torch.Tensor]:
    """Make one batch: the question is given (-100), the answer is asked for."""
    whole = [conversation(tokenizer, q, a) for q, a in pairs.items()]
    batch = dict(tokenizer(whole, return_tensors="pt", padding=True, add_special_tokens=False))
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for row, question in zip(range(len(labels)), pairs):
        given = tokenizer(conversation(tokenizer, question), add_special_tokens=False)["input_ids"]
        labels[row, :len(given)] = -100
    return batch | {"labels": labels}


def test_a_chat_model_that_learns_to_talk(tmp_path):
    """A SmolLM2 chat LoRA: perplexity of answers before and after, and two turns of a talk."""
    pt.seed(0)
    model, tokenizer = pt.models.load("smollm2")
    tokenizer.padding_side = "right"
    pairs = list(QUESTIONS.items())
    batches = [batch_of(tokenizer, dict(pairs[i:i + 4])) for i in (0, 4, 8)] * 4
    held_out = [batch_of(tokenizer, HELD_OUT)]

    def reply(ids, **options):
        return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12,
                              do_sample=False, return_dict_in_generate=True,
                              pad_token_id=tokenizer.pad_token_id, **options)

    def question_ids(text):
        return tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids.to(
            model.device)

    before = pt.evaluate(model, held_out)
    model = pt.lora.inject(model, pt.lora.Config(rank=8, targets=("query", "value")))
    assert pt.evaluate(model, held_out).loss == pytest.approx(before.loss, abs=1e-4)
    for step in pt.train(model, batches, lr=2e-3):
        assert step.loss < 10
    after = pt.evaluate(model, held_out)
    assert after.perplexity < before.perplexity / 2
    assert after.tokens == before.tokens == int((held_out[0]["labels"] != -100).sum())

    ids = question_ids(conversation(tokenizer, "What is a chair for?"))
    first = reply(ids)
    assert "matey" in tokenizer.decode(first.sequences[0, ids.shape[1]:])
    with pt.disabled(model):
        plain = reply(ids)
    assert "matey" not in tokenizer.decode(plain.sequences[0, ids.shape[1]:])

    more = question_ids("<|im_end|>\n" + conversation(tokenizer, "And a table?"))
    whole = torch.cat([first.sequences, more], 1)    # the second turn goes on from the first
    second = reply(whole, past_key_values=first.past_key_values)
    assert_equal(second.sequences, reply(whole).sequences)
    pt.save(model, tmp_path / "pirate")
    fresh, _ = pt.models.load("smollm2")
    assert pt.evaluate(pt.load(fresh, tmp_path / "pirate"), held_out) == after
