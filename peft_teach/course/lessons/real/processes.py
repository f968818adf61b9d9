"""Train the reader's LoRA in as many processes as there are, and write down the losses.

    torchrun --nproc_per_node 2 processes.py losses.json

The same line takes two GPUs, where there are two. Each step sees 16 sentences, whoever reads them.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration

import peft_teach as pt


def main(path: str, steps: int = 8) -> None:
    """Train on the first film reviews, without dropout; write the loss of each step."""
    shared = DataLoaderConfiguration(split_batches=True)
    accelerator = Accelerator(cpu=torch.cuda.device_count() < 2, dataloader_config=shared)
    pt.seed(0)
    model, tokenizer = pt.models.load("minilm", labels=2, device=accelerator.device)
    inject, LoRALinear = pt.mine("change.inject", "lora.layer")
    model = inject(model, ("query", "value"), lambda base: LoRALinear(base, 8, 16)).eval()
    examples = pt.data.load("movies").train[:16 * steps]

    def collate(rows):
        return pt.data.batches(rows, tokenizer, len(rows), shuffle=False)[0]

    loader = torch.utils.data.DataLoader(examples, batch_size=16, collate_fn=collate)
    trained = [p for p in model.parameters() if p.requires_grad]
    model, optimizer, loader = accelerator.prepare(
        model, torch.optim.AdamW(trained, lr=3e-3), loader)
    losses = []
    for batch in loader:
        loss = model(**batch).loss
        accelerator.backward(loss)    # and gradients are averaged over the processes
        optimizer.step()
        optimizer.zero_grad()
        losses.append(accelerator.gather(loss.detach()).mean().item())
    if accelerator.is_main_process:
        Path(path).write_text(json.dumps(losses))


def launch(count: int) -> list[float] | None:
    """Start this script in so many processes; the losses, or None if they could not meet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "losses.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count),
                   __file__, str(path)]
        ran = subprocess.run(command, capture_output=True,
                             env=os.environ | {"OMP_NUM_THREADS": "1"})
        return json.loads(path.read_text()) if ran.returncode == 0 else None


if __name__ == "__main__":
    main(sys.argv[1])
