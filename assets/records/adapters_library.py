"""Record what the `adapters` library prints: its own workflow, in an environment of its own.

    python assets/records/adapters_library.py        about three minutes, most of them pip's

`adapters` 1.3.0 wants transformers 4.57, and the course's other libraries a newer one. So pip puts
the four packages into a temporary folder, this script starts Python once more with that folder in
front, and what is printed there goes into `adapters_library.json`. The model is a
random BERT of two layers, width 64: it shows names, counts and files, and learns nothing.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from peft_teach.course import recording

PACKAGES = ("adapters==1.3.0", "transformers==4.57.6", "tokenizers==0.22.2",
            "huggingface_hub==0.36.0")    # torch and what they need besides are those that are here

# What the library's users write; the lesson shows it beside its output.
WORKFLOW = '''
import adapters
import torch
from adapters import AutoAdapterModel
from transformers import BertConfig

torch.manual_seed(0)
small = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=256, vocab_size=100)
AutoAdapterModel.from_config(small).save_pretrained("base")
model = AutoAdapterModel.from_pretrained("base")

model.add_adapter("movies", config="double_seq_bn")     # the name of today; slides say "houlsby"
model.add_classification_head("movies", num_labels=2)
model.train_adapter("movies")                           # freezes the rest, activates the adapter
trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
print("trains:", sum(p.numel() for n, p in trained.items() if ".adapters." in n), "in the adapter,",
      sum(p.numel() for n, p in trained.items() if ".adapters." not in n), "in the head")

tokens, labels = torch.randint(100, (16, 12)), torch.randint(2, (16,))
optimizer = torch.optim.AdamW(trained.values(), lr=1e-3)
for step in range(20):
    loss = model(tokens, labels=labels).loss
    loss.backward(); optimizer.step(); optimizer.zero_grad()

model.save_adapter("movies-adapter", "movies")
model.eval()
with torch.no_grad():
    wanted = model(tokens).logits

fresh = AutoAdapterModel.from_pretrained("base")        # the same base once more
print("loaded as:", fresh.load_adapter("movies-adapter"))
fresh.set_active_adapters("movies")                     # loaded is not yet active
fresh.eval()
with torch.no_grad():
    print("same outputs:", torch.allclose(fresh(tokens).logits, wanted, atol=1e-6))
'''

ASKED = WORKFLOW + '''
from pathlib import Path
from adapters import BnConfig
print("files:", ", ".join(f"{f.name} ({f.stat().st_size:,} bytes)"
                          for f in sorted(Path("movies-adapter").iterdir())))
import warnings, logging
for name in ("double_seq_bn", "seq_bn", "par_bn"):
    try:
        config = adapters.ADAPTER_CONFIG_MAP[name]
        print("config", name + ":", "after attention" if config["mh_adapter"] else "",
              "after ffn" if config["output_adapter"] else "",
              "reduction", config["reduction_factor"], config["non_linearity"],
              "start", config["init_weights"], "scale", config["scaling"])
    except KeyError:
        print("config", name + ": unknown")
'''


def main():
    """Install, run, and write down what was printed."""
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder) / "packages"
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
                        "--target", str(packages), *PACKAGES], check=True)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ASKED], cwd=folder, capture_output=True,
            text=True, check=False, env=os.environ | {"PYTHONPATH": str(packages),
                                                      "TRANSFORMERS_VERBOSITY": "error"})
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    recording.Recorder(__file__).save({"packages": " ".join(PACKAGES), "workflow": WORKFLOW.strip(),
                                     "printed": done.stdout.strip()})


if __name__ == "__main__":
    main()
