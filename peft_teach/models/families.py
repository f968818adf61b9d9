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

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ..errors import NotSupported
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
