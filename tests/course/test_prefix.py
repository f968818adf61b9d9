"""What the pictures of lesson 04 show, and what they are computed by."""

import pytest
import torch

import peft_teach as pt
from peft_teach.course.lessons.inside.exercises import attention
from peft_teach.course.lessons.prefix import mixture, pictures
from peft_teach.course.lessons.prefix.mutants import BROKEN, RIGHT, put, read_with, text
from peft_teach.course.lessons.prefix.reference import stepwise_holds

TEXT = "A quiet, funny, generous film."


@pytest.fixture(scope="module")
def minilm():
    return pt.models.load("minilm", device="cpu")


def sentence(tokenizer):
    return tokenizer(TEXT, return_tensors="pt")["input_ids"]


@pytest.mark.parametrize("start", [0.0, 0.02, 1.0])
def test_attention_with_a_prefix_is_the_mixture(minilm, start):
    model, tokenizer = minilm
    K, V = pictures.start_of(model, start, 20)
    ids = sentence(tokenizer)
    seq = ids.shape[1]
    for n, layer in enumerate(pictures.with_prefix(model, K, V, ids)):
        q, k, v = layer["query"], layer["key"], layer["value"]
        words = attention(q, k, v, 12, torch.ones(1, seq, seq))
        read = attention(q, K[n][None], V[n][None], 12, torch.ones(1, seq, 20))
        share = mixture.prefix_share(q, k, K[n][None], 12, torch.ones(1, seq, seq))
        assert pictures.shares(model, K, V, ids)[n] == share[0].mean(-1).tolist()    # over tokens
        found = mixture.gated(words, read, share, torch.ones(share.shape[1]))
        assert torch.allclose(found, layer["read"], atol=1e-5)
        assert not torch.allclose(words, layer["read"], atol=1e-2)    # the prefix matters


def test_the_librarys_prefix_is_what_is_read(minilm):
    model, tokenizer = minilm
    prefix = pt.prefix.Prefix(model, 20)
    batch = tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad(), mixture.seen(prefix) as layers:
        prefix(**batch)
    ours = pictures.with_prefix(model, prefix.K.detach(), prefix.V.detach(), batch["input_ids"])
    assert all(torch.allclose(a["read"], b["read"], atol=1e-5) for a, b in zip(layers, ours))


@pytest.mark.filterwarnings("ignore::FutureWarning")    # of peft's own call of transformers
def test_peft_gives_the_same_hidden_states(minilm):
    """The start of `prefixed`: peft's own prefix, with its keys and values."""
    peft = pytest.importorskip("peft")
    model, tokenizer = pt.models.load("minilm", device="cpu")
    theirs = peft.get_peft_model(model, peft.PrefixTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=7)).eval()
    table = theirs.prompt_encoder["default"].embedding.weight.detach()        # (7, 12 · 384)
    both = table.view(7, 6, 2, 384).permute(2, 1, 0, 3)
    batch = tokenizer([TEXT, "Dull."], padding=True, return_tensors="pt")
    del batch["token_type_ids"]    # peft would warn that it leaves them out
    words = batch["attention_mask"].bool()
    pairs, mask, positions = pictures.prefixed(*both, batch["attention_mask"], 12)
    from transformers import DynamicCache
    with torch.no_grad():
        right = theirs(**batch)[0]
        found = minilm[0](input_ids=batch["input_ids"], attention_mask=mask,
                          position_ids=positions,
                          **{pt.models.cache_name(): DynamicCache(pairs)})[0]
    assert torch.allclose(found[words], right[words], atol=1e-4)


def test_no_right_way_to_read_is_told_from_the_plain_one():
    plain, far = (put(lambda read, ids: read(ids)[0], RIGHT[name]) for name in (
        "reads it as it should be", "leaves a gap behind the prefix, always the same"))
    assert not torch.allclose(plain, far, atol=1e-3)      # another convention, and as consistent
    assert (len(RIGHT), len(BROKEN)) == (5, 11)           # as the lesson says


def test_audit_reads_with_the_readers_own_piece():
    def unshifted(K, V, mask, heads):
        pairs, wide, positions = pictures.prefixed(K, V, mask, heads)
        return pairs, wide, positions - int(mask.shape[1] > 3)    # another place for the same word

    stepwise_holds(read_with(pictures.prefixed), text())
    with pytest.raises(AssertionError):
        stepwise_holds(read_with(unshifted), text())


def test_a_first_failure_names_the_property():
    def averaged(words, read, share, g):
        return mixture.gated(words, read, share, g.mean().expand_as(g))

    def plain_exp(q, k, K, heads, mask):
        q, k, K = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, K))
        front, words = ((q @ x.mT / q.shape[-1]**0.5).exp() for x in (K, k))
        return front.sum(-1) / (front.sum(-1) + words.masked_fill(~mask[:, None], 0).sum(-1))

    for exercise, wrong, says in ((mixture.GATE, averaged, "act as -0.39, -0.39"),
                                  (mixture.SHARE, plain_exp, "however large the scores are")):
        told = [exercise.judge(case, exercise.run(wrong, case)) for case in exercise.cases(0)]
        assert says in next(verdict.message for verdict in told if not verdict.passed)


def test_all_of_a_message_arrives_by_what_adds_it_and_none_by_nothing(minilm):
    class Adds(torch.nn.Module):
        def forward(self, input_ids, **rest):
            out = model(input_ids, **rest)
            out.hidden_states = (None, *(h + m for h, m in zip(out.hidden_states[1:], loud)))
            return out

    model, tokenizer = minilm
    sentences = pt.data.load("movies").test[:6]
    messages = pictures.Messages(model, tokenizer, sentences, sentences)
    for factor, wanted in ((1.0, 1.0), (0.5, 0.75), (0.0, 0.0), (-1.0, -3.0)):
        loud = factor * messages.m
        assert messages.arrived(Adds()) == pytest.approx([wanted] * 6, abs=1e-4)


def test_the_share_of_equal_vectors_is_that_of_one_softmax():
    for length, score in ((0, 0.0), (7, -1.0), (20, 2.0)):
        scores = torch.tensor([score] * length + [*pictures.WORDS.values()])
        found = pictures.mixture(length, score)
        assert found.share == pytest.approx(scores.softmax(0)[:length].sum().item(), abs=1e-6)
        assert sum(found.words) == pytest.approx(1)
