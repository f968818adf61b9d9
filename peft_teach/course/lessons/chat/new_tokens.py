"""A few rows of a table of embeddings, trained alone: what a new token needs.

    tokenizer.add_special_tokens({"additional_special_tokens": ["<whistle>"]})
    model.resize_token_embeddings(len(tokenizer))
    rows = train_rows(model, tokenizer.convert_tokens_to_ids(["<whistle>"]))

Where the output layer shares the table, as SmolLM2's does, it reads the trained rows, too: one
parameter in two places. Hugging Face peft's `TrainableTokensConfig(token_indices=...)`, or
`LoraConfig(trainable_token_indices=...)`, is the same function, and `save` writes its file.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ....adapter import Adapter
from ....errors import BadConfig


class TokenRows(Adapter):
    """A frozen `nn.Embedding` in which the rows of some tokens are trained."""

    base: nn.Embedding

    def __init__(self, base: nn.Embedding, ids: Sequence[int]):
        super().__init__(base)
        if not 0 < len({*ids}) == len(ids) or not all(0 <= i < base.num_embeddings for i in ids):
            raise BadConfig(f"The tokens are {[*ids]}.", expected="different ids below "
                            f"{base.num_embeddings}", hint="model.resize_token_embeddings(n)")
        self.register_buffer("ids", torch.tensor([*ids]), persistent=False)        # (n,)
        self.rows = nn.Parameter(base.weight.detach()[self.ids].float().clone())   # (n, d_model)

    def forward(self, x: Tensor) -> Tensor:
        h = self.base(x)                                                  # (batch, seq, d_model)
        places = x[..., None] == self.ids                                 # (batch, seq, n)
        rows = (places.to(self.rows.dtype) @ self.rows).to(h.dtype)       # 0 where no id is
        return torch.where(places.any(-1, keepdim=True), rows, h)


class TiedRows(Adapter):
    """An output layer that shares the table: its logits of these tokens come from their rows."""

    base: nn.Linear

    def __init__(self, base: nn.Linear, table: TokenRows):
        super().__init__(base)
        self.table = [table]    # in a list, since the rows are the embedding's

    def forward(self, h: Tensor) -> Tensor:
        y, table = self.base(h), self.table[0]                            # (batch, seq, vocabulary)
        return y.index_copy(-1, table.ids, (h @ table.rows.to(h.dtype).T).to(y.dtype))


def train_rows(model: nn.Module, ids: Sequence[int]) -> TokenRows:
    """Let the rows of these tokens train, and nothing else; return them, in the model's place."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows = TokenRows(table, ids)
    model.requires_grad_(False)
    rows.rows.requires_grad_(True)
    if head is not None and head.weight is table.weight:
        model.set_output_embeddings(TiedRows(head, rows))
    model.set_input_embeddings(rows)
    return rows


def save_rows(model: nn.Module, folder: str | Path) -> Path:
    """Write the rows as a folder that `PeftModel.from_pretrained` reads; return it."""
    folder, rows = Path(folder), model.get_input_embeddings()
    places = [name for name, module in model.named_modules()
              if isinstance(module, TokenRows | TiedRows)]
    folder.mkdir(parents=True, exist_ok=True)
    save_file({f"base_model.model.{place}.trainable_tokens_delta": rows.rows.detach().clone()
               for place in places}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "TRAINABLE_TOKENS", "task_type": "CAUSAL_LM", "target_modules": places[:1],
        "token_indices": rows.ids.tolist()}), "utf-8")
    return folder
