"""Make the record of lesson 11: a chat model learns a voice, and what it forgets.

    python assets/records/chat.py                        all that is missing, in order
    python assets/records/chat.py --methods lora none    half of it; the other process takes
    python assets/records/chat.py --methods full qlora
    python assets/records/chat.py --try                  tiny settings into work/, in minutes

Writes `chat.json`: a row a checkpoint, in the part "checkpoints". Interrupted, it goes on with the
run in which it stopped. Two trained adapters are kept in `work/chat`, which git ignores, for the
groups that look at them again; where they are not there, they are trained once more.

The plan, written before the first run. SmolLM2-135M-Instruct learns a voice from the lesson's
training pairs: batches of 8, five passes, AdamW, the rate falling to 0 over all. Three methods:
LoRA of rank 8, alpha 16, on all linear layers of the blocks; QLoRA, the same on a base whose linear
layers were rounded to NF4; full fine-tuning. SmolLM2's weights come from a 4-bit file already, so
QLoRA rounds them a second time. All compute under bfloat16 autocast, what trains is float32.
QLoRA's base is laid out once instead of at each use: the same numbers, sooner.

Looked at: the answers to 60 questions, the most likely word each time, but no four tokens twice,
for a small model circles else; which of them end by themselves; the loss on 70 held-out answers in
the voice (no topic of either was trained); and what may be forgotten: the loss on plain answers,
news and code, 40 texts each, and how many of 240 film reviews are judged correctly without an
example. A loss is the mean over texts of each text's mean loss a token. Two models are compared
text by text, in pairs.

    rates    one pass of the five, seed 2, along a ladder with a factor of two a step, until both
             neighbours of the best were tried. The least loss of the voice chooses; QLoRA takes
             LoRA's rate. The same answers choose and judge: methods are compared at equal loss of
             the voice. (At first there were three rates a method, and the largest was the best.)
    main     three methods, seed 0, then seed 1. Looked at after 0, 1/4, 1/2, 1, 2, 3 and 5 passes;
             seed 1 from 1/2 on
    labels   LoRA, seed 0, three of the five passes: labels with and without the question, with and
             without the end of the turn; that of "main" is one of the four
    prompt   no training, but a system prompt that describes the voice; later, with three of the
             training pairs as examples, too
    knob     the update of LoRA, seed 0, after three passes, times f from -1 to 2
    shrink   the same after five passes. Intruders are those of the 16 strongest output directions
             of W + ΔW that no direction of W resembles (cosine below 0.6). Their singular values
             times f = 0.75, 0.5, 0.25, 0; beside it the whole ΔW shrunk, matrix by matrix, to the
             norm that this leaves

Questions, with what would answer no. Does the style go on rising after the loss of the voice has
turned? (The best loss is at the end, or the style at its best there.) Does LoRA forget less than
full fine-tuning? (At equal loss of the voice the paired difference of the other losses includes 0,
or has the other sign with one of the seeds.) Does masking the question do anything? (Style, share
that end and loss of the voice within two standard errors.) Does the end of the turn decide whether
answers end? Does shrinking the intruders restore more of what was forgotten than shrinking
everything, at one norm and at one loss of the voice?
"""

import hashlib
import json
import time
from pathlib import Path

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.chat import measure

RANK, ALPHA, TARGETS = 8, 16, ("linear",)    # all linear layers of the blocks
BATCH, PASSES = 8, 5
LADDER = {"lora": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2),
          "full": (2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 8e-4)}
