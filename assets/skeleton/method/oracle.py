"""Name against an implementation that is not ours."""

import copy

import pytest
import torch
from adapted import outputs

import peft_teach as pt


def reference(base, adapters):
    """Put Name on a plain model by code that is not ours, with the numbers of our adapters.

    `adapters` are ours by the name of their module. Return the model, and pairs of parameters: one
    of ours, and the one that is the same there; third, if its shape is another, the function that
    makes our gradient of theirs. Hugging Face peft has many methods:

        peft = pytest.importorskip("peft")
        theirs = peft.get_peft_model(base, peft.…Config(target_modules=list(adapters)))
        state = dict(theirs.named_parameters())    # "base_model.model.….default"

    Assert the shapes there: without a GPU peft's BOFT takes one factor, whatever it was asked for.
    Else write the paper's formula down once more in plain torch, from the paper, not from our file.
    """
    pytest.fail("write the oracle: `reference` in tests/oracles/test_NAME_oracle.py")


def differs(what):
    return lambda told: f"peft_teach/methods/NAME.py: {what} differs from `reference`. {told}"


@pytest.mark.oracle("NAME")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")    # peft's
@pytest.mark.parametrize("family", ["bert", "llama"])    # GPT-2, too, where theirs takes its Conv1D
def test_another_implementation_gives_the_same(family, tiny, inputs):
    base = tiny(family)
    batch, plain = inputs(base), copy.deepcopy(base)
    model = pt.NAME.inject(base)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in pt.adapter_parameters(model).values():    # as training might have left them
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    theirs, pairs = reference(plain, pt.adapters(model))
    assert (outputs(model, batch) - outputs(tiny(family), batch)).abs().max() > 0.1
    torch.testing.assert_close(outputs(model, batch), outputs(theirs.eval(), batch),
                               rtol=1e-5, atol=1e-5, msg=differs("the output"))
    model(**batch).loss.backward()
    theirs(**batch).loss.backward()
    names = {id(p): name for name, p in pt.adapter_parameters(model).items()}
    assert {id(own) for own, *_ in pairs} == {*names}, "`reference` pairs each of our parameters"
    for own, other, *turned in pairs:
        assert other.grad.abs().sum() > 0
        expected = turned[0](other.grad) if turned else other.grad
        torch.testing.assert_close(own.grad, expected, rtol=1e-4, atol=1e-5,
                                   msg=differs(f"the gradient of {names[id(own)]}"))
