"""Pretrained models, and one vocabulary for the places inside them.

`load` gives a model and its tokenizer. `places` answers the question that every method asks
first: where, in *this* family, are the query projections, the feed-forward block, the norms?

    place           BERT, RoBERTa               GPT-2        Llama, Mistral, Qwen2, Qwen3
    query           attention.self.query        –            self_attn.q_proj
    qkv             –                           attn.c_attn  –
    attention_out   attention.output.dense      attn.c_proj  self_attn.o_proj
    ffn_in          intermediate.dense          mlp.c_fc     mlp.up_proj
    ...

A method asks for places; only this file knows the families. What differs between families and
would disturb a method (GPT-2's transposed `Conv1D`) is made equal here, at the door.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from . import fetch, nf4
from .errors import BadConfig, NoTargets, NotSupported, UnknownName, unknown

NAMES = ("minilm", "smollm2")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2", "flex_attention")


# ── where the places are ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Family:
    """One architecture: the path of its blocks, and each place relative to a block.

    `places` maps a place to a module path inside the block; `embeddings` and `last` are paths
    from the backbone. `last` may hold `{last}`, the number of the last block. `reads_cache` says
    whether its attention looks at keys and values that come from outside.
    """

    blocks: str
    embeddings: str
    last: str
    places: dict[str, str]
    reads_cache: bool = True


BERT = Family("encoder.layer", "embeddings.dropout", "encoder.layer.{last}.output.LayerNorm", {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_out": "attention.output.dense",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
    "ffn": "output",
    "attention_norm": "attention.output.LayerNorm",
    "ffn_norm": "output.LayerNorm",
    "block": "",
})
DISTILBERT = Family("transformer.layer", "embeddings.dropout",
                    "transformer.layer.{last}.output_layer_norm", {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention_out": "attention.out_lin",
    "ffn_in": "ffn.lin1",
    "ffn_out": "ffn.lin2",
    "ffn": "ffn",
    "attention_norm": "sa_layer_norm",
    "ffn_norm": "output_layer_norm",
    "block": "",
}, reads_cache=False)
GPT2 = Family("h", "drop", "ln_f", {
    "qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "ffn_in": "mlp.c_fc",
    "ffn_out": "mlp.c_proj",
    "ffn": "mlp",
    "block": "",
})
LLAMA = Family("layers", "embed_tokens", "norm", {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_out": "self_attn.o_proj",
    "ffn_in": "mlp.up_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_out": "mlp.down_proj",
    "ffn": "mlp",
    "block": "",
})
FAMILIES = {"bert": BERT, "roberta": BERT, "distilbert": DISTILBERT, "gpt2": GPT2,
            "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA}

# Places that are one linear layer each.
LINEAR = ("query", "key", "value", "qkv", "attention_out", "ffn_in", "ffn_gate", "ffn_out")

# Places that a model has once; all others it has once a block.
SINGLE = ("embeddings", "last", "backbone")

# The modules that transformers adds on top of a backbone for one task, by attribute name.
HEADS = ("pre_classifier", "classifier", "score", "qa_outputs")


def places(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Map each place of this model to its module names, first block first.

    Names are those of the unadapted model; a bare backbone is its own "backbone", named "".
    Raises `NotSupported` for an unknown family.
    """
    family, count = _family(model), model.config.num_hidden_layers
    backbone = "" if model.base_model is model else model.base_model_prefix
    root = backbone and backbone + "."
    table = {
        place: tuple(f"{root}{family.blocks}.{i}.{path}".rstrip(".") for i in range(count))
        for place, path in family.places.items()
    }
    table["embeddings"] = (root + family.embeddings,)
    table["last"] = (root + family.last.format(last=count - 1),)
    table["backbone"] = (backbone,)
    return table


def _family(model: nn.Module) -> Family:
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind not in FAMILIES:
        raise NotSupported(f"The places of {kind!r} are not known.",
                           expected="one of " + ", ".join(FAMILIES),
                           hint="give full module names from model.named_modules() as targets")
    return FAMILIES[kind]


