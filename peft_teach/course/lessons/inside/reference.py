"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch


# ── inside.linear ────────────────────────────────────────────────────────────────────────────

def linear_count(n_in: int, n_out: int) -> int:
    return n_in * n_out + n_out


# ── inside.head ──────────────────────────────────────────────────────────────────────────────

def one_head(q, k, v):
    return torch.softmax(q @ k.T / q.shape[1]**0.5, dim=1) @ v


# ── inside.attention ─────────────────────────────────────────────────────────────────────────

def attention(q, k, v, heads, mask):
    width = q.shape[-1] // heads
    read = []
    for part in (slice(h * width, (h + 1) * width) for h in range(heads)):
        fit = torch.einsum("bqw,bkw->bqk", q[..., part], k[..., part]) / width**0.5
        read.append(fit.masked_fill(~mask, float("-inf")).softmax(-1) @ v[..., part])
    return torch.cat(read, dim=-1)


# ── inside.transformer ───────────────────────────────────────────────────────────────────────

def transformer_block(x, mask, weights, heads, attention):
    F = torch.nn.functional
    layer = {name: (weights[f"{name}.weight"], weights[f"{name}.bias"])
             for name in {key.split(".")[0] for key in weights}}
    may_read = mask.bool().unsqueeze(1).repeat(1, x.shape[1], 1)
    q, k, v = (F.linear(x, *layer[name]) for name in ("query", "key", "value"))
    mixed = F.linear(attention(q, k, v, heads, may_read), *layer["attention_out"])
    x = F.layer_norm(x + mixed, x.shape[-1:], *layer["attention_norm"], eps=1e-12)
    wide = F.gelu(F.linear(x, *layer["ffn_in"]))
    x = x + F.linear(wide, *layer["ffn_out"])
    return F.layer_norm(x, x.shape[-1:], *layer["ffn_norm"], eps=1e-12)


# ── inside.ledger ────────────────────────────────────────────────────────────────────────────

def ledger(total: int, trained: int, bytes_each: int, moments: int) -> dict[str, int]:
    numbers = {"weights": total, "gradients": trained, "optimizer": moments * trained}
    return {part: count * bytes_each for part, count in numbers.items()}


# ── inside.block ─────────────────────────────────────────────────────────────────────────────

def block_count(d_model: int, d_ff: int, heads: int, kv_heads: int) -> int:
    kv = kv_heads * (d_model // heads)
    outputs_of = {"query": (d_model, d_model), "key": (d_model, kv), "value": (d_model, kv),
                  "attention_out": (d_model, d_model), "ffn_in": (d_model, d_ff),
                  "ffn_out": (d_ff, d_model)}
    layers = sum((n_in + 1) * n_out for n_in, n_out in outputs_of.values())
    return layers + 2 * 2 * d_model


# ── inside.order ─────────────────────────────────────────────────────────────────────────────

order = "cadb"
