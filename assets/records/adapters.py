"""Make the record of lesson 05: six placements trained against each other, starts and sizes.

    python assets/records/adapters.py               all that is missing, about 30 minutes, one core
    python assets/records/adapters.py --only lora   one part of those below

Writes `adapters.json`: one row a run of 120 steps on MiniLM, as in `rates.py`: the first 1,920 film
reviews, each once, a new head on [CLS], 1,000 test sentences. Interrupted, it goes on where it
stopped.

    placements   each as its paper has it (activation, start, strength), at one budget: the largest
                 size within 300,000 parameters. Each at its own rate: seed 0 climbs `LADDER` until
                 the loss on validation is larger on both sides, seeds 1 and 2 take the best.
    lora         rank 8 on query and value, at the better of the two rates of `rates.py`
    starts       Pfeiffer's, at its rate, with both matrices drawn from N(0, σ²)
    sizes        Pfeiffer's, at its rate, with other sizes; 15 is within LoRA's budget
    one_rate     the three placements whose own rate is larger, at the rate of the others
    alike        all six with one activation (ReLU), one start (N(0, 0.01²)), one strength (1) and
                 one rate: only place and size differ
    swap         Pfeiffer's, at its rate, on a `task`: film reviews, or 1,120 tweets, each once;
                 each tested on 300 sentences of either; one seed
"""

from dataclasses import replace

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.adapters import pictures

PLACES = pictures.PLACES
BUDGET, SIZE = 300_000, 64
LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
LORA = 3e-3
FIRST = 1e-3                    # where each search begins
STARTS, SIZES, SEEDS = (0.1, 0.3), (1, 15, 256), (0, 1, 2)
STEPS, BATCH, TESTS, VALIDATION = 120, 16, 1000, 300
TASKS, TWEETS, SWAPPED = ("movies", "tweets"), 1120, 300


def size_of(place: str) -> int:
    """Return the largest size at which a placement has at most `BUDGET` parameters."""
    modules = pictures.modules(place)
    own_norm = pictures.config_of(place).own_norm
    size = 1
    while modules * pt.bottleneck.count(384, size + 1, own_norm) <= BUDGET:
        size += 1
    return size


def tried(record: dict, place: str) -> dict[float, float]:
    """Return how good each rate was that seed 0 of a placement tried: less loss is better."""
    return {row["setting"]["lr"]: -row["validation_loss"] for row in record.get("runs", ())
            if row["group"] == "placements" and row["setting"]["place"] == place
            and row["setting"]["seed"] == 0}


def best_rate(record: recording.Recorder, place: str) -> float:
    """Return the rate with the smallest loss on validation."""
    found = tried(record.read(), place)
    return max(found, key=found.get)


def wanted(record: recording.Recorder, part: str | None):
    """Yield what each run is about; the next rate depends on the rows that stand by then."""
    for place in PLACES if part in (None, "placements") else ():
        while rate := recording.next_rate(tried(record.made(), place), LADDER, FIRST):
            yield about("placements", place, rate, 0)
    if part in (None, "placements"):
        for seed in SEEDS[1:]:
            for place in PLACES:
                yield about("placements", place, best_rate(record, place), seed)
    for seed in SEEDS if part in (None, "lora") else ():
        yield about("lora", "lora", LORA, seed)
    for group, name, values in (("starts", "sigma", STARTS), ("sizes", "size", SIZES)):
        for value in values if part in (None, group) else ():
            for seed in SEEDS:
                yield about(group, "pfeiffer", best_rate(record, "pfeiffer"), seed,
                            **{name: value})
    for seed in SEEDS[1:] if part in (None, "one_rate") else ():
        for place in PLACES:
            if best_rate(record, place) != FIRST:
                yield about("one_rate", place, FIRST, seed)
    for seed in SEEDS if part in (None, "alike") else ():
        for place in PLACES:
            yield about("alike", place, FIRST, seed)
    for task in TASKS if part in (None, "swap") else ():
        yield about("swap", "pfeiffer", best_rate(record, "pfeiffer"), 0, task=task)


def about(group: str, place: str, lr: float, seed: int, **more) -> dict:
    """Return what a row is about."""
    return {"group": group, "setting": {"place": place, "lr": lr, "seed": seed, **more}}


def with_method(model, setting, group):
    """Put the setting's adapters, or LoRA, on the model."""
    if setting["place"] == "lora":
        return pt.lora.inject(model)
    config_of = pictures.alike if group == "alike" else pictures.config_of
    model = pt.bottleneck.inject(
        model, replace(config_of(setting["place"]), size=width(setting)))
    for adapter in pt.adapters(model).values() if "sigma" in setting else ():
        for W in (adapter.A.W_down, adapter.A.W_up):
            W.data.normal_(0, setting["sigma"])
    return model


def width(setting):
    """Return the size of a setting's adapters: given, the course's, or the budget's."""
    fixed = setting.keys() & {"size", "sigma", "task"}
    return setting.get("size", SIZE) if fixed else size_of(setting["place"])


def run(setting, group, data):
    """Train one setting; return what was found."""
    seed = setting["seed"]
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = with_method(model, setting, group)
    learned = data.train[:STEPS * BATCH]
    if setting.get("task") == "tweets":
        learned = pt.data.load("tweets").train[:TWEETS]
    batches = pt.data.batches(learned, tokenizer, BATCH, seed=seed)
    steps = list(pt.train(model, batches, setting["lr"]))

    def tested(examples):
        return pt.data.batches(examples, tokenizer, 64, shuffle=False)

    if group == "swap":
        right = {task: round(pt.evaluate(model, tested(pt.data.load(task).test[:SWAPPED])).accuracy,
                             4) for task in TASKS}
        return {"method": "bottleneck", "size": width(setting), "steps": len(steps),
                "tests": SWAPPED, "accuracy": right[setting["task"]], "right": right}
    validation = pt.evaluate(model, tested(data.validation[:VALIDATION]))
    model.eval()
    with torch.no_grad():
        said = torch.cat([model(**batch).logits.argmax(-1) for batch in tested(data.test[:TESTS])])
    truth = torch.tensor([example.label for example in data.test[:TESTS]])
    return {"parameters": sum(p.numel() for p in pt.adapter_parameters(model).values()),
            "modules": len(pt.adapters(model)), "steps": len(steps),
            "validation_loss": round(validation.loss, 4),
            "accuracy": round((said == truth).float().mean().item(), 4),
            "answers": recording.bits(said),
            **({"method": "lora"} if setting["place"] == "lora" else
               {"method": "bottleneck", "size": width(setting)})}


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--only", choices=("placements", "lora", "starts", "sizes",
                                           "one_rate", "alike", "swap"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    record = recording.Recorder(__file__, recording.setting(
        data, tests=TESTS, validation=VALIDATION, budget=BUDGET), options.again, options.forget)
    record.make(wanted(record, options.only),
                lambda about: (run(about["setting"], about["group"], data), {}))


if __name__ == "__main__":
    main()
