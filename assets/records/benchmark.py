"""Race every method against Hugging Face peft, and NF4 against bitsandbytes; make a table.

    python assets/records/benchmark.py           what is missing; all takes ten minutes, two cores
    python assets/records/benchmark.py --again   all anew; --forget: and nothing else stays
    python assets/records/benchmark.py --memory  the rows that stand keep their times, memory anew
    python assets/records/benchmark.py --quick   MiniLM, few rounds, no memory; nothing is stored
    python assets/records/benchmark.py --methods full NAME    a new method; two minutes

Needs the `test` extra. Both sides get equal models, places, ranks, lengths, batches and AdamW, in
float32; where a row says bfloat16 the base is that, and the adapters are not. The sides differ in
two things. On BERT, peft's head reads the first prompt vector, ours [CLS]. And the vectors that
peft's prefix projection starts from are as wide as grouped keys (192 in SmolLM2), ours as the model
(576), as in the paper: hence the two counts.

time        one step: forward, backward, optimizer. The sides take turns in one process, ours first
            in every second round; the ratio is the median over rounds, with its quartiles. Ratios
            to full fine-tuning come from the same rounds.
memory      the bytes of the model's tensors, and what resident memory grows by at the peak of four
            steps in a process of their own; on a GPU, what torch has allocated at the peak.
parameters  what the method trains, head not counted.
file        the safetensors file that each side saves; with the head, where there is one.

Prints Markdown and writes `benchmark.json`: one row for a method on a model, one for an NF4 shape.
What stands there, measured on this machine with these threads and versions, is not measured again;
rows of other machines stay in the file, and make tables of their own.
"""

import contextlib
import ctypes
import gc
import itertools
import logging
import multiprocessing
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
import transformers

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)    # it misses a package it can do without

import bitsandbytes as bnb  # noqa: E402
import peft  # noqa: E402

import peft_teach as pt  # noqa: E402
from peft_teach.course import recording, records  # noqa: E402
from peft_teach.course.publish.benchmark_table import BATCHES, table  # noqa: E402
from peft_teach.methods import METHODS  # noqa: E402

MODELS = {"minilm": {"batch": BATCHES["minilm"], "labels": 2, "rounds": 24},
          "smollm2": {"batch": BATCHES["smollm2"], "labels": None, "rounds": 6}}
RANK, ALPHA, LENGTH, PROJECTION = 8, 16, 20, 512
PEAK = Path("/proc/self/clear_refs")    # Linux only: elsewhere memory is not measured
SHAPES = ((384, 1536), (576, 1536), (2048, 2048))
DTYPES = ("float32", "bfloat16")


# ── the two sides ────────────────────────────────────────────────────────────────────────────