def find(model: nn.Module, targets: str | tuple[str, ...],
         layers: tuple[int, ...] | None = None) -> tuple[str, ...]:
    """Turn targets (places or full module names) into module names, without repeats.

    Where a word is both, as "embeddings" is on a bare BERT, the place is meant. `layers` keeps
    only these blocks of the places that every block has. Raises `NoTargets` for a target that the
    model lacks, and `BadConfig` for a block that does not exist.
    """
    targets, layers = as_tuples(targets, layers)
    modules = {name for name, _ in model.named_modules() if name}
    missing = [t for t in targets if t not in modules]
    table = places(model) if missing or not targets or _is_known(model) else {}
    absent = [t for t in missing if t not in table]
    if absent or not targets:
        what = ", ".join(map(repr, absent)) or "module without a name: no target was given"
        raise NoTargets(f"This model has no {what}.",
                        expected="a place, here " + ", ".join(table) + ", or a full module name",
                        hint="print pt.models.places(model)")
    names = []
    for target in targets:
        if target not in table:
            names.append(target)
        elif target in SINGLE or layers is None:
            names.extend(table[target])
        else:
            count = len(table[target])
            if not layers or not all(isinstance(i, int) and 0 <= i < count for i in layers):
                raise BadConfig(f"layers={layers} names a block that does not exist.",
                                expected=f"block numbers from 0 to {count - 1}")
            names.extend(table[target][i] for i in sorted(layers))
    return tuple(dict.fromkeys(names))


def place_of(model: nn.Module) -> dict[str, str]:
    """Map module names to places; empty for a family that is not known."""
    if not _is_known(model):
        return {}
    return {name: place for place, names in places(model).items() for name in names}


def fused_rows(n_out: int) -> dict[str, slice]:
    """Return which outputs of a fused `qkv` projection are query, key and value: thirds of n_out.

    This is GPT-2's order. The same slices are rows of its (n_out, n_in) weight.
    """
    d = n_out // 3
    return {"query": slice(0, d), "key": slice(d, 2 * d), "value": slice(2 * d, 3 * d)}


def as_tuples(targets, layers) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Return targets and layers as tuples, in whatever form they came; None layers stay None.

    Raises `BadConfig` for what is neither one of them nor several.
    """
    targets = (targets,) if isinstance(targets, str) else targets or ()
    layers = (layers,) if isinstance(layers, int) else layers
    for name, value in (("targets", targets), ("layers", () if layers is None else layers)):
        if not isinstance(value, Iterable):
            raise BadConfig(f"{name} is {value!r}.",
                            expected="places or module names as text; block numbers as integers")
    return tuple(targets), None if layers is None else tuple(layers)


def _is_known(model: nn.Module) -> bool:
    return hasattr(model, "base_model") and model.config.model_type in FAMILIES


def head(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the task head's parameters: new for the task, trained by every method.

    A pretrained pooler or language-model head is part of the backbone, and is not here.
    """
    return tuple(name for name, _ in model.named_parameters() if name.split(".")[0] in HEADS)


# ── one kind of linear layer ─────────────────────────────────────────────────────────────────


def is_conv1d(module: nn.Module) -> bool:
    """Return whether this is GPT-2's linear layer, which stores its weight as (n_in, n_out)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def to_linear(conv: nn.Module) -> nn.Linear:
    """Return an `nn.Linear` equal to a `Conv1D`: its weight is the transpose, (n_out, n_in)."""
    n_in, n_out = conv.weight.shape
    linear = nn.Linear(n_in, n_out, device="meta", dtype=conv.weight.dtype)
    linear.weight = nn.Parameter(conv.weight.detach().T.contiguous(), conv.weight.requires_grad)
    linear.bias = nn.Parameter(conv.bias.detach().clone(), conv.bias.requires_grad)
    return linear.train(conv.training)


def to_conv1d(linear: nn.Linear) -> nn.Module:
    """Undo `to_linear`."""
    from transformers.pytorch_utils import Conv1D

    conv = Conv1D(linear.out_features, linear.in_features)
    conv.weight = nn.Parameter(linear.weight.detach().T.contiguous(), linear.weight.requires_grad)
    conv.bias = nn.Parameter(linear.bias.detach().clone(), linear.bias.requires_grad)
    return conv.train(linear.training)


def replace(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put `module` where `name` stands in `model`; return the model to keep.

    The empty name is the model itself: then that is `module`.
    """
    if not name:
        return module
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
    return model


def to_hf(model: nn.Module) -> nn.Module:
    """Return the plain transformers model again: converted layers become what they were.

    A 4-bit layer becomes a plain one, too, whose weight keeps the rounding. Raises `NotSupported`
    while an adapter is on the model: merge or remove it first.
    """
    if _is_wrapped(model):
        raise NotSupported("This model carries an adapter, which a plain model cannot hold.",
                           hint="model = pt.merge(model) or pt.remove(model), then to_hf(model)")
    for name, layer in quantized(model).items():
        replace(model, name, layer.to_linear())
    model.__dict__.pop("peft_teach_quantized", None)
    for name in model.__dict__.pop("peft_teach_converted", ()):
        replace(model, name, to_conv1d(model.get_submodule(name)))
    guard_save(model)
    return model


