"""The one base of all `Config`s: plain values, and other libraries' names refused with ours."""

import copy
import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach.errors import BadConfig, NoTargets
from peft_teach.methods import METHODS
from peft_teach.settings import Settings


@pytest.mark.parametrize("method", METHODS)
def test_all_configs_have_one_base_and_travel(method):
    config = METHODS[method].Config()
    assert isinstance(config, Settings)
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    assert dataclasses.replace(config) == config


def test_numbers_of_numpy_become_plain(tiny, tmp_path):
    config = pt.lora.Config(rank=np.int64(4), alpha=np.float32(8), layers=np.arange(2))
    assert (config.rank, config.alpha, config.layers) == (4, 8.0, (0, 1))
    assert [type(v) for v in (config.rank, config.alpha, *config.layers)] == [int, float, int, int]
    folder = pt.save(pt.lora.inject(tiny("bert"), config), tmp_path)
    assert json.loads((folder / "adapter.json").read_text())["config"]["rank"] == 4
    assert type(pt.prompt.Config(length=np.int32(3)).length) is int
    assert pt.lora.Config(use_bias=np.bool_(True)).use_bias is True
    assert pt.lora.Config(layers=np.int64(0)).layers == (0,)
    assert pt.lora.Config(targets=(name for name in ("query", "value"))).targets == (
        "query", "value")
    numbers = torch.linspace(-1, 1, 100)
    assert_equal(pt.nf4.quantize(numbers, block_size=np.int64(32)).packed,
                 pt.nf4.quantize(numbers, block_size=32).packed)


@pytest.mark.parametrize("rank", [-3, 0, 2.0, True])
@pytest.mark.parametrize("method", [pt.lora, pt.dora, pt.qlora])
def test_what_is_no_rank_is_refused_before_there_is_a_model(method, rank):
    with pytest.raises(BadConfig, match=f"rank is {rank}"):
        method.Config(rank=rank)


@pytest.mark.parametrize("value", [torch.tensor(4), np.array(4), torch.tensor([4])])
def test_a_tensor_is_no_number(value):
    with pytest.raises(BadConfig, match=r"rank=….item\(\)"):
        pt.lora.Config(rank=value)


def test_blocks_in_a_tensor_are_told():
    with pytest.raises(BadConfig, match="tolist"):
        pt.lora.Config(layers=torch.tensor([0, 1]))
    for name in ("layers", "targets", "also_train"):    # without axes nothing can be gone through
        with pytest.raises(BadConfig, match=f"^{name} is tensor"):
            pt.lora.Config(**{name: torch.tensor(3)})


@pytest.mark.parametrize(("method", "theirs", "says"), [
    (pt.lora, {"r": 4}, "rank=4"),
    (pt.dora, {"lora_alpha": 32}, "alpha=32"),
    (pt.qlora, {"lora_dropout": 0.1}, "dropout=0.1"),
    (pt.lora, {"target_modules": ["q_proj"]}, "targets='query'"),
    (pt.lora, {"target_modules": "all-linear"}, "targets='linear'"),
    (pt.lora, {"layers_to_transform": [1]}, r"layers=\[1\]"),
    (pt.lora, {"use_rslora": True}, "rank_stabilized=True"),
    (pt.lora, {"lora_bias": True}, "use_bias=True"),
    (pt.prompt, {"num_virtual_tokens": 20}, "length=20"),
    (pt.prefix, {"num_virtual_tokens": 20}, "length=20"),
    (pt.prefix, {"encoder_hidden_size": 512}, "projection=512"),
    (pt.prefix, {"prefix_projection": True}, "projection=512"),
    (pt.qlora, {"use_dora": True}, "dora=True"),
    (pt.lora, {"use_dora": True}, "pt.dora"),
    (pt.lora, {"load_in_4bit": True}, "pt.qlora"),
    (pt.lora, {"bias": "all"}, "pt.bitfit"),
    (pt.lora, {"bias": "none"}, "leave it out"),
    (pt.lora, {"modules_to_save": ["classifier"]}, "every method trains the task head"),
    (pt.bottleneck, {"bn_size": 64}, "size=64"),
    (pt.bitfit, {"r": 8}, "has no rank"),
])
def test_a_name_of_another_library_is_answered_with_ours(method, theirs, says):
    with pytest.raises(BadConfig, match=says) as error:
        method.Config(**theirs)
    assert next(iter(theirs)) in error.value.found
    for field in dataclasses.fields(method.Config):
        assert field.name in error.value.expected