FIRST = {"lora": 2e-3, "full": 5e-5}
LOOKS = {0: (0, 0.25, 0.5, 1, 2, 3, 5), 1: (0.5, 1, 2, 3, 5)}
FILMS_AT = (0, 1, 3, 5)
KEPT_AT = {"knob": 3, "shrink": 5}
KNOB = (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
SHRINK = (0.75, 0.5, 0.25, 0.0)
STRONGEST, INTRUDER = 16, 0.6
METHODS = ("lora", "none", "full", "qlora")
KEPT = Path(__file__).parents[2] / "work" / "chat"


class Looker:
    """What every look needs: the tokenizer, the texts, and the record."""

    def __init__(self, record: recording.Record, small: bool):
        self.record, self.small = record, small
        self.tokenizer = pt.models.load("smollm2")[1]
        voice = pt.data.voice()
        self.train, self.questions = voice.train, voice.questions
        self.reviews, self.new_tokens = measure.REVIEWS, measure.NEW_TOKENS
        self.texts = measure.texts(voice, self.tokenizer)
        if small:
            self.train, self.questions = self.train[:32], self.questions[:4]
            self.reviews, self.new_tokens = 24, 8
            self.texts = {kind: batches[:1] for kind, batches in self.texts.items()}
        self.steps = -(-len(self.train) // BATCH)    # a pass

    def training(self, seed, question, end):
        """Return the batches of all passes."""
        made = pt.data.chat(self.train, self.tokenizer, BATCH, seed=seed, epochs=PASSES)
        made = measure.with_question(made) if question else made
        return made if end else measure.without_end(made, self.tokenizer)

    def losses(self, model, kinds=("voice", *measure.OTHERS)):
        """Return a model's loss on each text of these kinds."""
        return {"losses": {kind: measure.losses(model, self.texts[kind]) for kind in kinds}}

    def answers(self, model, before=()):
        """Return a model's answers to the held-out questions, and which end."""
        said, ended = measure.answers(model, self.tokenizer, self.questions, before,
                                      self.new_tokens)
        return {"answers": said, "ended": recording.bits(ended)}

    def films(self, model):
        """Return which film reviews a model judges correctly."""
        found = measure.films(model, self.tokenizer, self.reviews)
        return {name: recording.bits(right) for name, right in found.items()}

    def add(self, about, found):
        """Write a row, and say so."""
        self.record.add(about, found, part="checkpoints")
        told = {kind: round(sum(each) / len(each), 3)
                for kind, each in found.get("losses", {}).items()}
        print(*about.values(), told, found.get("ended", "").count("1"),
              found.get("answers", [""])[0][:70], flush=True)


def in_bfloat16():
    """Return the context of all computing. No cast weight is kept: the next step changes it."""
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


def put_on(method):
    """Return SmolLM2 with a method on it."""
    model, _ = pt.models.load("smollm2")
    lora = {"rank": RANK, "alpha": ALPHA, "targets": TARGETS}
    if method == "full":
        return pt.full.inject(model)
    if method == "lora":
        return pt.lora.inject(model, pt.lora.Config(**lora))
    model = pt.qlora.inject(model, pt.qlora.Config(**lora))
    for name, layer in pt.models.quantized(model).items():
        model.set_submodule(name, layer.to_linear().requires_grad_(False))
    return model


def about(group, method, seed, lr, passes, question=False, end=True):
    """Describe a checkpoint."""
    return {"group": group, "method": method, "seed": seed, "lr": lr, "passes": passes,
            "question": question, "end": end}


def train(look, group, method, seed, lr, looks, question=False, end=True):
    """Train one run as far as its last look; write a row at each, if any is missing."""
    def row(passes):
        return about(group, method, seed, lr, passes, question, end)

    if all(look.record.holds(row(passes), "checkpoints") for passes in looks):
        return
    pt.seed(seed)
    begun, model = time.perf_counter(), put_on(method)
    wanted = {round(passes * look.steps): passes for passes in looks}
    recent = []
    with in_bfloat16():
        for at, passes in wanted.items():
            if at == 0:
                look.add(row(passes), {"step": 0, **seen(look, model, group, passes)})
        for step in pt.train(model, look.training(seed, question, end), lr):
            recent.append(step.loss)
            passes = wanted.get(step.index + 1)
            if passes is None:
                continue
            found = {"step": step.index + 1, **seen(look, model, group, passes),
                     "training": round(sum(recent) / len(recent), 4),
                     "seconds": round(time.perf_counter() - begun)}
            recent = []
            if method == "lora" and group == "main" and seed == 0 and passes in KEPT_AT.values():
                pt.save(model, kept(look, passes))
            look.add(row(passes), found)
            if passes == max(looks):
                break


def seen(look, model, group, passes):
    """Return what is looked at in a model of this group."""
    if group == "rates":
        return look.losses(model, ("voice",))
    found = look.losses(model) | look.answers(model)
    return found | look.films(model) if group == "main" and passes in FILMS_AT else found


def kept(look, passes):
    """Return the folder of LoRA, seed 0, after so many passes."""
    return KEPT / f"{'small ' if look.small else ''}lora {passes}"


def chosen(look, method):
    """Return a method's rate with the least loss of the voice after one pass; search it first."""
    of = {"qlora": "lora"}.get(method, method)
    while rate := recording.next_rate(tried(look.record.made(), of), LADDER[of], FIRST[of]):
        train(look, "rates", of, 2, rate, (1,))
    found = tried(look.record.read(), of)
    return max(found, key=found.get)


def tried(record, method):
    """Return the loss of the voice by rate, its sign turned: more is better."""
    return {row["lr"]: -sum(row["losses"]["voice"]) for row in record.get("checkpoints", [])
            if row["group"] == "rates" and row["method"] == method}


def main_run(look, method, seed):
    """Train one of the runs that the lesson compares."""
    train(look, "main", method, seed, chosen(look, method), LOOKS[seed])


def labels(look):
    """Train with the other labels, half as long; the fourth is a run of "main"."""
    for question, end in ((True, False), (False, False), (True, True)):
        train(look, "labels", "lora", 0, chosen(look, "lora"), (3,), question, end)


def prompt(look):
    """Ask the base with a system prompt that describes the voice, without and with examples."""
    for examples in (), look.train[::47]:
        asked = {"group": "prompt", "method": "none", "system": measure.SYSTEM,
                 "examples": len(examples)}
        if not look.record.holds(asked, "checkpoints"):
            model, _ = pt.models.load("smollm2")
            with in_bfloat16():
                look.add(asked, look.answers(model, measure.told(examples)))


def restored(look, passes):
    """Return LoRA, seed 0, as it was after so many passes; train it once more if need be."""
    if not kept(look, passes).exists():
        pt.seed(0)
        model = put_on("lora")
        with in_bfloat16():
            for step in pt.train(model, look.training(0, False, True), chosen(look, "lora")):
                if step.index + 1 == passes * look.steps:
                    pt.save(model, kept(look, passes))
                    break
    return pt.store.swap(put_on("lora"), kept(look, passes))


def knob(look):
    """Look at the trained update, times f."""
    rows = [{"group": "knob", "method": "lora", "seed": 0, "f": f} for f in KNOB]
    if all(look.record.holds(row, "checkpoints") for row in rows):
        return
    model = restored(look, KEPT_AT["knob"])
    scale = {name: layer.scale for name, layer in pt.adapters(model).items()}
    for row in rows:
        if not look.record.holds(row, "checkpoints"):
            for name, layer in pt.adapters(model).items():
                layer.scale = scale[name] * row["f"]
            with in_bfloat16():
                look.add(row, look.losses(model) | look.answers(model))


def shrink(look):
    """Shrink the intruders; then everything, to the same norm."""
    rows = [{"group": "shrink", "method": "lora", "seed": 0, "what": what, "f": f}
            for f in SHRINK for what in ("intruders", "all")]
    if all(look.record.holds(row, "checkpoints") for row in rows):
        return
    model = restored(look, KEPT_AT["shrink"])
    before = {name: layer.base.weight.detach().clone()
              for name, layer in pt.adapters(model).items()}
    delta = {name: layer.delta().detach() for name, layer in pt.adapters(model).items()}
    model = pt.merge(model)
    parts = {name: intruders(W, W + delta[name]) for name, W in before.items()}
    count = sum(number for _, number in parts.values())
    for row in rows:
        norms = []
        for name, W in before.items():
            less = delta[name] - (1 - row["f"]) * parts[name][0]          # (n_out, n_in)
            if row["what"] == "all":
                less = delta[name] * less.norm() / delta[name].norm()
            norms.append(less.norm().item())
            model.get_submodule(name).weight.data.copy_(W + less)
        with in_bfloat16():
            look.add(row, look.losses(model) | {
                "intruders": count, "norm": round(sum(norms) / len(norms), 4),
                "norm_before": round(sum(d.norm().item() for d in delta.values()) / len(delta), 4)})


def intruders(W, after):
    """Return the part of `after` that lies in its intruders, (n_out, n_in), and their number."""
    U, sigma, Vt = torch.linalg.svd(after, full_matrices=False)
    new = pt.spectra.familiarity(W, after, STRONGEST) < INTRUDER          # (STRONGEST,)
    U, sigma, Vt = U[:, :STRONGEST], sigma[:STRONGEST], Vt[:STRONGEST]
    return (U * (sigma * new)) @ Vt, int(new.sum())


JOBS = (("lora", lambda look: main_run(look, "lora", 0)), ("none", prompt),
        ("full", lambda look: main_run(look, "full", 0)),
        ("qlora", lambda look: main_run(look, "qlora", 0)),
        ("lora", labels), ("lora", knob), ("lora", lambda look: main_run(look, "lora", 1)),
        ("full", lambda look: main_run(look, "full", 1)), ("lora", shrink),
        ("qlora", lambda look: main_run(look, "qlora", 1)))


def main():
    """Make what is missing, the most important first, saving after each checkpoint."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--try", dest="small", action="store_true",
                        help="tiny settings, into work/chat: does everything run?")
    options = parser.parse_args()
    voice = pt.data.voice()
    shared = {"model": "smollm2", "rank": RANK, "alpha": ALPHA, "targets": TARGETS,
              "batch_size": BATCH, "passes": PASSES, "train_pairs": len(voice.train),
              "validation_pairs": len(voice.validation), "questions": len(voice.questions),
              "new_tokens": measure.NEW_TOKENS, "tests": measure.REVIEWS,
              "precision": "bfloat16 autocast", "torch": torch.__version__,
              "texts": hashlib.sha256(json.dumps(vars(voice)).encode()).hexdigest()[:12]}
    script = KEPT / "small.py" if options.small else Path(__file__)
    KEPT.mkdir(parents=True, exist_ok=True)
    look = Looker(recording.Record(script, shared, options.again, options.forget), options.small)
    for method, job in JOBS:
        if method in options.methods:
            job(look)


if __name__ == "__main__":
    main()