def methods(model):
    """Return {label: (our module, our config, peft's config or None)} for a plain model.

    A method without a row here races alone, with the settings that it starts from.
    """
    places = pt.models.places(model)
    linear = tuple(p for p in pt.models.LINEAR if p in places)
    task = "SEQ_CLS" if pt.models.head(model) else "CAUSAL_LM"

    def named(targets):
        return list(pt.models.find(model, targets))

    def lora(targets, **more):
        return peft.LoraConfig(task_type=task, r=RANK, lora_alpha=ALPHA,
                               target_modules=named(targets), **more)

    two, three = ("query", "value"), ("key", "value", "ffn_out")
    prefix = {"task_type": task, "num_virtual_tokens": LENGTH}
    found = {
        "full": (pt.full, pt.full.Config(), None),
        "bitfit": (pt.bitfit, pt.bitfit.Config(), None),
        "prompt": (pt.prompt, pt.prompt.Config(LENGTH), peft.PromptTuningConfig(**prefix)),
        "prefix": (pt.prefix, pt.prefix.Config(LENGTH), peft.PrefixTuningConfig(**prefix)),
        "prefix, projection": (
            pt.prefix, pt.prefix.Config(LENGTH, projection=PROJECTION), peft.PrefixTuningConfig(
                prefix_projection=True, encoder_hidden_size=PROJECTION, **prefix)),
        "bottleneck": (pt.bottleneck, pt.bottleneck.PFEIFFER, None),
        "ia3": (pt.ia3, pt.ia3.Config(), peft.IA3Config(
            task_type=task, target_modules=named(three), feedforward_modules=named("ffn_out"))),
        "lora": (pt.lora, pt.lora.Config(RANK, ALPHA, targets=two), lora(two)),
        "lora, bfloat16": (pt.lora, pt.lora.Config(RANK, ALPHA, targets=two), lora(two)),
        "lora, all linear": (pt.lora, pt.lora.Config(RANK, ALPHA, targets=linear), lora(linear)),
        "dora": (pt.dora, pt.dora.Config(RANK, ALPHA, targets=two), lora(two, use_dora=True)),
        "qlora": (pt.qlora, pt.qlora.Config(RANK, ALPHA), lora(linear)),
    }
    if task == "CAUSAL_LM":    # too slow on a CPU that has no instructions for it
        del found["lora, bfloat16"]
    here = set(map(method_of, found))
    return found | {name: (method, method.Config(), None)
                    for name, method in METHODS.items() if name not in here}


def method_of(label):
    """Return the method of a row: "lora" of "lora, bfloat16"."""
    return label.partition(",")[0]


def build(model, label, side):
    """Put a method on a plain model, "ours" or "peft"; return what to train, in training mode."""
    module, config, other = methods(model)[label]
    if label.endswith("bfloat16"):
        model.to(torch.bfloat16)
    if side == "ours":
        return module.inject(model, config).train()
    if label == "qlora":
        in_bitsandbytes(model, other.target_modules)
    return peft.get_peft_model(model, other).train()


def in_bitsandbytes(model, names):
    """Put these linear layers in 4 bits: NF4, double quantization, float32 arithmetic."""
    for name in names:
        linear = model.get_submodule(name)
        layer = bnb.nn.Linear4bit(linear.in_features, linear.out_features, linear.bias is not None,
                                  compute_dtype=torch.float32, compress_statistics=True,
                                  quant_type="nf4")
        layer.load_state_dict(linear.state_dict())
        pt.models.replace(model, name, layer.to(linear.weight.device))    # this quantizes
    model.is_loaded_in_4bit = True    # so that peft takes its own 4-bit class


def trained(model):
    """Return how many parameters train, head not counted."""
    if isinstance(model, peft.PeftModel):
        return sum(p.numel() for name, p in model.named_parameters()
                   if p.requires_grad and "modules_to_save" not in name)
    return sum(p.numel() for p in pt.adapter_parameters(model).values())


def held_bytes(model):
    """Return the bytes of a model's tensors, those of bitsandbytes' weights included."""
    tensors = [*model.parameters(), *model.buffers()]
    for p in model.parameters():
        state = getattr(p, "quant_state", None)
        if state is not None:
            tensors += [state.absmax, state.state2.absmax, state.offset]
    return sum(t.numel() * t.element_size() for t in tensors)


def file_bytes(model):
    """Save a model as its side does; return the bytes of the weights and of the whole folder."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / "adapter"
        if isinstance(model, peft.PeftModel):
            model.save_pretrained(folder, save_embedding_layers=False)
        else:
            pt.save(model, folder)
        sizes = {f: f.stat().st_size for f in folder.rglob("*") if f.is_file()}
    return {"weights": sum(n for f, n in sizes.items() if f.suffix == ".safetensors"),
            "folder": sum(sizes.values())}


# ── time ─────────────────────────────────────────────────────────────────────────────────────


def plain(name, device="cpu"):
    """Load a pretrained model in float32, with its head if it gets one."""
    pt.seed(0)
    return pt.models.load(name, labels=MODELS[name]["labels"], device=device)[0]


def batch_of(model, rows, tokens):
    """Return a batch without padding: labels are classes, or the tokens themselves."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, model.config.vocab_size, (rows, tokens), generator=generator)
    labels = torch.arange(rows) % model.config.num_labels if pt.models.head(model) else ids
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return {key: value.to(model.device) for key, value in batch.items()}