@pytest.mark.parametrize(("method", "theirs"), [
    (pt.ia3, {"feedforward_modules": ["dense"]}), (pt.bottleneck, {"reduction_factor": 16}),
    (pt.prompt, {"prompt_tuning_init": "TEXT"}), (pt.bottleneck, {"non_linearity": "swish"})])
def test_what_means_something_else_in_another_library_gets_no_wrong_answer(method, theirs):
    with pytest.raises(BadConfig, match="has no setting") as error:
        method.Config(**theirs)
    assert error.value.hint is None


def test_an_unknown_name_is_answered_with_those_that_there_are():
    with pytest.raises(BadConfig, match="no setting 'rnak'") as error:
        pt.lora.Config(rnak=4)
    assert error.value.hint == "did you mean 'rank'?"
    with pytest.raises(BadConfig, match="no setting 'target_parameters'"):    # peft's, since 0.17
        pt.lora.Config(target_parameters=["experts"])


def test_all_linear_is_peft_s_word(tiny):
    with pytest.raises(BadConfig, match="targets='linear'"):
        pt.lora.Config(targets="all-linear")
    with pytest.raises(BadConfig, match="quantize='linear'"):
        pt.qlora.Config(quantize="all-linear")
    with pytest.raises(BadConfig, match="targets='linear'"):
        pt.attach(tiny("bert"), "all-linear", pt.lora.LoRALinear)


def test_the_end_of_a_module_s_name_is_answered_with_its_place(tiny):
    with pytest.raises(NoTargets, match="'q_proj' is 'query' here; 'up_proj' is 'ffn_in' here"):
        pt.lora.inject(tiny("llama"), pt.lora.Config(targets=["q_proj", "up_proj"]))
    with pytest.raises(NoTargets, match="'attention_out' or 'ffn_in' or 'ffn_out'"):
        pt.lora.inject(tiny("bert"), pt.lora.Config(targets="dense"))
    with pytest.raises(NoTargets, match="places"):
        pt.lora.inject(tiny("bert"), pt.lora.Config(targets="q_proj"))


@pytest.mark.parametrize(("method", "settings", "says"), [
    (pt.lora, {"alpha": 0}, "alpha is 0"), (pt.lora, {"alpha": math.inf}, "alpha is inf"),
    (pt.dora, {"dropout": 1.0}, "dropout is 1.0"),
    (pt.dora, {"alpha": -1.0}, "alpha is -1.0"), (pt.lora, {"dropout": None}, "dropout is None"),
    (pt.qlora, {"double": 1}, "double is 1"), (pt.lora, {"use_bias": "no"}, "use_bias is 'no'"),
    (pt.qlora, {"dropout": 1.0}, "dropout is 1.0"), (pt.qlora, {"dora": "yes"}, "dora is 'yes'"),
    (pt.qlora, {"dora": True, "rank_stabilized": True}, "scale for LoRA, and dora is set"),
    (pt.qlora, {"block_size": 7}, "block_size is 7"),
    (pt.qlora, {"block_size": "abc"}, "block_size is 'abc'"),
    (pt.prompt, {"length": True}, "length is True"), (pt.prefix, {"projection": 0}, "hidden size"),
    (pt.full, {"train": 1}, "train is")])
def test_settings_are_checked_as_they_are_made(method, settings, says):
    with pytest.raises(BadConfig, match=says):
        method.Config(**settings)


def test_a_setting_that_could_be_anything_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Config(Settings):
        size: int = 8

    with pytest.raises(BadConfig, match="The setting size is of type <class 'int'>"):
        Config()


def test_a_type_may_be_written_as_a_word():
    """As `from __future__ import annotations` makes them all."""
    Config = dataclasses.make_dataclass("Config", [("flag", "bool", True)], bases=(Settings,),
                                        frozen=True)
    assert Config(flag=np.bool_(False)).flag is False
    with pytest.raises(BadConfig, match="flag is 1"):
        Config(flag=1)
