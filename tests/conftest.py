"""Tiny random models of every family, for all tests.

Sizes differ wherever a mix-up could hide: vocabulary 97, d_model 32, feed-forward 48, three
labels, 2 blocks; the Llama family has 4 query heads and 2 key-value heads. Biases and norms are
drawn at random, so that a mistake with them shows, and weights are large enough that attention
depends on its input.
"""

import pytest
import torch

VOCAB, D_MODEL, D_FF, D_KV, LABELS, BLOCKS = 97, 32, 48, 16, 3, 2


def _config(family: str):
    import transformers

    if family == "distilbert":
        return transformers.DistilBertConfig(
            vocab_size=VOCAB, dim=D_MODEL, hidden_dim=D_FF, n_layers=BLOCKS, n_heads=4,
            max_position_embeddings=40, dropout=0.0, attention_dropout=0.0,
            seq_classif_dropout=0.0, pad_token_id=0, initializer_range=0.2, num_labels=LABELS)
    if family == "gpt2":
        return transformers.GPT2Config(
            vocab_size=VOCAB, n_embd=D_MODEL, n_inner=D_FF, n_layer=BLOCKS, n_head=4,
            n_positions=40, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, initializer_range=0.2, num_labels=LABELS)
    sizes = {"vocab_size": VOCAB, "hidden_size": D_MODEL, "intermediate_size": D_FF,
             "num_hidden_layers": BLOCKS, "num_attention_heads": 4, "max_position_embeddings": 42,
             "initializer_range": 0.2, "num_labels": LABELS}
    if family in ("bert", "roberta"):
        make = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}[family]
        return make(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                    pad_token_id=1 if family == "roberta" else 0)
    grouped = {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    make = {"llama": transformers.LlamaConfig, "mistral": transformers.MistralConfig,
            "qwen2": transformers.Qwen2Config, "qwen3": transformers.Qwen3Config}[family]
    if family == "qwen3":
        grouped["head_dim"] = 8
    if family == "llama":
        grouped |= {"attention_bias": True, "mlp_bias": True}
    return make(**sizes, **grouped)


def build(family: str, kind: str = "classifier", seed: int = 0) -> torch.nn.Module:
    """Return a tiny random model in eval mode; `kind` is "backbone", "classifier" or "lm"."""
    import transformers

    make = {"backbone": transformers.AutoModel, "lm": transformers.AutoModelForCausalLM,
            "classifier": transformers.AutoModelForSequenceClassification}[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make.from_config(_config(family))
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.ndim == 1:
                    p.normal_(1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0,
                              0.2)
    return model.eval()


@pytest.fixture(scope="session")
def tiny():
    """Give `build`: `tiny("bert", "classifier", seed=0)`."""
    return build


@pytest.fixture(scope="session")
def inputs():
    """Give a function: model → a batch of 4 rows, padded on one side, with labels on request."""
    def make(model, padding="right", labels=True, seed=1):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, VOCAB, (4, 11), generator=generator)
        mask = torch.ones_like(ids)
        for row, pads in enumerate((0, 3, 5, 1)):
            mask[row, (slice(0, pads) if padding == "left" else slice(11 - pads, 11))] = 0
        ids[mask == 0] = model.config.pad_token_id
        batch = {"input_ids": ids, "attention_mask": mask}
        if labels and type(model).__name__.endswith("ForSequenceClassification"):
            batch["labels"] = torch.tensor([0, 2, 1, 2])
        elif labels and hasattr(model, "lm_head"):
            batch["labels"] = ids.masked_fill(mask == 0, -100)
        return batch
    return make
