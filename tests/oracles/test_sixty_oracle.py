"""The layers of lesson 13, ours and the reader's, against Hugging Face peft's own."""

import copy

import pytest
import torch
from adapted import logits

import peft_teach as pt
from peft_teach.course.lessons.sixty import layers
from peft_teach.course.lessons.sixty.reference import RoAd

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
WHERE = {"target_modules": ["query", "value"]}
SHARED = layers.Projections(32, 32, 24, seed=3)
TURNED = peft.RoadConfig(variant="road_1", group_size=2, **WHERE)

# Our layer; peft's; by our parameter peft's name of it, and how ours becomes theirs.
METHODS = {
    "VeRA": (lambda base: layers.VeRALinear(base, SHARED), peft.VeraConfig(
        r=24, projection_prng_key=3, **WHERE),
        {"d": "vera_lambda_d.default", "b": "vera_lambda_b.default"}),
    "MiSS": (lambda base: layers.MiSSLinear(base, 8), peft.MissConfig(r=8, **WHERE),
             {"M": "miss_block.default"}),
    "PiSSA": (lambda base: layers.PiSSALinear(base, 4, 8.0), peft.LoraConfig(
        r=4, lora_alpha=8, init_lora_weights="pissa", **WHERE),
        {"A": "lora_A.default.weight", "B": "lora_B.default.weight"}),
    "OFT": (lambda base: layers.OFTLinear(base, 8), peft.OFTConfig(
        r=0, oft_block_size=8, use_cayley_neumann=False, **WHERE), {"q": "oft_R.default.weight"}),
    "the reader's RoAd": (RoAd, TURNED, {"theta": "road_theta.default",
                                         "alpha": "road_alpha.default"}),
}


@pytest.mark.parametrize("method", METHODS)
def test_peft_gives_the_same_outputs_and_gradients_merged_too(method, tiny, inputs):
    make, config, names = METHODS[method]
    base = tiny("bert").eval()
    batch = inputs(base)
    before = logits(base, batch).detach()
    theirs = peft.get_peft_model(copy.deepcopy(base), config).eval()
    ours = pt.attach(base, ("query", "value"), make).eval()
    torch.testing.assert_close(logits(ours, batch), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(theirs, batch), before, rtol=1e-4, atol=1e-4)
    generator, state, pairs = torch.Generator().manual_seed(0), dict(theirs.named_parameters()), []
    for name, adapter in pt.adapters(ours).items():
        own = {key for key, _ in adapter.named_parameters() if not key.startswith("base.")}
        assert own == {*names}
        for key, other in names.items():
            mine, peers = getattr(adapter, key), state[f"base_model.model.{name}.{other}"]
            assert mine.numel() == peers.numel()    # the count, too
            with torch.no_grad():
                mine.add_(0.3 * torch.randn(mine.shape, generator=generator))
                peers.copy_(mine.T if mine.shape != peers.shape else mine)
            pairs.append((mine, peers))
    got, expected = logits(ours, batch), logits(theirs, batch)
    assert (got - before).abs().max() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    for model in (ours, theirs):
        logits(model, batch).square().sum().backward()
    for mine, peers in pairs:
        grad = mine.grad.T if mine.shape != peers.shape else mine.grad
        torch.testing.assert_close(grad, peers.grad, rtol=1e-3, atol=1e-4)
    merged = pt.merge(ours)
    torch.testing.assert_close(logits(merged, batch), got, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(theirs.merge_and_unload(), batch), got, rtol=1e-4, atol=1e-4)
