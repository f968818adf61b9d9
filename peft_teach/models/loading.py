"""Pretrained models by name: from the course's cache, from the Hub, or from a folder.

`load` gives a model and its tokenizer. The model is as transformers makes it: a method changes
what it needs changed when it is put on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import BadConfig, NotSupported, UnknownName, unknown
from ..valid import is_count
from .families import FAMILIES, entry
from .heads import head
from .plain import guard_save, is_mean_pooled

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAMES = ("minilm", "smollm2")
NOT_FOUND = "check the name; offline, 'minilm' and 'smollm2' work"
FOUND = "the name is right, its config.json was read: mend what the first line says"
ATTENTIONS = ("sdpa", "eager", "flash_attention_2", "flex_attention")


def best_device() -> torch.device:
    """Return where the course computes: the GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(name: str, labels: int | None = None, pool: str = "cls", pretrained: bool = True,
         dtype: torch.dtype = torch.float32, device: torch.device | str | None = None,
         attention: str = "sdpa") -> tuple[nn.Module, "PreTrainedTokenizerBase"]:
    """Return `(model, tokenizer)`, the model in eval mode.

    `name` is "minilm" (a BERT encoder, 22.7 M parameters), "smollm2" (a Llama-shaped chat model,
    135 M) or "hub:NAME" for any model of the Hugging Face Hub. With `labels` the model gets a new
    classification head of that many classes, drawn from torch's global generator, unless the
    checkpoint has one for as many. Without, it is the bare encoder or the language model. A line
    says what the checkpoint lacks and is drawn at random. `pool` says what the head of a BERT
    encoder reads: "cls", the first token through the pooler, or "mean", the mean over the real
    tokens, as minilm was pretrained. `pretrained=False` draws all weights anew. `dtype` is that of
    the weights. `attention` is one of `ATTENTIONS`, by transformers' names. `device` None takes the
    GPU if there is one. Raises `UnknownName`, `BadConfig`, `FetchError` or `NotSupported`.
    """
    if pool not in ("cls", "mean"):
        raise unknown("pooling", pool, ("cls", "mean"))
    if attention not in ATTENTIONS:
        raise unknown("attention", attention, ATTENTIONS)
    if labels is not None:
        if not is_count(labels):
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
    with _quiet_transformers():
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
    from .. import fetch

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


def _tell_of_new_head(model: nn.Module, mismatched, name: str, labels: int | None) -> None:
    """Say that the head's last layer was drawn anew; raise if a weight of the backbone was, too.

    `mismatched` holds (name, shape in the file, shape here) of each weight that did not fit.
    """
    backbone = f"{model.base_model_prefix}."
    for key, there, here in sorted(mismatched):
        if labels is None or key.startswith(backbone):
            raise NotSupported(f"{name}: {key} is {list(there)} in the file and {list(here)} by "
                               "its config.json.", expected="a checkpoint whose two files agree")
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

    from .. import fetch

    source = fetch.path("smollm2")
    file = next(source.glob("*.gguf")).name
    with _quiet_transformers():
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
            raise NotSupported(f"transformers does not have this attention for {source!r}.",
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
def _quiet_transformers() -> Iterator[None]:
    """Silence transformers' bars and its report on the newly drawn head, which `load` promises.

    Where it is interrupted, a notebook shows one line, without transformers' frames.
    """
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except KeyboardInterrupt as stopped:
        vars(stopped)["_render_traceback_"] = lambda: [
            "KeyboardInterrupt: the model is not loaded yet; run the cell again."]
        raise
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
