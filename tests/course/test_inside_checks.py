"""What only the checks of lesson 00 do; and their references against torch and transformers."""

import pytest
import torch

import peft_teach as pt
from peft_teach.course.exercise import WRONG, examine
from peft_teach.course.lessons import find


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
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    d_model, d_ff, heads = sizes
    block = BertLayer(BertConfig(hidden_size=d_model, intermediate_size=d_ff,
                                 num_attention_heads=heads, num_hidden_layers=1))
    assert find("inside.block").resolve()(*sizes) == sum(p.numel() for p in block.parameters())


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
