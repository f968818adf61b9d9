"""Pretrained models: loaded, made uniform for the methods, and converted back.

`load` gives a model and its tokenizer. Differences between families that would get in a method's
way, such as GPT-2's transposed `Conv1D`, are removed here; `to_hf` undoes it. Where things are in
each family is written in `families.py`, whose functions are available here, too:
`pt.models.places(model)`.
"""

import copy
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import torch
from torch import nn

from . import fetch, nf4, state
from .adapter import plain_name, plain_parameters
from .errors import BadConfig, NotMergeable, NotSupported, UnknownName, unknown
from .families import (
    FAMILIES,
    LINEAR,
    SINGLE,
    cache_name,
    config_of,
    entry,
    find,
    first_position,
    fused_queries,
    head,
    is_encoder,
    is_language_model,
    key_value_shape,
    linear_places,
    longest_input,
    place_of,
    places,
    positions,
    query_and_value,
    reads_cache,
    writes,
)
from .valid import is_whole
from .whole import need_model, refuse_wrapped

if TYPE_CHECKING:
    from transformers.pytorch_utils import Conv1D

__all__ = [
    "ATTENTIONS", "FAMILIES", "LINEAR", "NAMES", "SINGLE", "best_device", "cache_name",
    "common_tokens", "config_of", "cut_ties", "find", "first_position", "fused_queries",
    "guard_save", "head", "in_mode", "is_conv1d", "is_encoder", "is_language_model",
    "is_mean_pooled", "is_packed", "keep_hooks", "key_value_shape", "layer_of", "linear_places",
    "load", "longest_input", "move_ties", "need_model", "place_of", "places", "positions",
    "quantized", "query_and_value", "quiet_transformers", "reads_cache", "refuse_wrapped",
    "replace", "to_conv1d", "to_hf", "to_linear", "token_ids", "writes",
]

_Module = TypeVar("_Module", bound=nn.Module)

NAMES = ("minilm", "smollm2")
NOT_FOUND = "check the name; offline, 'minilm' and 'smollm2' work"
FOUND = "the name is right, its config.json was read: mend what the first line says"
ATTENTIONS = ("sdpa", "eager", "flash_attention_2", "flex_attention")


# ── one kind of linear layer ─────────────────────────────────────────────────────────────────


def is_conv1d(module: nn.Module) -> TypeGuard["Conv1D"]:
    """Return whether this is GPT-2's linear layer, which stores its weight as (n_in, n_out)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def is_packed(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Return whether another library, such as bitsandbytes, holds this layer's weight as bytes.

    Such a layer can be called, but its weight is no (n_out, n_in) matrix to compute with.
    """
    return isinstance(module, nn.Linear) and not module.weight.is_floating_point()


def need_linear(module: nn.Module, does: str, targets: str, plain: bool = False) -> None:
    """Raise `NotSupported` unless this is a linear layer: in 4 bits or a class of one's own, too.

    `plain` asks for an `nn.Linear` that holds a matrix. What the method `does` begins the message,
    and its hint names `targets` that are such layers.
    """
    fits = (isinstance(module, nn.Linear) and not is_packed(module) if plain
            else hasattr(module, "in_features"))
    if not fits:
        raise NotSupported(f"{does} a linear layer, and this is a {type(module).__name__}.",
                           expected="an nn.Linear, not quantized" if plain else None,
                           hint=f"choose targets such as {targets}")


def weight_of(layer: Any) -> torch.Tensor:
    """Return a linear layer's weight, (n_out, n_in); `NotMergeable` where that is bytes."""
    if is_packed(layer):
        raise NotMergeable(f"This {type(layer).__name__} holds its weight in bytes, of another "
                           "library's form.",
                           expected="a plain nn.Linear, or a layer that pt.qlora put into 4 bits",
                           hint="keep the adapter on the model")
    return layer.weight


def linear_like(layer: Any, weight: torch.Tensor) -> nn.Linear:
    """Return a plain linear layer with this weight, and with the bias and the mode of `layer`."""
    b, (n_out, n_in) = layer.bias, weight.shape
    linear = nn.Linear(n_in, n_out, b is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach())
    if b is not None:
        linear.bias = nn.Parameter(b.detach().clone())
    return linear.train(layer.training)


