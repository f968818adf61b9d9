"""Record what the `adapters` library computes, for `test_bottleneck.py` to compare with.

`adapters` 1.3.0 needs transformers 4.57, so it cannot stand beside the one that this project
uses. What it says is recorded once, in an environment of its own, and kept in `golden/`:

    python -m venv /tmp/golden && . /tmp/golden/bin/activate
    pip install torch adapters==1.3.0 transformers==4.57.6 pytest
    python tests/golden_adapters.py

One file a family. `base.*` are the weights of a tiny model, which bfloat16 holds exactly,
`input_ids` and `attention_mask` its input, `output` its last hidden state, (batch, seq, d_model).
Each configuration of `adapters` adds its parameters, `{name}.{block}.{after}.{parameter}`, and its
own last hidden state, `{name}.output`. `provenance.json` holds versions, the date, and the sha256
of each file.
"""

import datetime
import hashlib
import json
import platform
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import VOCAB, build

FOLDER = Path(__file__).parent / "golden"
SIZE = 5                 # d_model is 32, and adapters takes the whole part of 32 / 6
FACTOR = 6
# With a norm of its own, the norm is also the library's `adapter_down.0`, the matrix the next.
PARTS = {"adapter_norm_before.weight": "norm.weight", "adapter_norm_before.bias": "norm.bias",
         "adapter_down.0.weight": "W_down", "adapter_down.0.bias": "b_down",
         "adapter_down.1.weight": "W_down", "adapter_down.1.bias": "b_down",
         "adapter_up.weight": "W_up", "adapter_up.bias": "b_up"}


def configurations() -> dict:
    """Return the library's own configurations by the name of the tensors in the file."""
    from adapters import BnConfig, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig

    gelu = {"reduction_factor": FACTOR, "non_linearity": "gelu"}
    return {
        "houlsby": DoubleSeqBnConfig(**gelu),
        "double_seq_bn": DoubleSeqBnConfig(reduction_factor=FACTOR),    # its default: swish
        "pfeiffer": SeqBnConfig(reduction_factor=FACTOR),
        "bapna": BnConfig(mh_adapter=False, output_adapter=True, reduction_factor=FACTOR,
                          non_linearity="relu", ln_before=True, original_ln_before=True,
                          original_ln_after=False, residual_before_ln=False),
        "post_attention": DoubleSeqBnConfig(output_adapter=False, **gelu),
        "parallel": ParBnConfig(reduction_factor=FACTOR),
    }


def record(family: str) -> dict[str, torch.Tensor]:
    """Return everything that goes into the file of one family."""
    import adapters

    model = build(family, "backbone")
    generator = torch.Generator().manual_seed(11)
    ids = torch.randint(3, VOCAB, (2, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    ids[mask == 0] = model.config.pad_token_id
    batch = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.bfloat16())    # rounded, so that half the bytes keep them exactly
        kept = {f"base.{n}": p.bfloat16() for n, p in model.named_parameters()} | batch
        kept["output"] = model(**batch)[0]
        adapters.init(model)
        for name, config in configurations().items():
            model.add_adapter(name, config=config)
            model.set_active_adapters(name)
            model.eval()
            for key, p in model.named_parameters():
                if f".adapters.{name}." in key:
                    p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
                    kept[f"{name}.{neutral(key, name)}"] = p.clone()
            kept[f"{name}.output"] = model(**batch)[0]
            assert (kept[f"{name}.output"] - kept["output"]).abs().max() > 0.1, (family, name)
            model.delete_adapter(name)
    return kept


def neutral(key: str, name: str) -> str:
    """Turn the library's parameter name into "{block}.{attention or ffn}.{parameter}"."""
    path, _, part = key.partition(f".adapters.{name}.")
    block = re.search(r"\.(\d+)\.", path).group(1)
    after = "attention" if "attention" in path else "ffn"
    return f"{block}.{after}.{PARTS[part]}"


def main() -> None:
    """Write one file a family, and where they come from."""
    import adapters
    import transformers

    FOLDER.mkdir(exist_ok=True)
    sums = {}
    for family in ("bert", "roberta", "gpt2", "llama"):
        file = FOLDER / f"adapters-{family}.safetensors"
        save_file({n: t.contiguous() for n, t in record(family).items()}, file)
        sums[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        print(file.name, file.stat().st_size, "bytes")
    (FOLDER / "provenance.json").write_text(json.dumps({
        "command": "python tests/golden_adapters.py",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"adapters": adapters.__version__, "transformers": transformers.__version__,
                     "torch": torch.__version__, "python": platform.python_version()},
        "sha256": sums,
    }, indent=1) + "\n")


if __name__ == "__main__":
    main()
