"""VeRA, the worked example of CONTRIBUTING.md, against Hugging Face peft, and its shared pair."""

import copy

import pytest
import torch
import vera
from adapted import fill, logits
from exact import assert_equal
from safetensors.torch import load_file

import peft_teach as pt
from peft_teach.errors import AdapterFileError, BadConfig
from peft_teach.methods import METHODS

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
RANK, SEED = 24, 3
TARGETS = {"bert": ["query", "value"], "llama": ["q_proj", "v_proj"]}
each_family = pytest.mark.parametrize("family", TARGETS)


@pytest.fixture(autouse=True)
def _vera_is_in_the_table(monkeypatch):
    monkeypatch.setitem(METHODS, "vera", vera)


@pytest.mark.oracle("vera")
@each_family
def test_peft_gives_the_same_outputs_and_gradients_from_the_same_seed(family, tiny, inputs):
    """peft draws one pair for the largest shape and cuts it; the cut is our pair of that shape."""
    base = tiny(family)
    batch = inputs(base)
    before = logits(base, batch)
    theirs = peft.get_peft_model(copy.deepcopy(base), peft.VeraConfig(
        r=RANK, projection_prng_key=SEED, target_modules=TARGETS[family]))
    model = fill(vera.inject(base, vera.Config(RANK, SEED)), 0, 0.3)
    state = dict(theirs.named_parameters())
    pairs = []
    for name, adapter in pt.adapters(model).items():
        for own, other in (("d", "vera_lambda_d"), ("b", "vera_lambda_b")):
            other = state[f"base_model.model.{name}.{other}.default"]
            assert (other == (0.1 if own == "d" else 0.0)).all()    # our start, too
            other.data.copy_(getattr(adapter, own))
            pairs.append((getattr(adapter, own), other))
    got, expected = logits(model, batch), logits(theirs.eval(), batch)
    assert (got - before).abs().max() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    model(**batch).loss.backward()
    theirs(**batch).loss.backward()
    for own, other in pairs:
        assert other.grad.abs().sum() > 0
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(pt.merge(model), batch),
                               logits(theirs.merge_and_unload(), batch), rtol=1e-4, atol=1e-5)


# ── one pair for all layers of a shape ───────────────────────────────────────────────────────


def pairs_of(model) -> set[int]:
    return {id(adapter.shared.A) for adapter in pt.adapters(model).values()}


@each_family
def test_the_pair_stays_one_through_copies_moves_and_files(family, tiny, inputs, tmp_path):
    shapes = {"bert": 1, "llama": 2}[family]
    model = fill(vera.inject(tiny(family), vera.Config(RANK, SEED)))
    batch = inputs(model)
    expected = logits(model, batch)
    loaded = pt.load(tiny(family), pt.save(model, tmp_path))
    for other in (copy.deepcopy(model), loaded, pt.swap(loaded, tmp_path),
                  pt.swap(pt.lora.inject(tiny(family)), tmp_path)):
        assert len(pairs_of(other)) == shapes
        assert_equal(logits(other, batch), expected)
    moved = copy.deepcopy(model).to("meta")
    assert len(pairs_of(moved)) == shapes
    assert {adapter.shared.A.device.type for adapter in pt.adapters(moved).values()} == {"meta"}


def test_on_minilm_the_file_holds_what_is_trained(tmp_path):
    model, _ = pt.models.load("minilm", pretrained=False, device="cpu")
    model = vera.inject(model)
    trained = 6 * 2 * vera.count(384, 256)
    assert sum(p.numel() for p in pt.adapter_parameters(model).values()) == trained == 7_680
    tensors = load_file(pt.save(model, tmp_path) / "adapter.safetensors")
    assert sum(t.numel() for t in tensors.values()) == trained
    told, kept = (tmp_path / f"adapter.{end}" for end in ("json", "safetensors"))
    assert kept.stat().st_size < 4 * trained + told.stat().st_size + 4_000
    buffers = sum(b.nbytes for n, b in model.named_buffers() if "shared" in n)
    assert buffers == 4 * 256 * (384 + 384)    # in memory, too, they are there once


def test_a_file_whose_seed_gives_other_values_is_refused(tiny, inputs, tmp_path, monkeypatch):
    model = fill(vera.inject(tiny("bert"), vera.Config(RANK, SEED)))
    pt.save(model, tmp_path)
    fresh, other = tiny("bert"), tiny("bert")
    draw = torch.nn.init.kaiming_uniform_    # as another version of torch might draw
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda *args, **settings: (
        draw(*args, **settings).neg_()))
    batch = inputs(fresh)
    before = logits(fresh, batch)
    with pytest.raises(AdapterFileError, match=r"another .*query\.shared\.A"):
        pt.load(fresh, tmp_path)
    assert_equal(logits(fresh, batch), before)
    other = vera.inject(other, vera.Config(RANK, SEED))
    with pytest.raises(AdapterFileError, match=r"another .*query\.shared\.A"):
        pt.swap(other, tmp_path)


def test_a_seed_is_a_whole_number(tiny):
    with pytest.raises(BadConfig, match=r"seed is 0\.5"):
        vera.inject(tiny("bert"), vera.Config(RANK, 0.5))