def stepper(model, batch):
    """Return a function that makes one training step and returns its loss."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step():
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()    # on a GPU this waits, for the forward pass at least

    return step


def race(runners, rounds):
    """Let functions take turns, in reverse order every second round; return seconds by name."""
    seconds = {name: [] for name in runners}
    for i in range(-2, rounds):
        for name in list(runners) if i % 2 else reversed(runners):
            wait()
            start = time.perf_counter()
            runners[name]()
            wait()
            if i >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def wait():
    """Let a GPU finish what was asked of it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratio(ours, theirs):
    """Return the median over rounds of ours/theirs, between its quartiles."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, theirs)], n=4)
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


# ── memory ───────────────────────────────────────────────────────────────────────────────────


def memory(name, label, side, device, threads):
    """Return bytes: of the model's tensors, and at the peak of four training steps."""
    torch.set_num_threads(threads)
    quiet()
    model = plain(name, device)
    batch = batch_of(model, *MODELS[name]["batch"])
    model = build(model, label, side)
    step = stepper(model, batch)
    held = held_bytes(model)
    for p in model.parameters():
        p.sum()    # weights of a mapped file come into memory when they are first read
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        ctypes.CDLL(None).malloc_trim(0)    # else freed memory is used again, unseen
        before = resident("VmRSS")
        PEAK.write_text("5")    # the peak counts from here
    for _ in range(4):
        step()
    peak = (torch.cuda.max_memory_allocated() if device == "cuda"
            else held + resident("VmHWM") - before)
    return {"model": held, "peak": peak}


def resident(field):
    """Return this process's resident memory now (VmRSS) or at its peak (VmHWM), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def in_fresh_processes(function, calls):
    """Return function(*call) for each call, each made in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(len(calls), maxtasksperchild=1) as pool:
        return pool.starmap(function, calls, chunksize=1)


# ── the rows ─────────────────────────────────────────────────────────────────────────────────


def measure(name, label, device, rounds, with_memory, batch, full):
    """Return what one method on one model needs; `full` is a step of full fine-tuning."""
    sides = ["ours"] + ["peft"] * (methods(plain(name, device))[label][2] is not None)
    row = {}
    runners = {} if label == "full" else {"full": full}
    for side in sides:
        model = build(plain(name, device), label, side)
        runners[side] = stepper(model, batch)
        row[side] = {"parameters": trained(model), "file_bytes": file_bytes(model)}
    seconds = race(runners, rounds)
    for side in sides:
        row[side]["step_ms"] = round(1000 * statistics.median(seconds[side]), 2)
    if with_memory:
        remember(row, name, label, device)
    row["step_to"] = {other: ratio(seconds["ours"], seconds[other])
                      for other in ("peft", "full") if other in seconds}
    return row


def remember(row, name, label, device):
    """Write into a method's row what memory its sides take, each in a process of its own."""
    sides = [side for side in ("ours", "peft") if side in row]
    calls = [(name, label, side, device, torch.get_num_threads()) for side in sides]
    for side, found in zip(sides, in_fresh_processes(memory, calls)):
        row[side]["memory_bytes"] = found


