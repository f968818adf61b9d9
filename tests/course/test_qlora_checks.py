"""What only the checks of lesson 08 do."""

import torch

from peft_teach import nf4
from peft_teach.course.lessons.qlora import four_bits


def test_the_readers_bytes_are_those_of_the_library():
    W = torch.randn(32, 96, generator=torch.Generator().manual_seed(0))
    right = nf4.quantize(W)
    packed, top = four_bits.quantize(W, nf4.LEVELS)
    assert torch.equal(packed, right.packed)
    assert torch.equal(top, right.absmax)
    made = four_bits.dequantize(packed, top, nf4.LEVELS, W.shape)
    assert torch.equal(made, nf4.dequantize(right))
