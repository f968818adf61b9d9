"""Adapters that earlier versions of this library saved: they load, and compute what they did."""

import pytest
import torch
from golden_files import CONFIGS, FOLDER, base, logits
from safetensors.torch import load_file

import peft_teach as pt


@pytest.mark.parametrize("method", CONFIGS)
def test_what_an_earlier_version_saved_loads_and_computes_the_same(method):
    expected = load_file(FOLDER / "outputs.safetensors")[method]
    plain = base(method)
    with torch.no_grad():
        for name in pt.models.head(plain):    # new for the task: the file brings its own
            plain.get_parameter(name).zero_()
    before = logits(plain)
    model = pt.load(plain, FOLDER / method).eval()
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)
    assert (before - expected).abs().max() > 1e-3
    again = pt.store.swap(model, FOLDER / method)    # the settings are these: tensors are copied
    assert again is model