def guard_save(model: nn.Module) -> None:
    """Let `save_pretrained` refuse exactly while it would lie.

    With adapters, converted or 4-bit layers it would write a checkpoint with foreign names or
    transposed weights, without a warning.
    """
    if _is_wrapped(model) or model.__dict__.get("peft_teach_converted") or quantized(model):
        model.__dict__["save_pretrained"] = _refuse_save
    else:
        model.__dict__.pop("save_pretrained", None)


def quantized(model: nn.Module) -> dict[str, nf4.Linear4bit]:
    """Return the layers that are held in 4 bits, by the names that they have now."""
    return {n: m for n, m in model.named_modules() if isinstance(m, nf4.Linear4bit)}


def _is_wrapped(model: nn.Module) -> bool:
    record = model.__dict__.get("peft_teach_record")    # left there by `core.attach`
    return record is not None and record.wraps


def _refuse_save(*args, **kwargs):
    raise NotSupported("save_pretrained would write a checkpoint that no library can read: this "
                       "model holds adapters, converted or 4-bit layers.",
                       hint="pt.save(model, path) for the adapter; or merge or remove it, then "
                            "pt.models.to_hf(model).save_pretrained(path)")


# ── what a backbone is called with ──────────────────────────────────────────────────────────


def cache_name() -> str:
    """Return the argument in which the installed transformers passes keys and values."""
    import transformers

    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    return "cache" if version >= (5, 24) else "past_key_values"


def pop_cache(arguments: dict):
    """Take the cache out of a backbone's keyword arguments, by either name.

    Returns `(cache, length)`: the object that the model appends to or None, and the tokens in it.
    """
    found = [arguments.pop(name, None) for name in ("past_key_values", "cache")]
    cache = next((c for c in found if c is not None), None)
    return cache, 0 if cache is None else cache.get_seq_length()


def new_cache():
    """Return an empty cache, which a backbone reads and appends to."""
    from transformers import DynamicCache

    return DynamicCache()


def reads_cache(backbone: nn.Module) -> bool:
    """Return whether this family's attention looks at cached keys and values.

    DistilBERT takes the argument and ignores it without a word.
    """
    return _family(backbone).reads_cache


def key_value_shape(backbone: nn.Module) -> tuple[int, int, int]:
    """Return `(layers, heads, d_head)` of a backbone's keys, which its values share.

    With grouped queries there are fewer heads here than query heads.
    """
    config = backbone.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, d_head


def positions(backbone: nn.Module, input_ids: Tensor | None, seq: int) -> Tensor:
    """Return the position ids (batch or 1, seq) that a backbone gives its tokens by itself.

    They count from 0, padding included; RoBERTa's start after the padding's own number and pass
    padding over.
    """
    first = first_position(backbone)
    if first == 0 or input_ids is None:
        place = next(backbone.parameters()).device
        return torch.arange(first, first + seq, device=place)[None]           # (1, seq)
    real = (input_ids != first - 1).long()                                    # (batch, seq)
    return real.cumsum(1) * real + first - 1                                  # (batch, seq)


def first_position(backbone: nn.Module) -> int:
    """Return the position of the first token: 0, but for RoBERTa."""
    config = backbone.config
    return config.pad_token_id + 1 if config.model_type == "roberta" else 0


def longest_input(backbone: nn.Module) -> int:
    """Return how many positions a backbone has."""
    return backbone.config.max_position_embeddings - first_position(backbone)


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


def is_recomputing(backbone: nn.Module) -> bool:
    """Return whether gradient checkpointing is on: it drops the cache while training."""
    return any(getattr(module, "gradient_checkpointing", False) for module in backbone.modules())


