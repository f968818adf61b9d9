"""One vocabulary for what differs between model families; a new family is one entry here.

    place           BERT and its kin            GPT-2        Llama and its kin
    query           attention.self.query        –            self_attn.q_proj
    qkv             –                           attn.c_attn  –
    attention_out   attention.output.dense      attn.c_proj  self_attn.o_proj
    ffn_in          intermediate.dense          mlp.c_fc     mlp.up_proj
    ...

    entry       families
    BERT        BERT; ELECTRA, whose small models project their embeddings
    ROBERTA     RoBERTa, XLM-R, CamemBERT: BERT, but positions skip padding
    LLAMA       Llama, Mistral, Qwen2, Qwen3, Gemma 1, 2 and 3, SmolLM3, OLMo 2
    one each    DistilBERT, GPT-2, GPT-NeoX, OPT, Phi-3, ModernBERT

A method asks where, in *this* family, the query projections, the feed-forward block or the norms
are: through `pt.models`, and never for a family by name.

Two fused layers share a place with plain ones: `qkv` is query, key and value in one, and the
`ffn_in` of Phi-3 and ModernBERT is their `ffn_gate` and `ffn_in` in one. A norm has a place only
where it closes a sub-layer: one on the sub-layer's output before the sum, as in Gemma 2 and 3 and
OLMo 2, has none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from ..errors import BadConfig, NoTargets, NotSupported
from ..valid import as_layers, as_targets, is_integer
from ..wrapped import refuse_wrapped


@dataclass(frozen=True)
class Family:
    """One architecture: the path of its blocks, and each place relative to a block.

    `places` maps a place to a module path inside the block; `embeddings` and `last` are paths
    from the backbone. `last` may hold `{last}`, the number of the last block. `lacks` gives the
    reason a usual place is absent; an absent `backbone` applies only to language models.

    `is_encoder` says that every token attends to every other; `reads_cache`, that attention reads
    cached keys and values; `skips_padding`, that positions start at `padding_idx + 1` and skip
    padding; `fuses_by_head`, that `qkv` holds one head after the other, instead of all queries,
    then all keys, then all values.
    """

    blocks: str
    embeddings: str
    last: str
    places: dict[str, str]
    lacks: dict[str, str] = field(default_factory=dict)
    is_encoder: bool = False
    reads_cache: bool = True
    skips_padding: bool = False
    fuses_by_head: bool = False


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
}, is_encoder=True)
ROBERTA = replace(BERT, skips_padding=True)
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
}, is_encoder=True, reads_cache=False)
MODERNBERT = Family("layers", "embeddings", "final_norm", {
    "qkv": "attn.Wqkv",
    "attention_out": "attn.Wo",
    "ffn_in": "mlp.Wi",
    "ffn_out": "mlp.Wo",
    "ffn": "mlp",
    "block": "",
}, is_encoder=True, reads_cache=False)
GPT2 = Family("h", "drop", "ln_f", {
    "qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "ffn_in": "mlp.c_fc",
    "ffn_out": "mlp.c_proj",
    "ffn": "mlp",
    "block": "",
})
GPT_NEOX = Family("layers", "emb_dropout", "final_layer_norm", {
    "qkv": "attention.query_key_value",
    "attention_out": "attention.dense",
    "ffn_in": "mlp.dense_h_to_4h",
    "ffn_out": "mlp.dense_4h_to_h",
    "ffn": "mlp",
    "block": "",
}, fuses_by_head=True)
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
PHI3 = Family("layers", "embed_tokens", "norm", {
    "qkv": "self_attn.qkv_proj",
    "attention_out": "self_attn.o_proj",
    "ffn_in": "mlp.gate_up_proj",
    "ffn_out": "mlp.down_proj",
    "ffn": "mlp",
    "block": "",
})
OPT = Family("decoder.layers", "decoder.embed_tokens", "decoder.final_layer_norm", {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_out": "self_attn.out_proj",
    "ffn_in": "fc1",
    "ffn_out": "fc2",
    "block": "",
}, lacks={
    "backbone": "OPT's language model calls the decoder inside its backbone, and passes the "
                "backbone by, with whatever is wrapped around it",
    "ffn": "OPT's feed-forward network is two layers of the block, with no module around them",
})


def _electra(config) -> Family:
    """Return ELECTRA's entry: the small models project narrow embeddings to the blocks' width."""
    projects = config.embedding_size != config.hidden_size
    return replace(BERT, embeddings="embeddings_project") if projects else BERT


def _opt(config) -> Family:
    """Return OPT's entry: its 350M model projects its embeddings, too, and alone is post-LN."""
    family = OPT
    if config.word_embed_proj_dim != config.hidden_size:
        family = replace(family, embeddings="decoder.project_in")
    if not config.do_layer_norm_before:
        norms = {"attention_norm": "self_attn_layer_norm", "ffn_norm": "final_layer_norm"}
        family = replace(family, last="decoder.layers.{last}.final_layer_norm",
                         places=family.places | norms)
    return family


