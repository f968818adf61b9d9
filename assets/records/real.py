"""Make the record of lesson 12: what peft and two processes said here.

    python assets/records/real.py        two minutes of one core; needs the test extra

Writes `real.json`, which the lesson shows where one of the libraries is not installed:

    versions      of the libraries that were asked
    their_file    names, shapes and settings of a file that peft wrote: LoRA, trained on a Llama
    complaints    what peft says of a right file and of false ones, on MiniLM
    from_afar     a LoRA that peft trained on 1,600 film reviews: its file and its own logits
    processes     losses of the same steps in one process and in two
"""

import base64
import copy
import importlib.metadata
import json
import tempfile
from pathlib import Path

import safetensors.torch
import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.real import peft_side, processes

ASKED = ("Two warm hours.", "I wanted my evening back.", "Not bad at all.", "It ends, at last.")


def their_file() -> dict:
    """Have peft write a LoRA of a very small Llama; its names, shapes and settings."""
    import peft
    import transformers

    pt.seed(0)
    small = transformers.LlamaForSequenceClassification(transformers.LlamaConfig(
        vocab_size=97, hidden_size=64, intermediate_size=128, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, num_labels=2))
    model = peft.get_peft_model(small, peft.LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=12, target_modules=["q_proj", "v_proj"]))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = safetensors.torch.load_file(Path(folder) / "adapter_model.safetensors")
        settings = json.loads((Path(folder) / "adapter_config.json").read_text("utf-8"))
    kept = ("peft_type", "task_type", "r", "lora_alpha", "use_rslora", "target_modules",
            "modules_to_save")
    modules = {name: list(m.weight.shape) for name, m in small.named_modules()
               if name.endswith(("q_proj.base_layer", "v_proj.base_layer"))}
    return {"tensors": {name: list(t.shape) for name, t in sorted(tensors.items())},
            "settings": {k: sorted(v) if isinstance(v, list) else v
                         for k, v in settings.items() if k in kept},
            "modules": {name.removesuffix(".base_layer"): s for name, s in modules.items()}}


def from_afar(tokenizer) -> dict:
    """Train with peft on films; its file in half precision, as peft then reads it, and answers."""
    import peft

    pt.seed(1)
    movies = pt.data.load("movies")
    base, _ = pt.models.load("minilm", labels=2, device="cpu")
    model = peft.get_peft_model(base, peft.LoraConfig(
        r=2, lora_alpha=8, use_rslora=True, target_modules=["query", "value"],
        modules_to_save=["classifier"]))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    for batch in pt.data.batches(movies.train[:1600], tokenizer):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for p in trained:
            p.copy_(p.half())
        model.save_pretrained(folder)
        tensors = safetensors.torch.load_file(Path(folder) / "adapter_model.safetensors")
        settings = json.loads((Path(folder) / "adapter_config.json").read_text("utf-8"))
    model.eval()
    asked = tokenizer(list(ASKED), padding=True, return_tensors="pt")
    tests = pt.data.batches(movies.test[:400], tokenizer, 50, shuffle=False)
    right = sum((peft_side.logits(model, b).argmax(1) == b["labels"]).sum().item() for b in tests)
    packed = safetensors.torch.save({name: t.half() for name, t in tensors.items()})
    return {"file": base64.b64encode(packed).decode(), "asked": list(ASKED),
            "settings": {k: sorted(v) if isinstance(v, list) else v for k, v in settings.items()
                         if k in ("peft_type", "r", "lora_alpha", "use_rslora", "target_modules")},
            "logits": peft_side.logits(model, asked).tolist(), "accuracy": right / 400}


def main() -> None:
    """Ask all of them, and write down what they said."""
    pt.seed(0)
    base, tokenizer = pt.models.load("minilm", labels=2, device="cpu")
    batch = pt.data.batches(pt.data.load("movies").test[:32], tokenizer, 32, shuffle=False)[0]
    inject, LoRALinear, to_peft = pt.mine("change.inject", "lora.layer", "real.names")
    ours = inject(copy.deepcopy(base), ("query", "value"), lambda b: LoRALinear(b, 4, 8)).eval()
    peft_side.fill(ours)
    head = {n: p.detach() for n, p in ours.named_parameters() if n in pt.models.head(ours)}
    file = to_peft(pt.adapters(ours), head)
    found = peft_side.complaints(base, ours, file, batch)
    recording.Recorder(__file__).save({
        "versions": {name: importlib.metadata.version(name) for name in (
            "peft", "transformers", "accelerate", "torch")},
        "their_file": their_file(),
        "complaints": json.loads(found.reset_index().to_json(orient="records")),
        "from_afar": from_afar(tokenizer),
        "processes": {str(count): processes.launch(count) for count in (1, 2)}})


if __name__ == "__main__":
    main()