def as_they_came(model: nn.Module, but: Container[int] = ()) -> dict[str, torch.Tensor]:
    """Return a model's weights by plain name, each with its numbers in the order they came in.

    The weight of a converted layer is as the `Conv1D` had it, that of a packed layer its bytes. On
    some processors a bitsandbytes layer rearranges these when it is first called. Its state dict
    puts them back, in the layer itself, and so is taken of a copy. Parameters whose `id` is in
    `but` are left out.
    """
    turned = {f"{name}.weight" for name in state.of(model).converted}
    packed = {f"{name}.weight": copy.deepcopy(layer).state_dict()["weight"] if getattr(
                  getattr(layer.weight, "quant_state", None), "packing_format_for_cpu", False)
              else layer.weight
              for name, layer in model.named_modules() if is_packed(layer)}
    found: dict[str, torch.Tensor] = {**plain_parameters(model)}
    found |= {plain_name(model, name): weight for name, weight in packed.items()}
    return {name: p.T if name in turned else p for name, p in found.items() if id(p) not in but}


HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks",
         "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_backward_pre_hooks",
         "_backward_hooks", "_is_full_backward_hook")


def keep_hooks(new: _Module, old: nn.Module) -> _Module:
    """Give a module the hooks of the one whose place it takes; return it.

    They are the same tables, so that a handle still removes its hook. Those by which torch makes a
    weight out of others, `weight_norm` and `prune`, are left out: the new module has the result.
    """
    for name in HOOKS:
        setattr(new, name, getattr(old, name))
    made = [key for key, hook in old._forward_pre_hooks.items()
            if type(hook).__module__.startswith("torch.nn.utils.")]
    if made:
        new._forward_pre_hooks = OrderedDict(
            (key, hook) for key, hook in old._forward_pre_hooks.items() if key not in made)
    return new


def to_linear(conv: "Conv1D") -> nn.Linear:
    """Return an `nn.Linear` equal to a `Conv1D`: its weight is the transpose, (n_out, n_in).

    Raises `NotSupported` for one that computes something else: with another `forward`, or with a
    weight that is made out of others, as by `weight_norm`.
    """
    if {*conv.state_dict()} != {"weight", "bias"} or "forward" in vars(conv):
        raise NotSupported("This Conv1D was changed: it holds "
                           f"{', '.join([*conv.state_dict(), *({'forward'} & {*vars(conv)})])}.",
                           expected="a weight and a bias, and transformers' forward",
                           hint="remove what was put on it, or choose other targets")
    n_in, n_out = conv.weight.shape
    linear = nn.Linear(n_in, n_out, device="meta", dtype=conv.weight.dtype)
    linear.weight = nn.Parameter(conv.weight.detach().T.contiguous(), conv.weight.requires_grad)
    linear.bias = nn.Parameter(conv.bias.detach().clone(), conv.bias.requires_grad)
    return keep_hooks(linear.train(conv.training), conv)


def as_linear(module: nn.Module) -> nn.Module:
    """Return a module as methods know it: in place of a `Conv1D`, an equal `nn.Linear`."""
    return to_linear(module) if is_conv1d(module) else module


def to_conv1d(linear: nn.Linear) -> "Conv1D":
    """Undo `to_linear`."""
    from transformers.pytorch_utils import Conv1D

    conv = Conv1D(linear.out_features, linear.in_features)
    conv.weight = nn.Parameter(linear.weight.detach().T.contiguous(), linear.weight.requires_grad)
    conv.bias = nn.Parameter(linear.bias.detach().clone(), linear.bias.requires_grad)
    return keep_hooks(conv.train(linear.training), linear)


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Within this block all modules train or evaluate; then each is as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


def layer_of(model: nn.Module, name: str) -> Any:
    """Return the module of this name; what kind it is, the caller knows."""
    return model.get_submodule(name)


