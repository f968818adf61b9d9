"""Save adapters as this library did, for `test_old_files.py` to load with what it is now.

    python tests/library/golden_files.py

wrote `golden/` with the code of commit 38bb25b. A later run writes what the code then does, so it
is made anew only for a format of its own. One folder a method as `pt.save` left it; `outputs`
holds each adapted model's logits, (batch, labels).
"""

import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file

import peft_teach as pt

FOLDER = Path(__file__).parent / "golden"
CONFIGS = {"lora": pt.lora.Config(rank=2), "dora": pt.dora.Config(rank=2),
           "qlora": pt.qlora.Config(rank=2, targets="query"), "ia3": pt.ia3.Config(),
           "prefix": pt.prefix.Config(length=3), "full": pt.full.Config(train="head")}


def base(method: str) -> torch.nn.Module:
    """Return the model that this method's file is for; its weights are drawn by no generator."""
    import transformers

    if method == "ia3":    # on GPT-2, whose layers are converted
        config = transformers.GPT2Config(
            vocab_size=31, n_embd=8, n_inner=12, n_layer=1, n_head=2, n_positions=16,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, pad_token_id=0, bos_token_id=1,
            eos_token_id=2, num_labels=2)
    else:
        config = transformers.BertConfig(
            vocab_size=31, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=16, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, num_labels=2)
    return fill(transformers.AutoModelForSequenceClassification.from_config(config).eval())


@torch.no_grad()
def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Give what is trained, which is everything at first, numbers that follow from its name."""
    for name, p in model.named_parameters():
        if p.requires_grad:
            steps = torch.arange(p.numel(), dtype=torch.float64) + zlib.crc32(name.encode()) % 1000
            p.copy_((0.4 * torch.sin(steps * 1.7)).reshape(p.shape))
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    """Return what the model says of two short texts, (2, labels)."""
    ids = torch.tensor([[5, 9, 30, 2, 7], [1, 4, 4, 11, 3]])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


if __name__ == "__main__":
    outputs = {}
    for method, config in CONFIGS.items():
        model = fill(getattr(pt, method).inject(base(method), config))
        outputs[method] = logits(model)
        pt.save(model, FOLDER / method)
    save_file(outputs, FOLDER / "outputs.safetensors")
