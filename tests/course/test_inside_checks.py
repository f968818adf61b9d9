"""What only the checks of lesson 00 do; and their references against torch and transformers."""

import pytest
import torch

import peft_teach as pt
from peft_teach.course.exercise import WRONG, examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.inside.blocks import PLACES
from peft_teach.course.lessons.inside.exercises import block_count, block_slips


def test_other_key_errors_are_crashes_with_their_input():
    """Only a length that was not measured is a mistake with a name."""
    result = examine(find("inside.activations"), lambda batch, tokens, m: {"a": 1}["b"])
    assert (result.state, result.mistake) == (WRONG, None)
    assert "KeyError: 'b'" in result.traceback
    assert "tokens=300" in result.message


# ── the references against torch ─────────────────────────────────────────────────────────────


def test_a_layer_has_what_torch_holds():
    for n_in, n_out in ((3, 5), (7, 2)):
        layer = torch.nn.Linear(n_in, n_out)
        assert find("inside.linear").resolve()(n_in, n_out) == sum(
            p.numel() for p in layer.parameters())


@pytest.mark.parametrize("sizes", [(12, 20, 3), (16, 64, 2)])
def test_a_block_has_what_transformers_builds(sizes):
    block, (d_model, d_ff, heads) = bert_layer(*sizes), sizes
    assert find("inside.block").resolve()(d_model, d_ff, heads, heads) == sum(
        p.numel() for p in block.parameters())


def test_shared_keys_and_values_are_as_in_llama():
    """Without biases and with one weight a norm, but of the same widths."""
    counts = pt.outlines.counts("tinyllama-1.1b")
    d, f, heads, shared = 2048, 5632, 32, 4
    assert counts["key"] == 22 * d * (d // heads) * shared
    with_biases = find("inside.block").resolve()(d, f, heads, shared)
    one = sum(counts[place] for place in ("query", "key", "value", "attention_out", "ffn_in",
                                          "ffn_out")) // 22
    biases = 2 * d + 2 * d // heads * shared + f + d
    assert with_biases == one + biases + 4 * d


def test_no_two_mistakes_of_the_count_agree_on_the_smallest_case():
    case = find("inside.block").cases(0)[0]
    slips = block_slips(case["d_model"], case["d_ff"], case["heads"], case["kv_heads"])
    owners = {}
    for name, values in slips.items():
        for value in values if isinstance(values, tuple) else (values,):
            assert owners.setdefault(value, name) == name, (name, owners[value])
    assert block_count(*case.values()) not in owners


def bert_layer(d_model, d_ff, heads):
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    torch.manual_seed(0)
    config = BertConfig(hidden_size=d_model, intermediate_size=d_ff, num_attention_heads=heads,
                        num_hidden_layers=1, layer_norm_eps=1e-12)
    config._attn_implementation = "eager"
    return BertLayer(config).eval()


def test_the_reference_is_the_block_of_transformers():
    block, x, heads = bert_layer(24, 40, 3), torch.randn(2, 5, 24), 3
    layers = {"query": block.attention.self.query, "key": block.attention.self.key,
              "value": block.attention.self.value, "attention_out": block.attention.output.dense,
              "attention_norm": block.attention.output.LayerNorm,
              "ffn_in": block.intermediate.dense, "ffn_out": block.output.dense,
              "ffn_norm": block.output.LayerNorm}
    weights = {f"{name}.{kind}": getattr(layer, kind).detach()
               for name, layer in layers.items() for kind in ("weight", "bias")}
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    hidden = torch.finfo(x.dtype).min * (1 - mask[:, None, None].float())
    with torch.no_grad():
        theirs = block(x, attention_mask=hidden)
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    ours = find("inside.transformer").resolve()(x, mask, weights, heads)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_attention_is_torchs_own():
    randn = torch.randn
    q, k, v = randn(2, 3, 8), randn(2, 5, 8), randn(2, 5, 8)
    mask = torch.ones(2, 3, 5, dtype=torch.bool).tril(2)
    parts = (x.unflatten(-1, (4, 2)).transpose(1, 2) for x in (q, k, v))
    theirs = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask[:, None])
    assert torch.allclose(find("inside.attention").resolve()(q, k, v, 4, mask),
                          theirs.transpose(1, 2).flatten(2), atol=1e-6)


def test_one_order_of_twenty_four_gives_the_block_of_minilm():
    pictures = pt.course.pictures("inside")
    model, tokenizer = pt.models.load("minilm", labels=2, attention="eager")
    batch = tokenizer(["A quiet, funny film.", "Dull."], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model.eval().bert(**batch, output_hidden_states=True).hidden_states
    places = pt.models.places(model)
    weights = {f"{place}.{kind}": getattr(model.get_submodule(places[place][3]), kind).detach()
               for place in (*PLACES, "attention_norm", "ffn_in", "ffn_out", "ffn_norm")
               for kind in ("weight", "bias")}
    block = find("inside.transformer").resolve()
    pieces = pictures.unlabelled(model)
    gaps = pictures.try_orders(
        lambda W: block(hidden[3], batch["attention_mask"], W, 12), hidden[4],
        {n: w for n, w in weights.items() if n.partition(".")[0] not in PLACES},
        pieces)
    near, second = sorted(gaps, key=gaps.get)[:2]
    assert (near, len(gaps)) == (find("inside.order").resolve(), 24)
    assert gaps[near] < 1e-5 < 1e-2 < gaps[second]
    # And the output alone tells: beside the model's own matrices, nothing looks alike.
    for kind in (0, 1):
        theirs = [weights[f"{place}.{('weight', 'bias')[kind]}"] for place in PLACES]
        for each in theirs:
            assert not any((each - piece[kind]).abs().max() < 0.1 for piece in pieces.values())
        by_norm = sorted(pieces, key=lambda letter, kind=kind: pieces[letter][kind].norm().item())
        ranks = sorted(range(4), key=lambda i, theirs=theirs: theirs[i].norm().item())
        assert [near[i] for i in ranks] != by_norm


@pytest.mark.parametrize(("optimizer", "moments"), [
    (torch.optim.AdamW, 2), (lambda p: torch.optim.SGD(p, momentum=0.9), 1), (torch.optim.SGD, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ledger_is_what_torch_holds_after_a_step(optimizer, moments, dtype):
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3)).to(dtype)
    model[0].requires_grad_(False)
    used = optimizer([p for p in model.parameters() if p.requires_grad])
    model(torch.randn(2, 6, dtype=dtype)).sum().backward()
    used.step()
    tensors = [t for state in used.state.values() for t in state.values()
               if isinstance(t, torch.Tensor) and t.dim()]
    assert find("inside.ledger").resolve()(53, 18, dtype.itemsize, moments) == {
        "weights": sum(p.nbytes for p in model.parameters()),
        "gradients": sum(p.grad.nbytes for p in model.parameters() if p.grad is not None),
        "optimizer": sum(t.nbytes for t in tensors)}


def test_the_law_predicts_a_real_model_at_a_size_never_run():
    model = pt.full.inject(pt.models.load("minilm", labels=2)[0])

    def measure(batch, tokens):
        ids = torch.ones(batch, tokens, dtype=torch.long)
        return pt.account.activations(model, {"input_ids": ids})

    predict = find("inside.activations").resolve()
    measured = {t: measure(1, t) for t in (32, 128)}
    assert predict(3, 200, measured) == pytest.approx(measure(3, 200), rel=0.01)
