"""transformers' own Trainer on an adapted model: what it saves, and that it goes on from there."""

import copy
import json
import pickle

import pytest
import torch
from exact import assert_equal
from safetensors.torch import load_file

import peft_teach as pt
from peft_teach import contents
from peft_teach.errors import NotSupported

FILES = {"adapter.safetensors", "adapter.json", "model.safetensors"}


class Sentences(torch.utils.data.Dataset):
    """Sixteen sentences of numbers, and what they are of three classes."""

    def __len__(self):
        return 16

    def __getitem__(self, i):
        ids = torch.randint(3, 97, (8,), generator=torch.Generator().manual_seed(i))
        return {"input_ids": ids, "labels": i % 3}


def train(model, folder, **options):
    from transformers import Trainer, TrainingArguments

    resume = options.pop("resume", None)
    settings = TrainingArguments(
        str(folder), max_steps=4, save_steps=2, per_device_train_batch_size=4, learning_rate=1e-2,
        use_cpu=True, report_to="none", disable_tqdm=True, seed=1, logging_strategy="no", **options)
    trainer = Trainer(model, settings, train_dataset=Sentences())
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def state(model) -> dict:
    return pt.adapter_state(model) | contents.copies(contents.head_state(model))


METHODS = {
    "lora": lambda m: pt.lora.inject(m, pt.lora.Config(rank=2, dropout=0.2, targets=(
        "qkv" if m.config.model_type == "gpt2" else "query",))),
    "prompt": lambda m: pt.prompt.inject(m, pt.prompt.Config(length=3)),
    "prefix": lambda m: pt.prefix.inject(m, pt.prefix.Config(length=3, projection=5)),
    "qlora": lambda m: pt.qlora.inject(m, pt.qlora.Config(rank=2, targets=("query",))),
}


@pytest.mark.parametrize(("family", "method"), [("bert", "prefix"), *(
    pytest.param(*each, marks=pytest.mark.long) for each in (
        ("bert", "lora"), ("gpt2", "lora"), ("llama", "prompt"), ("llama", "qlora")))])
def test_a_run_goes_on_from_a_checkpoint(family, method, tiny, inputs, tmp_path):
    """Interrupted in the middle and resumed on a fresh model, it ends where it ends in one go."""
    put = METHODS[method]
    torch.manual_seed(0)
    model = put(tiny(family))
    start = state(model)
    train(model, tmp_path)
    whole = state(model)
    assert all(not torch.equal(t, start[n]) for n, t in whole.items())
    checkpoint = tmp_path / "checkpoint-2"
    assert {f.name for f in checkpoint.iterdir()} >= FILES

    torch.manual_seed(5)    # another start, which the checkpoint must replace
    fresh = put(tiny(family))
    train(fresh, tmp_path / "on", resume=str(checkpoint))
    for name, tensor in state(fresh).items():
        assert_equal(tensor, whole[name], name)
    once_more = put(tiny(family))    # and without the checkpoint it does not
    torch.manual_seed(5)
    train(once_more, tmp_path / "other")
    assert any(not torch.equal(t, whole[n]) for n, t in state(once_more).items())

    loaded = pt.load(tiny(family), tmp_path / "checkpoint-4")    # it is an adapter's folder, too
    batch = inputs(model)
    with torch.no_grad():
        assert_equal(loaded.eval()(**batch).logits, model.eval()(**batch).logits)
    assert [s.name for s in pt.saved(tmp_path)] == ["checkpoint-2", "checkpoint-4"]


def test_the_best_checkpoint_comes_back(tiny, tmp_path):
    from transformers import Trainer, TrainingArguments

    model = METHODS["lora"](tiny("bert"))
    settings = TrainingArguments(
        str(tmp_path), max_steps=4, save_steps=2, eval_steps=2, eval_strategy="steps",
        per_device_train_batch_size=4, learning_rate=0.5, use_cpu=True, report_to="none",
        disable_tqdm=True, seed=1, logging_strategy="no", load_best_model_at_end=True)
    trainer = Trainer(model, settings, train_dataset=Sentences(), eval_dataset=Sentences())
    trainer.train()
    best = load_file(f"{trainer.state.best_model_checkpoint}/adapter.safetensors")
    for n, t in state(model).items():
        assert_equal(t, best[n], n)


def test_what_save_pretrained_writes(tiny, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model = METHODS["lora"](tiny("bert"))
    with torch.no_grad():
        for p in pt.adapter_parameters(model).values():
            p.normal_()
    model.save_pretrained(tmp_path / "theirs")
    pt.save(model, tmp_path / "ours")
    assert {f.name for f in (tmp_path / "theirs").iterdir()} == FILES
    for name in ("adapter.safetensors", "adapter.json"):
        assert (tmp_path / "theirs" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()
    weights = load_file(tmp_path / "theirs" / "model.safetensors")
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert weights.keys() == trained.keys()
    for n, t in weights.items():
        assert_equal(t, trained[n], n)
    fresh = METHODS["lora"](tiny("bert", seed=3))
    found = fresh.load_state_dict(weights, strict=False)
    assert found.unexpected_keys == []
    assert not set(found.missing_keys) & set(trained)

    with pytest.raises(ValueError, match=r"config\.json"):    # no other base is drawn in silence
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "theirs")
    with pytest.raises(NotSupported, match="own parameters"):
        model.save_pretrained(tmp_path, push_to_hub=True)
    with pytest.raises(NotSupported, match="own parameters"):
        model.save_pretrained(tmp_path, state_dict={})
    model.save_pretrained(tmp_path / "second", is_main_process=False)
    assert not (tmp_path / "second").exists()


def test_frozen_parameters_of_an_adapter_are_in_the_checkpoint(tiny, tmp_path):
    class Scaled(pt.Adapter):
        def __init__(self, base):
            super().__init__(base)
            self.directions = torch.nn.Parameter(torch.randn(base.out_features),
                                                 requires_grad=False)
            self.v = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return self.base(x) + self.v * self.directions

    model = pt.attach(tiny("bert"), "query", Scaled, layers=(0,))
    pt.adapters(model)["bert.encoder.layer.0.attention.self.query"].directions.requires_grad_(False)
    model.save_pretrained(tmp_path)
    kept = load_file(tmp_path / "model.safetensors")
    assert {n.rpartition(".")[2] for n in kept} == {"directions", "v", "weight", "bias"}
    assert len(kept) == 4
    assert json.loads((tmp_path / "adapter.json").read_text())["method"] is None


def test_copies_save_themselves(tiny, tmp_path):
    model = METHODS["lora"](tiny("bert"))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            twin.classifier.weight.fill_(7.0)
        twin.save_pretrained(tmp_path)
        assert (load_file(tmp_path / "adapter.safetensors")["classifier.weight"] == 7).all()
    model.save_pretrained(tmp_path)
    assert_equal(load_file(tmp_path / "adapter.safetensors")["classifier.weight"],
                 model.classifier.weight)
    pt.remove(model).save_pretrained(tmp_path / "plain")    # again transformers' own
    assert (tmp_path / "plain" / "config.json").is_file()