def is_encoder(backbone: nn.Module) -> bool:
    """Return whether every token sees every other: a BERT, RoBERTa or DistilBERT."""
    return _family(backbone) in (BERT, DISTILBERT)


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
    classification head of that many classes, drawn from torch's global generator; without, it is
    the bare encoder or the language model. `pool` says what the head of a BERT encoder reads:
    "cls", the first token through the pretrained pooler, or "mean", the mean over the real tokens.
    `pretrained=False` keeps the architecture and draws all weights anew. `device` None takes the
    GPU if there is one. Raises `UnknownName`, `BadConfig`, `FetchError` or `NotSupported`.
    """
    if pool not in ("cls", "mean"):
        raise unknown("pooling", pool, ("cls", "mean"))
    if attention not in ATTENTIONS:
        raise unknown("attention", attention, ATTENTIONS)
    if labels is not None and (not isinstance(labels, int) or labels < 1):
        raise BadConfig(f"labels is {labels!r}.", expected="a number of classes, or None")
    source = _source(name)
    with quiet_transformers():
        import transformers

        config = _or_explain(transformers.AutoConfig.from_pretrained, source, name)
        tokenizer = _or_explain(transformers.AutoTokenizer.from_pretrained, source, name)
        make = _model_class(config, labels, pool)
        options = {"dtype": dtype, "attn_implementation": attention}
        if labels is not None:
            config.num_labels = labels
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if config.pad_token_id is None:
            config.pad_token_id = tokenizer.pad_token_id
        if pretrained:
            model = _or_explain(make.from_pretrained, source, name, config=config, **options)
        elif hasattr(make, "from_config"):
            model = make.from_config(config, **options)
        else:
            model = make._from_config(config, **options)
    return model.to(device or best_device()).eval(), tokenizer


def _source(name: str) -> str:
    """Return what transformers should load: a folder of the cache, or a name on the Hub."""
    if name == "minilm":
        return str(fetch.path("minilm"))
    if name == "smollm2":
        return str(fetch.derived("smollm2", "bf16", _convert_smollm2))
    if isinstance(name, str) and name.startswith("hub:") and len(name) > 4:
        return name[4:]
    raise unknown("model", name, (*NAMES, "hub:NAME"))


def _model_class(config, labels: int | None, pool: str):
    """Choose the transformers class: classifier, language model, or bare encoder."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if pool == "mean" and labels is not None:
        if config.model_type != "bert":
            raise NotSupported(f"pool='mean' is written for BERT, not for {config.model_type}.",
                               hint="pool='cls'")
        return _mean_pooled()
    if labels is not None:
        return transformers.AutoModelForSequenceClassification
    # transformers can make a language model of BERT, too; here an encoder stays an encoder.
    encoder = (FAMILIES.get(config.model_type) in (BERT, DISTILBERT)
               or config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    return transformers.AutoModel if encoder else transformers.AutoModelForCausalLM


def _mean_pooled():
    """Return BERT with a head over the mean of the real tokens' last hidden states."""
    from transformers import BertForSequenceClassification
    from transformers.modeling_outputs import SequenceClassifierOutput

    class MeanPooledBert(BertForSequenceClassification):
        def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
            hidden = self.bert(input_ids, attention_mask=attention_mask, **kwargs)[0]
            if attention_mask is None:                          # hidden: (batch, seq, d_model)
                attention_mask = hidden.new_ones(hidden.shape[:2])
            mask = attention_mask[..., None].to(hidden.dtype)   # (batch, seq, 1)
            pooled = (hidden * mask).sum(1) / mask.sum(1)       # (batch, d_model)
            logits = self.classifier(self.dropout(pooled))      # (batch, labels)
            loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
            return SequenceClassifierOutput(loss=loss, logits=logits)

    return MeanPooledBert


def _convert_smollm2(folder: Path) -> None:
    """Read the 4-bit GGUF file once and keep the weights as bfloat16 safetensors.

    transformers refuses `save_pretrained` on a model that came from GGUF, so the weights move
    through the state dict into a fresh model of the same configuration.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    source = fetch.path("smollm2")
    file = next(source.glob("*.gguf")).name
    with quiet_transformers():
        read = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.bfloat16)
        read.config.__dict__.pop("quantization_config", None)
        model = LlamaForCausalLM(read.config).to(torch.bfloat16)
        model.load_state_dict(read.state_dict())
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(folder)


def _or_explain(load, source: str, name: str, **options):
    """Call a `from_pretrained`; what is unknown, unreachable or no model becomes our error."""
    from safetensors import SafetensorError

    try:
        return load(source, **options)
    except (OSError, ValueError, SafetensorError) as error:
        if not name.startswith("hub:"):
            raise
        raise UnknownName(f"{source!r} could not be loaded as a model: "
                          f"{(str(error).splitlines() or [type(error).__name__])[0]}",
                          expected="a model's name on the Hugging Face Hub, and a network; or a "
                                   "folder that save_pretrained wrote",
                          hint="check the name; offline, 'minilm' and 'smollm2' work") from error


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
