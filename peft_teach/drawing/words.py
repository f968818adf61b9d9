"""What a picture says in words: its claim, its note, and what it tells those who do not see it."""

from math import prod

from ..methods import METHODS
from ..settings import Settings
from .trained import Adapted, adapted

COUNT = {6: "six", 7: "seven", 30: "thirty"}
PLACES = {"lora": ", q and v", "dora": ", q and v", "qlora": ", all matrices"}
# A method's name, what its picture says, and what is said beside its enlarged place.
NAMES = {"full": "Full fine-tuning", "bitfit": "BitFit", "prompt": "Prompt tuning",
         "prefix": "Prefix tuning", "bottleneck": "Bottleneck adapters", "ia3": "IA³",
         "lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA"}
CLAIMS = {
    "": "A block: {matrices} matrices, and two sums that keep what came in",
    "full": "every number may move",
    "bitfit": "only the vectors that are added train",
    "prompt": "{length} trained vectors in front of the words",
    "prefix": "{length} trained keys and values in each block",
    "bottleneck": "trained bottlenecks, added to a frozen block",
    "ia3": "three trained vectors scale what passes",
    "lora": "two trained strips beside a frozen matrix",
    "dora": "strips turn each row, a trained number sets its length",
    "qlora": "the same strips beside a matrix in four bits",
}
NOTES = {
    "full": "{all:,} numbers move: as many as W has",
    "bitfit": "one number a row, added to its output, on top of the frozen bias",
    "prompt": "{few:,} numbers, and every block reads them",
    "bottleneck": "{few:,} numbers, biases among them; {times}",
    "ia3": "one number a row, multiplies its output",
    "ia3 at ffn_out": "one number a column, multiplies what is read",
    "lora": "{few:,} numbers in place of {all:,}",
    "qlora": "W: {bits:.3g} bits a number with its scales; A and B: 32 bits",
}


def claim(method: str, config: Settings | None, on: Adapted) -> str:
    """Say what a picture shows: of a method without words here, the first line of its file."""
    if not method:
        return CLAIMS[""].format(matrices=COUNT[len(on.layout.shapes)])
    if method in NAMES:
        return f"{NAMES[method]}: " + CLAIMS[method].format_map(
            vars(config or METHODS[method].Config()))
    return first_line(method)


def first_line(method: str) -> str:
    """Return the first line of a method's file: its name, a colon, and what it learns."""
    return str(METHODS[method].__doc__).partition("\n")[0].rstrip(".")


def told(on: Adapted) -> str:
    """Say in words what a picture shows: how many numbers train, and at which places."""
    block = on.layout
    if not on.parts:
        rest = "embeddings and pooler" if "ffn_norm" in block.norms else "embeddings and last norm"
        return (f"{block.name}'s {COUNT[block.blocks]} such blocks, {rest} have {on.frozen:,} "
                "numbers.")
    known = {*block.boxes, *on.loops, on.front}
    places = dict.fromkeys(part.place for part in on.drawn if part.place in known)
    where = ", ".join("front of the text" if place == on.front else place + _blocks(on, place)
                      for place in places)
    bits = f", {on.packed:,} of them in {on.bits:.3g} bits" if on.packed else ""
    return (f"Trained: {on.trained:,} numbers, at {where}."
            f" Frozen: {on.frozen:,} numbers{bits}.")


def _blocks(on: Adapted, place: str) -> str:
    """Say in which blocks something trains at a place, unless it is in all, or in none."""
    blocks = {part.block for part in on.parts if part.place == place} - {None}
    if len(blocks) in (0, on.layout.blocks):
        return ""
    return " of the last block" if blocks == {on.layout.blocks - 1} else (
        f" of {len(blocks)} of {on.layout.blocks} blocks")


def note(on: Adapted, method: str, place: str) -> str:
    """Say what trains at the place that is enlarged, and how many numbers that is."""
    every = sum(prod(shape) for shape in on.at(place).values())
    inside = len({p.place for p in on.drawn if p.block is not None and p.name == "A.W_up"})
    times = (f"{('one', 'two')[inside > 1]} in a block" if "embeddings" not in on.loops else
             "one before the first block, one behind the last")
    text = NOTES.get(f"{method} at {place}", NOTES.get(method, ""))
    return text.format(few=every, all=prod(on.layout.shapes.get(place, (0,))), bits=on.bits,
                       times=times)


def counts_in_words() -> str:
    """Say what the page of all methods shows, for those who do not see it."""
    every = "; ".join(": ".join(counted(method)) for method in ("", *METHODS))
    return f"One block, all methods: how many numbers each of them trains, and where. {every}."


def counted(method: str) -> tuple[str, str]:
    """Return a method's name, with its places where these differ; how many numbers train."""
    on = adapted(method)
    if not method:
        return "The block", f"MiniLM: {on.frozen:,} in all"
    share = on.trained / (on.trained + on.frozen)
    name = NAMES.get(method, first_line(method).partition(":")[0]) + PLACES.get(method, "")
    return name, f"{on.trained:,}" + f" · {100 * share:.2f}%" * (share < 1)