def nf4(shape, double, dtype, device, rounds):
    """Return what one matrix needs: throughput in million weights a second, bits a weight."""
    W = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    W = W.to(device, getattr(torch, dtype))
    q = pt.nf4.quantize(W, double=double)

    def their_quantize():
        return bnb.functional.quantize_4bit(W, blocksize=64, compress_statistics=double,
                                            quant_type="nf4")

    packed, state = their_quantize()
    seconds = {
        "quantize": race({"ours": lambda: pt.nf4.quantize(W, double=double),
                          "theirs": their_quantize}, rounds),
        "dequantize": race({"ours": lambda: pt.nf4.dequantize(q),
                            "theirs": lambda: bnb.functional.dequantize_4bit(packed, state)},
                           rounds)}
    row = {"bits": round(q.bits_per_parameter, 4)}
    for work, times in seconds.items():
        row[work] = {side: round(W.numel() / statistics.median(t) / 1e6)
                     for side, t in times.items()}
        row[work]["time"] = ratio(times["ours"], times["theirs"])
    return row


def quiet():
    """Silence transformers' reports, and what it tells peft about a name that it will drop."""
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)


def main():
    """Measure what is missing, storing after each row; print the table."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--quick", action="store_true",
                        help="two minutes of one core; nothing is stored")
    parser.add_argument("--memory", action="store_true", help="only memory, of rows that stand")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="only these; quick: minilm")
    parser.add_argument("--methods", nargs="+", metavar="NAME",
                        help="only these rows, 'lora, all linear' for one; nf4 is one of them")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="only this; else all there are")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    unknown = [name for name in options.methods or () if method_of(name) not in {*METHODS, "nf4"}]
    if unknown:
        parser.error(f"--methods: no {', '.join(unknown)}; there are {', '.join(METHODS)}, nf4")
    torch.set_num_threads(options.threads)
    quiet()
    devices = [options.device] if options.device else (
        ["cpu"] + ["cuda"] * torch.cuda.is_available())
    names = options.models or (["minilm"] if options.quick else list(MODELS))

    with tempfile.TemporaryDirectory() as folder:
        # What is measured in haste goes into a record of its own, to be printed and forgotten.
        record = recording.Recorder(Path(folder) / "quick" if options.quick else __file__,
                                  again=options.again, forget=options.forget)
        for device in devices:
            here = {"device": device, "machine": recording.machine(
                transformers, peft, bnb, device=device, threads=options.threads)}
            if options.memory:
                for row in records.select({"runs": []} | record.read(), **here):
                    if row["model"] in names and (
                            not options.methods or row["method"] in options.methods):
                        remember(row, row["model"], row["method"], device)
                        about = {k: row[k] for k in (*here, "model", "method")}
                        record.add(about, row)
                continue
            for part, about, found in measurements(here, names, options.methods, options.quick,
                                                   record.holds):
                record.add(about, found | recording.today(), part)
        print(table(record.read()))


def measurements(here, names, wanted, fast, stands=lambda about, part: False):
    """Yield ("runs" or "nf4", what a row is about, what was found), of what does not stand.

    `here` is how each row begins: the device, and the machine.
    """
    device = here["device"]
    for name in names:
        rounds = 6 if fast else MODELS[name]["rounds"]
        with_memory = not fast and (device == "cuda" or PEAK.exists())
        model = plain(name, device)
        abouts = [{**here, "model": name, "method": label} for label in methods(model)
                  if not wanted or label in wanted]
        abouts = [about for about in abouts if not stands(about, "runs")]
        if not abouts:
            continue
        batch = batch_of(model, *MODELS[name]["batch"])
        full = stepper(build(model, "full", "ours"), batch)
        for about in abouts:
            label = about["method"]
            print(f"{device}, {name}: {label}", flush=True)
            with contextlib.suppress(pt.errors.NoTargets):    # BitFit on a model without biases
                yield "runs", about, measure(name, label, device, rounds, with_memory, batch, full)
    for shape in SHAPES if not wanted or "nf4" in wanted else ():
        for dtype, double in itertools.product(DTYPES, (False, True)):
            about = {**here, "shape": list(shape), "dtype": dtype, "double": double}
            if not stands(about, "nf4"):
                print(f"{device}, NF4: {shape}, {dtype}, double={double}", flush=True)
                yield "nf4", about, nf4(shape, double, dtype, device, 10 if fast else 50)


if __name__ == "__main__":
    main()
