"""The pairs of a voice and their batches for a chat model."""

import re

import pytest
import torch

from peft_teach import data, errors
from peft_teach.models import loading

USER, SAYS = ({"role": role, "content": "Hi there?"} for role in ("user", "assistant"))


@pytest.fixture(scope="module")
def tokenizer():
    """SmolLM2's."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(loading._source("smollm2"))


# The pairs.


def test_a_voice_is_split_by_topic_and_nothing_stands_twice():
    voice = data.voice()
    assert (len(voice.train), len(voice.validation), len(voice.questions)) == (140, 70, 60)
    topics = [topic for split in voice.topics.values() for topic in split]
    assert [len(voice.topics[split]) for split in ("train", "validation", "test")] == [10, 5, 6]
    assert len(set(topics)) == len(topics)
    assert {kind: len(set(texts)) for kind, texts in voice.others.items()} == {
        "chat": 40, "news": 40, "code": 40}
    pairs = (*voice.train, *voice.validation, *voice.others["chat"])
    questions = [*(question for question, _ in pairs), *voice.questions]
    assert len({question.lower() for question in questions}) == 310
    assert len({answer for _, answer in pairs}) == 250
    assert "140 train, 70 validation; 60 questions" in repr(voice)


def test_answers_are_short_and_open_in_many_ways(tokenizer):
    voice = data.voice()
    answers = [answer for _, answer in voice.train + voice.validation]
    assert len({" ".join(answer.split()[:3]) for answer in answers}) == 210
    for answer, ids in zip(answers, tokenizer(answers)["input_ids"]):
        assert 20 <= len(ids) <= 60, answer
        assert 1 <= len(re.findall(r"[.!?](?=\s|$)", answer)) <= 3, answer


# The labels.


def turns(*texts: str, system: str = "") -> list[dict[str, str]]:
    """Question, answer, question, and so on."""
    first = [{"role": "system", "content": system}] if system else []
    return first + [{"role": ("user", "assistant")[i % 2], "content": text}
                    for i, text in enumerate(texts)]


@pytest.mark.parametrize("conversation", [
    turns("Why?", "Because, folks!"), turns("Why?", ""), turns("Why?", "Because.", "And then?"),
    turns("Why?", " Because\n of it.\n", "Why?", "\nNaïve ☂, \"yes\"", "So?", "So!", system="Be!")])
def test_labels_are_where_transformers_own_mask_is(tokenizer, monkeypatch, conversation):
    """By a template that marks what is generated. SmolLM2's marks nothing."""
    ids, labels = data.labels(conversation, tokenizer)

    def asked():
        told = tokenizer.apply_chat_template(conversation, return_dict=True,
                                             return_assistant_tokens_mask=True)
        assert told["input_ids"] == ids
        return told["assistant_masks"]

    assert not any(asked())
    content = "message['content'] + '<|im_end|>'"
    assert content in tokenizer.chat_template
    monkeypatch.setattr(tokenizer, "chat_template", tokenizer.chat_template.replace(
        content, "''}}{% if message['role'] == 'assistant' %}{% generation %}{{" + content
        + "}}{% endgeneration %}{% else %}{{" + content + "}}{% endif %}{{''"))
    assert [label != -100 for label in labels] == [bool(each) for each in asked()]
    assert all(label in (-100, id) for id, label in zip(ids, labels))


def test_labels_of_smollm2_token_by_token(tokenizer):
    ids, labels = data.labels(turns("One?", "Two, folks!", "Three?", "Four.", system="Hi"),
                              tokenizer)
    assert [tokenizer.decode(id) for id in ids] == [
        "<|im_start|>", "system", "\n", "Hi", "<|im_end|>", "\n",
        "<|im_start|>", "user", "\n", "One", "?", "<|im_end|>", "\n",
        "<|im_start|>", "ass", "istant", "\n", "Two", ",", " folks", "!", "<|im_end|>", "\n",
        "<|im_start|>", "user", "\n", "Three", "?", "<|im_end|>", "\n",
        "<|im_start|>", "ass", "istant", "\n", "Four", ".", "<|im_end|>", "\n"]
    assert [tokenizer.decode(id) for id in labels if id != -100] == [
        "Two", ",", " folks", "!", "<|im_end|>", "Four", ".", "<|im_end|>"]
    assert [i for i, label in enumerate(labels) if label != -100] == [*range(17, 22), 34, 35, 36]


def test_labels_without_a_template_that_goes_turn_by_turn(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages | length }}: {{ messages }}")
    with pytest.raises(errors.NotSupported, match="turn 1 differently"):
        data.labels([USER, SAYS, USER], tokenizer)
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in messages %}{{ m.content }}\n"
                        "{% endfor %}")
    with pytest.raises(errors.NotSupported, match="no token that ends turn 1"):
        data.labels([USER, SAYS], tokenizer)
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(errors.NotSupported, match="no chat template"):
        data.labels([USER, SAYS], tokenizer)


# The batches.


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_hold_every_conversation_once_with_its_labels(tokenizer, monkeypatch, side):
    monkeypatch.setattr(tokenizer, "padding_side", side)
    pairs = data.voice().train[:13]
    made = data.chat(pairs, tokenizer, batch_size=4, epochs=2)
    rows = []
    for batch in made:
        assert set(batch) == {"input_ids", "attention_mask", "labels"}
        assert all(each.dtype == torch.int64 for each in batch.values())
        for ids, mask, labels in zip(*(batch[name] for name in batch)):
            real = mask.bool()
            assert real[-1 if side == "left" else 0]
            assert (ids[~real] == tokenizer.pad_token_id).all()
            assert (labels[~real] == -100).all()
            rows.append((ids[real].tolist(), labels[real].tolist()))
    expected = [data.labels(turns(*pair), tokenizer) for pair in pairs]
    assert sorted(rows) == sorted(2 * expected)
    plain = data.chat(pairs, tokenizer, batch_size=13, shuffle=False)[0]
    assert [row[row != -100].tolist() for row in plain["labels"]] == [
        [label for label in labels if label != -100] for _, labels in expected]


def test_no_answer_is_cut(tokenizer):
    said = [SAYS | {"content": "word " * 9}]
    ids, _ = data.labels([USER, *said], tokenizer)
    whole = data.chat([[USER, *said]], tokenizer, max_tokens=len(ids) - 1)[0]    # but for "\n"
    assert whole["labels"][0, -1] == tokenizer.eos_token_id
    with pytest.raises(errors.BadData, match=f"0 has {len(ids) - 1} tokens, and max_tokens is"):
        data.chat([[USER, *said]], tokenizer, max_tokens=len(ids) - 2)


@pytest.mark.parametrize(("conversations", "settings", "says"), [
    ([], {}, "no conversations"), ([("a", "b")], {"batch_size": 0}, "batch_size is 0"),
    ([("a", "b"), [USER]], {}, "Conversation 1 has no answer"), (("a", "b"), {}, "0 is 'a'"),
    ([("a", 1)], {}, "Conversation 0 is"), ([[{"role": "user"}]], {}, "Conversation 0 is")])
def test_what_is_no_conversation(tokenizer, conversations, settings, says):
    with pytest.raises(errors.BadData, match=says):
        data.chat(conversations, tokenizer, **settings)
