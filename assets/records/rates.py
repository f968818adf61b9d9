"""Make the record of the learning rates that `pt.train` takes when it is given none.

    python assets/records/rates.py            all that is missing; about 45 minutes on one core
    python assets/records/rates.py --again    all anew
    python assets/records/rates.py --search NAME     prints what other rates give; seven minutes
    python assets/records/rates.py --methods NAME    a new method; five minutes

Writes `rates.json`: one row a run. Each method is put on a model with its default settings, and
trained at the rate that stands in its file, or that stood there (`THEN`), with three seeds. The
group "search" holds seed 0 at other rates. Two tasks, short on purpose:

    minilm     a new head on [CLS], 120 steps of 16 movie reviews; BitFit 250, since in 120 one
               seed of three had not begun to learn, at 3e-3 or 2e-3
    smollm2    the word behind "Review: … Sentiment:", 40 steps of 4 short movie reviews

`without_training` holds what a reader gets for nothing: the share of the more frequent label.

Interrupted, it goes on where it stopped.
"""

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.desk import reviews as reading
from peft_teach.methods import METHODS

STEPS = {"minilm": 120, "smollm2": 40}
LONGER = {"bitfit": 250}
BATCH = {"minilm": 16, "smollm2": 4}
TESTS = {"minilm": 1000, "smollm2": 100}
SHORT = 16                               # words
THEN = {"lora": 1e-3, "dora": 1e-3, "bottleneck": 1e-3}    # too slow for 60 steps
SEARCH = {"prompt": (1e-2,), "prefix": (3e-3,), "lora": (3e-3,), "qlora": (3e-3,), "ia3": (3e-2,),
          "dora": (3e-3,), "bottleneck": (2e-3,)}


def settings(methods=METHODS):
    """Yield (group, setting) of every run of these methods, the most needed first."""
    for seed in (0, 1, 2):
        for model in STEPS:
            for method in methods:
                if (model, method) != ("smollm2", "bitfit"):    # it has no biases
                    yield "defaults", {"model": model, "method": method, "seed": seed}
    for method in methods:
        for lr in SEARCH.get(method, ()):
            yield "search", {"model": "minilm", "method": method, "lr": lr, "seed": 0}


def run(setting, data):
    """Train one setting; return its row."""
    name, method, seed = setting["model"], setting["method"], setting["seed"]
    train = examples(name, data.train, LONGER.get(method, STEPS[name]) * BATCH[name])
    pt.seed(seed)
    if name == "minilm":
        model, tokenizer = pt.models.load(name, labels=2)
        batches = pt.data.batches(train, tokenizer, BATCH[name], seed=seed)
    else:
        model, tokenizer = pt.models.load(name)
        batches = reading.ask(train, tokenizer, BATCH[name])
        order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed))
        batches = [batches[i] for i in order]
    model = METHODS[method].inject(model)
    steps = list(pt.train(model, batches, setting.get("lr", THEN.get(method))))
    return {**setting, "steps": len(steps), "lr": max(step.lr for step in steps),
            "tests": TESTS[name],
            "accuracy": round(accuracy(name, model, tokenizer, data.test), 4),
            "losses": [round(step.loss, 3) for step in steps]}


def examples(name, split, number):
    """Return the first reviews of a split; for SmolLM2 the first short ones, to save time."""
    return (split if name == "minilm" else reading.short(split, SHORT))[:number]


def accuracy(name, model, tokenizer, split):
    """Return the share of test reviews that a model gets right."""
    tests = examples(name, split, TESTS[name])
    if name == "minilm":
        batches = pt.data.batches(tests, tokenizer, 64, shuffle=False)
        return pt.evaluate(model, batches).accuracy
    found = reading.gaps(model, reading.ask(tests, tokenizer, 20), reading.two_words(tokenizer))
    truth = torch.tensor([e.label for e in tests])
    return ((found > 0).long() == truth).sum().item() / len(tests)


def without_training(data):
    """Return what a reader gets for nothing: the share of the more frequent label."""
    labels = {name: [e.label for e in examples(name, data.test, TESTS[name])] for name in STEPS}
    return {"majority": {name: max(sum(found), len(found) - sum(found)) / len(found)
                         for name, found in labels.items()}}


def search(method, data):
    """Print what a method reaches on each model, with one seed, at each power of ten."""
    for group, setting in settings([method]):
        if (group, setting["seed"]) == ("defaults", 0):
            for lr in (1e-4, 1e-3, 1e-2, 1e-1):
                row = run(setting | {"lr": lr}, data)
                print(f"{row['model']} at {lr:g}: {row['accuracy']:.3f}", flush=True)


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="NAME",
                        help="only these")
    parser.add_argument("--search", choices=METHODS, metavar="NAME", help="print, record nothing")
    options = parser.parse_args()
    data = pt.data.load("movies")
    if options.search:
        return search(options.search, data)
    record = recording.Recorder(__file__, {"batch_size": BATCH, "tests": TESTS,
                                         "torch": torch.__version__}, options.again, options.forget)
    record.make(({"group": group, "setting": setting}
                 for group, setting in settings(options.methods)),
                lambda about: (run(about["setting"], data), {}))
    if "without_training" not in record.made():
        record.gain(without_training=without_training(data))


if __name__ == "__main__":
    main()
