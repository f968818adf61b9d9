"""Tiny random models of every family, for all tests.

Sizes differ wherever a mix-up could hide: vocabulary 97, d_model 32, feed-forward 48, three
labels, 2 blocks; families that group their queries have 4 query heads and 2 key-value heads,
Gemma 2 heads that are wider than d_model / 4, ELECTRA embeddings of 20, and windows are shorter
than the inputs. Biases and norms are drawn at random, so that a mistake with them shows, and
weights are large enough that attention depends on its input.
"""

import torch

VOCAB, D_MODEL, D_FF, LABELS, BLOCKS = 97, 32, 48, 3, 2

ENCODERS = ("bert", "roberta", "distilbert")
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
EIGHT = (*ENCODERS, *DECODERS)
MORE_ENCODERS = ("electra", "xlm-roberta", "camembert", "modernbert")
MORE_DECODERS = ("gemma", "gemma2", "gemma3_text", "smollm3", "olmo2", "phi3", "gpt_neox", "opt")
TWELVE = (*MORE_ENCODERS, *MORE_DECODERS)
FAMILIES = (*EIGHT, *TWELVE)
ROBERTAS = ("roberta", "xlm-roberta", "camembert")
FUSED = ("gpt2", "gpt_neox", "phi3", "modernbert")    # one projection for query, key and value

# (n_in, n_out) of every place that is one linear layer, written down and not read from a model:
# d_model 32, feed-forward 48, 2 of 4 heads for key and value; Gemma 2's heads have 12 features.
SIZES = {
    "plain": {"query": (32, 32), "key": (32, 32), "value": (32, 32), "attention_out": (32, 32),
                "ffn_in": (32, 48), "ffn_out": (48, 32)},
    "gpt2": {"qkv": (32, 96), "attention_out": (32, 32), "ffn_in": (32, 48), "ffn_out": (48, 32)},
    "llama": {"query": (32, 32), "key": (32, 16), "value": (32, 16), "attention_out": (32, 32),
              "ffn_in": (32, 48), "ffn_gate": (32, 48), "ffn_out": (48, 32)},
    "modernbert": {"qkv": (32, 96), "attention_out": (32, 32), "ffn_in": (32, 96),
                   "ffn_out": (48, 32)},
    "phi3": {"qkv": (32, 64), "attention_out": (32, 32), "ffn_in": (32, 96), "ffn_out": (48, 32)},
}
SIZES |= {"gpt_neox": SIZES["gpt2"], "opt": SIZES["plain"], "gemma2": SIZES["llama"] | {
    "query": (32, 48), "key": (32, 24), "value": (32, 24), "attention_out": (48, 32)}}

# Like Llama, and shaped like BERT, by transformers' name of the configuration.
LLAMAS = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3",
          "gemma": "Gemma", "gemma2": "Gemma2", "gemma3_text": "Gemma3Text",
          "smollm3": "SmolLM3", "olmo2": "Olmo2", "phi3": "Phi3"}
BERTS = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta",
         "camembert": "Camembert", "electra": "Electra"}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MORE = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 12, "query_pre_attn_scalar": 12, "sliding_window": 6},
    "gemma3_text": {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 6,
                    "layer_types": ["sliding_attention", "full_attention"]},
    "smollm3": {"no_rope_layer_interval": 2},
    "electra": {"embedding_size": 20},
}


def sizes(family: str) -> dict[str, tuple[int, int]]:
    """Return (n_in, n_out) of every place of a tiny model that is one linear layer."""
    return SIZES[family if family in SIZES else "llama" if family in DECODERS + MORE_DECODERS
                 else "plain"]


def config_of(family: str, **changes):
    """Return a tiny configuration; `changes` are settings by transformers' names."""
    import transformers

    if family == "distilbert":
        return transformers.DistilBertConfig(**{
            "vocab_size": VOCAB, "dim": D_MODEL, "hidden_dim": D_FF, "n_layers": BLOCKS,
            "n_heads": 4, "max_position_embeddings": 40, "dropout": 0.0, "attention_dropout": 0.0,
            "seq_classif_dropout": 0.0, "pad_token_id": 0, "initializer_range": 0.2,
            "num_labels": LABELS} | changes)
    if family == "gpt2":
        return transformers.GPT2Config(**{
            "vocab_size": VOCAB, "n_embd": D_MODEL, "n_inner": D_FF, "n_layer": BLOCKS,
            "n_head": 4, "n_positions": 40, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
            "attn_pdrop": 0.0, "initializer_range": 0.2, "num_labels": LABELS}
            | SPECIAL | changes)
    sizes = {"vocab_size": VOCAB, "hidden_size": D_MODEL, "num_hidden_layers": BLOCKS,
             "num_attention_heads": 4, "max_position_embeddings": 42, "num_labels": LABELS}
    if family == "opt":
        return transformers.OPTConfig(**sizes | SPECIAL | {
            "ffn_dim": D_FF, "dropout": 0.0, "init_std": 0.2} | changes)
    sizes |= {"intermediate_size": D_FF, "initializer_range": 0.2}
    if family == "modernbert":
        return transformers.ModernBertConfig(**sizes | SPECIAL | {
            "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8} | changes)
    if family == "gpt_neox":
        return transformers.GPTNeoXConfig(**sizes | SPECIAL | changes)
    if family in BERTS:
        make = getattr(transformers, f"{BERTS[family]}Config")
        return make(**sizes | {
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
            "pad_token_id": 0 if family in ("bert", "electra") else 1}
            | MORE.get(family, {}) | changes)
    make = getattr(transformers, f"{LLAMAS[family]}Config")
    return make(**sizes | SPECIAL | {"num_key_value_heads": 2} | MORE.get(family, {}) | changes)


def build(family: str, kind: str = "classifier", seed: int = 0, **changes) -> torch.nn.Module:
    """Return a tiny random model in eval mode; `kind` is "backbone", "classifier" or "lm"."""
    import transformers

    make = {"backbone": transformers.AutoModel, "lm": transformers.AutoModelForCausalLM,
            "classifier": transformers.AutoModelForSequenceClassification}[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make.from_config(config_of(family, **changes))
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.ndim == 1:
                    p.normal_(1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0,
                              0.2)
    return model.eval()