# By `config.model_type`: an entry, or a function of the config where that decides between two.
FAMILIES: dict[str, Family | Callable[[Any], Family]] = {
    "bert": BERT, "roberta": ROBERTA, "distilbert": DISTILBERT, "gpt2": GPT2,
    "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA,
    "gemma": LLAMA, "gemma2": LLAMA, "gemma3_text": LLAMA, "smollm3": LLAMA, "olmo2": LLAMA,
    "electra": _electra, "xlm-roberta": ROBERTA, "camembert": ROBERTA, "opt": _opt,
    "phi3": PHI3, "gpt_neox": GPT_NEOX, "modernbert": MODERNBERT,
}

# Places that are one linear layer each.
LINEAR = ("query", "key", "value", "qkv", "attention_out", "ffn_in", "ffn_gate", "ffn_out")

# Places that a model has once; all others it has once a block.
SINGLE = ("embeddings", "last", "backbone")


def config_of(model: nn.Module) -> Any:
    """Return a model's configuration: an object of transformers', which differs by family."""
    return model.config


def places(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Map each place of this model to its module names, first block first.

    Names are those of the unadapted model; a bare backbone is its own "backbone", named "".
    Raises `NotSupported` for an unknown family.
    """
    refuse_wrapped(model)
    family, count = need_family(model), config_of(model).num_hidden_layers
    backbone = "" if model.base_model is model else str(model.base_model_prefix)
    root = backbone and backbone + "."
    table = {
        place: tuple(f"{root}{family.blocks}.{i}.{path}".rstrip(".") for i in range(count))
        for place, path in family.places.items()
    }
    table["embeddings"] = (root + family.embeddings,)
    table["last"] = (root + family.last.format(last=count - 1),)
    table["backbone"] = (backbone,)
    return {place: names for place, names in table.items() if place not in family.lacks
            or (place == "backbone" and not hasattr(model, "lm_head"))}


def family_of(model: nn.Module) -> Family | None:
    """Return the entry of a model's family; None for one that is not known."""
    config = getattr(model, "config", None)
    known = getattr(config, "model_type", None) in FAMILIES and hasattr(model, "base_model")
    return entry(config) if known else None


def need_family(model: nn.Module) -> Family:
    """Return the entry of a model's family; raise `NotSupported` for one that is not known."""
    family = family_of(model)
    if family is None:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise NotSupported(f"The places of {kind!r} are not known.",
                           expected="one of " + ", ".join(FAMILIES),
                           hint="give full module names from model.named_modules() as targets")
    return family


def is_encoder(model: nn.Module) -> bool:
    """Return whether every token sees every other, as in BERT and its kin."""
    return need_family(model).is_encoder


def entry(config) -> Family:
    """Return the family's entry for a configuration whose `model_type` is in `FAMILIES`."""
    found = FAMILIES[config.model_type]
    return found if isinstance(found, Family) else found(config)


def find(model: nn.Module, targets: str | tuple[str, ...],
         layers: tuple[int, ...] | None = None) -> tuple[str, ...]:
    """Turn targets into module names, without repeats.

    A target is a place, a full module name, or a pattern of such names, as for files, in which a
    star matches dots, too: "*.0.*.query". A module with several names is returned by its first. A
    name that is also a place, as "embeddings" is on a bare BERT, means the place. "linear" is every
    linear layer of the blocks. `layers` keeps only these blocks of the places that every block has.
    Raises `NoTargets` for a target, and `BadConfig` for a block, that the model lacks.
    """
    layers = as_layers(layers)
    first = {module: name for name, module in model.named_modules()}
    modules = {name: first[module]
               for name, module in model.named_modules(remove_duplicate=False) if name}
    chosen = [name for t in as_targets(targets) for name in _expanded(t, modules, model)]
    family = family_of(model)
    table = places(model) if family else {}
    absent = [t for t in chosen if t not in table and t not in modules]
    if absent or not chosen:
        what = ", ".join(map(repr, absent)) or "module without a name: no target was given"
        if family is None:
            ends = dict.fromkeys(name.rpartition(".")[2] for name in modules)
            close = [f"'*{end}', say; or " for t in absent for end in get_close_matches(t, ends, 1)]
            raise NotSupported(
                f"This {type(model).__name__} has no {what}; its places are not known.",
                expected="module names or patterns; here they end in " + ", ".join([*ends][:20]),
                hint="".join(close) + "print([name for name, _ in model.named_modules()])")
        close = [f"did you mean {place!r}?" for t in absent if t not in family.lacks
                 for place in get_close_matches(t, table, 1)]
        why = "; ".join(reason for place, reason in family.lacks.items() if place in absent)
        raise NoTargets(f"This model has no {what}{': ' if why else ''}{why}.",
                        expected="a place, here " + ", ".join(table) + ", or a full module name or "
                                 "a pattern, such as '*.0.*'",
                        hint=_called_elsewhere(absent, table) or " ".join(close)
                             or "print pt.models.places(model)")
    if layers is not None:
        _check_layers(layers, [table[t] for t in chosen if t in table and t not in SINGLE])
    names = []
    for target in chosen:
        here = table.get(target, (target,))
        if layers is not None and target in table and target not in SINGLE:
            here = tuple(here[i] for i in sorted(layers))
        names.extend(here)
    return tuple(dict.fromkeys(modules.get(name, name) for name in names))


def _expanded(target: str, modules: dict[str, str], model: nn.Module) -> Sequence[str]:
    """Return what "linear" or a pattern of module names stands for; of any other target, itself."""
    if target == "linear" and target not in modules:
        return linear_places(model)
    if any(sign in target for sign in "*?["):
        return [m for m in modules if fnmatchcase(m, target)] or [target]
    return [target]


def _called_elsewhere(absent: list[str], table: dict[str, tuple[str, ...]]) -> str | None:
    """Say which places are called so in another library's targets: "q_proj" is the query."""
    found = {t: [repr(place) for place, names in table.items() if names[0].endswith(f".{t}")]
             for t in absent}
    return "; ".join(f"{t!r} is {' or '.join(p)} here" for t, p in found.items() if p) or None


def query_and_value(model: nn.Module) -> tuple[str, ...]:
    """Return the places of queries and values, or of the fused projection that makes both."""
    return ("qkv",) if "qkv" in places(model) else ("query", "value")


def linear_places(model: nn.Module) -> tuple[str, ...]:
    """Return the places of this model that are one linear layer each."""
    return tuple(place for place in places(model) if place in LINEAR)


def _check_layers(layers: tuple[int, ...], chosen: list[tuple[str, ...]]) -> None:
    if not chosen:
        raise BadConfig(f"layers={layers}, and no target is a place that every block has.",
                        expected="layers=None; or targets such as 'query', 'ffn_in', 'block'")
    count = len(chosen[0])
    if not layers or not all(is_integer(i, 0, count - 1) for i in layers):
        raise BadConfig(f"layers={layers} " + ("names a block that does not exist." if layers
                                               else "names no block."),
                        expected=f"block numbers from 0 to {count - 1}, or None for all")


def place_of(model: nn.Module) -> dict[str, str]:
    """Map module names to places; empty for a family that is not known."""
    return {} if family_of(model) is None else {
        name: place for place, names in places(model).items() for name in names}