def replace(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put `module` where `name` stands in `model`; return the model to keep.

    A module that the model has under several names is replaced under each. The empty name is the
    model itself: then that is `module`.
    """
    if not name:
        return module
    old = model.get_submodule(name)
    for parent in [*model.modules()]:
        for child, here in parent._modules.items():
            if here is old:
                setattr(parent, child, module)
    return model


def put_around(model: nn.Module, wrappers: Mapping[str, nn.Module]) -> nn.Module:
    """Put each wrapper where its `base` stands in the model; return the model to keep."""
    for name in sorted(wrappers, key=_depth, reverse=True):    # an outer one hides names
        model = replace(model, name, wrappers[name])
        if name:
            move_ties(model, name, f"{name}.base")
    return model


def put_back(model: nn.Module, modules: Mapping[str, nn.Module]) -> nn.Module:
    """Put each module where a wrapper stands in the model; return the model to keep."""
    for name, module in modules.items():    # outer ones come first, and uncover the inner names
        model = replace(model, name, module)
        if name:
            move_ties(model, f"{name}.base", name)
    return model


def _depth(name: str) -> int:
    return len(name.split(".")) if name else 0


def move_ties(model: nn.Module, old: str, new: str) -> None:
    """Tell transformers that the weights it ties in the module `old` are now in `new`.

    It looks for them by the names that its class lists whenever the word embeddings change.
    """
    def moved(name: str) -> str:
        return new + name[len(old):] if name.startswith(old + ".") else name

    ties = getattr(model, "_tied_weights_keys", None)
    if isinstance(ties, dict):
        _tie_by(model, {moved(a): moved(b) for a, b in ties.items()})


def cut_ties(model: nn.Module, names: Iterable[str]) -> None:
    """Let the weights of these modules be their own, where transformers ties them to others.

    An adapter was merged into them. What it learned would be lost as soon as the word embeddings
    change: transformers ties them anew.
    """
    ties = getattr(model, "_tied_weights_keys", None)
    if not isinstance(ties, dict) or not getattr(config_of(model), "tie_word_embeddings", False):
        return
    named = dict(model.named_parameters(remove_duplicate=False))
    kept = {a: b for a, b in ties.items() if named.get(a) is named.get(b)    # a pattern is no name
            or not any(tied.startswith(f"{n}.") for n in names for tied in (a, b))}
    if kept != ties:
        for name in ties.keys() - kept.keys():
            getattr(model, "all_tied_weights_keys", {}).pop(name, None)
        _tie_by(model, kept)
        config_of(model).tie_word_embeddings = bool(kept)


def _tie_by(model: nn.Module, ties: dict[str, str]) -> None:
    model.__dict__.pop("_tied_weights_keys", None)    # what the class says, where that is the same
    if getattr(model, "_tied_weights_keys", None) != ties:
        model.__dict__["_tied_weights_keys"] = ties


def to_hf(model: nn.Module) -> nn.Module:
    """Return the plain transformers model again: converted layers become what they were.

    A 4-bit layer becomes a plain one, too, whose weight keeps the rounding. Raises `NotSupported`
    while an adapter is on the model: merge or remove it first.
    """
    need_model(model)
    note = state.of(model).note
    if note is not None and note.wraps:
        raise NotSupported("This model carries an adapter, which a plain model cannot hold.",
                           hint="model = pt.merge(model) or pt.remove(model), then to_hf(model)")
    for name, layer in quantized(model).items():
        replace(model, name, keep_hooks(layer.to_linear(), layer))
    for name in state.of(model).converted:
        replace(model, name, to_conv1d(layer_of(model, name)))
    state.change(model, converted=(), quantized={})
    guard_save(model)
    return model


def guard_save(model: nn.Module) -> None:
    """Make `save_pretrained` refuse where it would lie.

    With converted or 4-bit layers it would write a checkpoint with transposed weights or bytes,
    without a warning; and a mean-pooled model would come back pooling [CLS].
    """
    if state.of(model).converted or quantized(model) or is_mean_pooled(model):
        model.__dict__["save_pretrained"] = _refuse_save
    else:
        model.__dict__.pop("save_pretrained", None)


def quantized(model: nn.Module) -> dict[str, nf4.Linear4bit]:
    """Return the layers that are held in 4 bits, by the names that they have now."""
    return {n: m for n, m in model.named_modules() if isinstance(m, nf4.Linear4bit)}


def _refuse_save(*args, **kwargs):
    raise NotSupported("save_pretrained would write a checkpoint that no library reads as this "
                       "model: it holds converted or 4-bit layers, or a mean-pooled head.",
                       hint="pt.models.to_hf(model).save_pretrained(path), but for the mean-pooled "
                            "head, which transformers has no class for")


# ── loading ──────────────────────────────────────────────────────────────────────────────────


def best_device() -> torch.device:
    """Return where the course computes: the GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(name: str, labels: int | None = None, pool: str = "cls", pretrained: bool = True,
         dtype: torch.dtype = torch.float32, device: torch.device | str | None = None,
         attention: str = "sdpa") -> tuple[nn.Module, object]:
    """Return `(model, tokenizer)`, the model in eval mode.

    `name` is "minilm" (a BERT encoder, 22.7 M parameters), "smollm2" (a Llama-shaped chat model,
    135 M) or "hub:NAME" for any model of the Hugging Face Hub. With `labels` the model gets a new
    classification head of that many classes, drawn from torch's global generator; a checkpoint's
    own head stays if it is for as many, otherwise a line says that it is new. Without, it is the
    bare encoder or the language model. Another line says what else the checkpoint lacks and is
    drawn at random, such as the pooler of many BERTs. `pool` says what the head of a BERT encoder
    reads: "cls", the first token through the pooler, or "mean", the mean over the real tokens, as
    minilm was pretrained. (Its pooler never was: its biases are 0, its weights a random draw.)
    `pretrained=False` keeps the architecture and draws all weights anew. `device` None takes the
    GPU if there is one. Raises `UnknownName`, `BadConfig`, `FetchError` or `NotSupported`.
    """
    if pool not in ("cls", "mean"):
        raise unknown("pooling", pool, ("cls", "mean"))
    if attention not in ATTENTIONS:
        raise unknown("attention", attention, ATTENTIONS)
    if labels is not None:
        if not is_whole(labels):
            raise BadConfig(f"labels is {labels!r}.", expected="a number of classes, or None")
        labels = int(labels)    # NumPy's are no json
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise BadConfig(f"dtype is {dtype!r}.", expected="torch.float32, torch.bfloat16 or another "
                                                         "of floating-point numbers")
    try:
        chosen = best_device() if device is None else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise BadConfig(f"device is {device!r:.80}.", expected="None, 'cpu' or 'cuda'") from error
    source = _source(name)
    with quiet_transformers():
        import transformers

        config = _or_explain(transformers.AutoConfig.from_pretrained, source, name)
        tokenizer = _or_explain(transformers.AutoTokenizer.from_pretrained, source, name, FOUND)
        make = _model_class(config, labels, pool)
        options = {"dtype": dtype, "attn_implementation": attention}
        if labels is not None:
            config.num_labels = labels
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if config.pad_token_id is None:
            config.pad_token_id = tokenizer.pad_token_id
        if pretrained:
            model, told = _or_explain(make.from_pretrained, source, name, FOUND, config=config,
                                      ignore_mismatched_sizes=True, output_loading_info=True,
                                      **options)
            _tell_of_new_head(model, told["mismatched_keys"], name, labels)
            _tell_of_noise(model, told["missing_keys"], name)
        else:
            draw = getattr(make, "from_config", None) or make._from_config
            model = _or_explain(lambda _: draw(config, **options), source, name, FOUND)
    guard_save(model)
    return model.to(chosen).eval(), tokenizer


def _source(name: str) -> str:
    """Return what transformers should load: a folder of the cache, or a name on the Hub."""
    if name == "minilm":
        return str(fetch.path("minilm"))
    if name == "smollm2":
        return str(fetch.derived("smollm2", "bf16", _convert_smollm2))
    if isinstance(name, str) and name.startswith("hub:") and len(name) > 4:
        return name[4:]
    raise unknown("model", name, (*NAMES, "hub:NAME"))


def _model_class(config, labels: int | None, pool: str) -> Any:
    """Choose the transformers class: classifier, language model, or bare encoder."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if pool == "mean" and labels is not None:
        if config.model_type != "bert":
            raise NotSupported(f"pool='mean' is written for BERT, not for {config.model_type}.",
                               hint="pool='cls'")
        from .mean_pooled import MeanPooledBert

        return MeanPooledBert
    if labels is not None:
        return transformers.AutoModelForSequenceClassification
    # transformers can make a language model of BERT, too; here an encoder stays an encoder.
    encoder = (config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
               or (config.model_type in FAMILIES and entry(config).is_encoder))
    return transformers.AutoModel if encoder else transformers.AutoModelForCausalLM


def is_mean_pooled(model: nn.Module) -> bool:
    """Return whether this model's head reads a mean: a class that transformers does not have."""
    return type(model).__module__ == f"{__package__}.mean_pooled"


def _tell_of_new_head(model: nn.Module, mismatched, name: str, labels: int | None) -> None:
    """Say that the head's last layer was drawn anew; raise if a weight of the backbone was, too.

    `mismatched` holds (name, shape in the file, shape here) of each weight that did not fit.
    """
    backbone = f"{model.base_model_prefix}."
    for key, there, here in sorted(mismatched):
        if labels is None or key.startswith(backbone):
            raise UnknownName(f"{name}: {key} is {list(there)} in the file and {list(here)} by its "
                              "config.json.", expected="a checkpoint whose two files agree")
    if mismatched:
        count = max(there[0] for _, there, _ in mismatched)
        print(f"{name} brings a head for {count} labels; its last layer was drawn anew, for "
              f"{labels}.", flush=True)


def _tell_of_noise(model: nn.Module, missing, name: str) -> None:
    """Say which modules outside the head the checkpoint lacks: drawn at random, they stay so.

    `missing` are the names of its missing weights. Many BERTs were trained without a pooler.
    """
    own = set(head(model))
    lacks = sorted({key.rpartition(".")[0] for key in missing if key not in own})
    if is_mean_pooled(model):    # it reads no pooler
        lacks = [module for module in lacks if module != "bert.pooler.dense"]
    if not lacks:
        return
    many = f" and {len(lacks) - 3} more" if len(lacks) > 3 else ""
    instead = "; pool='mean' does without it" if lacks == ["bert.pooler.dense"] else ""
    print(f"{name} brings no weights for {', '.join(lacks[:3])}{many}: drawn anew at random, which "
          f"only pt.full or also_train trains{instead}.", flush=True)


def _convert_smollm2(folder: Path) -> None:
    """Read the 4-bit GGUF file once and keep the weights as bfloat16 safetensors.

    transformers refuses `save_pretrained` on a model that came from GGUF, so the weights move
    through the state dict into a fresh model of the same configuration.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    source = fetch.path("smollm2")
    file = next(source.glob("*.gguf")).name
    with quiet_transformers():
        read: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=file,
                                                         dtype=torch.bfloat16)
        read.config.__dict__.pop("quantization_config", None)
        model = LlamaForCausalLM(read.config).bfloat16()
        model.load_state_dict(read.state_dict())
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(folder)


def _or_explain(load, source: str, name: str, hint: str = NOT_FOUND, **options):
    """Call a `from_pretrained`; if the name cannot be loaded as a model, raise our own error.

    `hint` says what to try: once the configuration was read, the name is not the cause.
    """
    from safetensors import SafetensorError

    try:
        return load(source, **options)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        if "attn_implementation" in str(error):    # the argument that transformers then asks for
            raise NotSupported(f"transformers has not this attention for {source!r}.",
                               expected=f"one of {', '.join(ATTENTIONS)} that it has",
                               hint="pt.models.load(name, attention='eager')") from error
        if not name.startswith("hub:"):
            raise
        raise UnknownName(f"{source!r} could not be loaded as a model: "
                          f"{(str(error).splitlines() or [type(error).__name__])[0]}",
                          expected="a model's name on the Hugging Face Hub, and a network; or a "
                                   "folder that save_pretrained wrote",
                          hint=hint) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' bars and its report on the newly drawn head, which `load` promises."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


# ── words as a method's start ────────────────────────────────────────────────────────────────


def token_ids(text: str, tokenizer, vocabulary: int) -> list[int]:
    """Return the ids of a text, without special tokens; `BadConfig` if the model lacks one."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids or max(ids) >= vocabulary:
        raise BadConfig(f"{text!r} becomes the tokens {ids}.",
                        expected=f"at least one, each below {vocabulary}",
                        hint="use the tokenizer that belongs to this model")
    return ids


def common_tokens(tokenizer, n: int, vocabulary: int) -> list[int]:
    """Return the first `n` ids of a vocabulary that stand for text.

    Vocabularies are ordered roughly by how common a token is; special tokens and BERT's reserved
    "[unused…]" entries, which no text contains, are passed over. Raises `BadConfig` if the model
    lacks one of them.
    """
    special = set(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))    # None where a number is free
    common = [i for i, token in enumerate(tokens)
              if token and i not in special and not token.startswith("[unused")][:n]
    if common and common[-1] >= vocabulary:
        raise BadConfig(f"The tokenizer's common tokens go up to {common[-1]}.",
                        expected=f"each below {vocabulary}",
                        hint="use the tokenizer that belongs to this model")
    return common
