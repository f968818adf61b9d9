"""What every method's `Config` is: frozen, plain values, each held to what its field says.

    size: Annotated[int, checked(is_count, "a whole number from 1")] = 64
    layers: Annotated[tuple[int, ...] | None, as_layers] = None

Python takes True for 1, and NumPy's numbers cannot be written to json. So a `Config` makes its
settings plain numbers and tuples, in one place for all methods. A layer only checks its own.
"""

import dataclasses
import numbers
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import numpy as np
from torch import nn

from .errors import BadConfig, kind_of
from .valid import as_layers, as_targets, is_count, is_positive, is_share


@dataclasses.dataclass(frozen=True)
class Settings:
    """The base of every method's `Config`: a frozen dataclass of plain values.

    Names of places, block numbers and words become tuples, in whatever form they came; NumPy's
    numbers become Python's. An unknown setting raises `BadConfig`, which gives the name here, if it
    is another library's; so does a tensor where a number is meant.

    `also_train` names modules, as places or in full, of which a copy trains, too: norms, say.

    A field's type says what its value must be: a bool, one of a `Literal`'s words, or what the
    function in its `Annotated` makes of the value and the field's name, or raises. A method checks
    several settings together in its own `__post_init__`; a layer checks what depends on the model.
    """

    also_train: Annotated[tuple[str, ...] | None, lambda value, name: (
        as_targets(value, name) or None)] = dataclasses.field(default=None, kw_only=True)

    def __new__(cls, *args, **settings):
        """Refuse unknown names, other libraries' too, where Python says only "unexpected"."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name, value in settings.items():
            if name not in known:
                kind = cls.__module__.rpartition(".")[2]
                raise BadConfig(f"pt.{kind}.Config has no setting {name!r}.",
                                expected="settings among " + ", ".join(known),
                                hint=_name_here(name, value, known))
        return super().__new__(cls)

    def __post_init__(self):
        """Make every value plain, and hold it to what its field says."""
        vars(self).update(self.check(**vars(self)))

    @classmethod
    def check(cls, **settings) -> dict[str, Any]:
        """Return some settings made plain; raise `BadConfig` for what a field does not allow."""
        types = get_type_hints(cls, include_extras=True)
        return {name: _reader(name, types[name])(value, name) for name, value in settings.items()}

    def as_stored(self) -> Self:
        """Return the settings as a file keeps them: without what matters at the start only."""
        return dataclasses.replace(self, **{
            field.name: field.metadata["stored"] for field in dataclasses.fields(self)
            if "stored" in field.metadata})

    def learning_rate(self, model: nn.Module) -> float:
        """Return the rate to train a model with these settings at, for AdamW."""
        raise NotImplementedError


def _reader(name: str, kind: Any) -> Callable[[Any, str], Any]:
    """Return what makes a value of this type plain, from it and its field's name, or raises."""
    if hasattr(kind, "__metadata__"):
        return kind.__metadata__[0]
    if get_origin(kind) is Literal:
        words = get_args(kind)
        return checked(words.__contains__, "one of " + ", ".join(words), words)
    if kind is bool:
        return checked(lambda value: isinstance(value, bool), "True or False")
    raise BadConfig(f"The setting {name} is of type {kind}.",
                    expected="bool, a Literal, or what its value must be",
                    hint=f'{name}: Annotated[int, checked(is_count, "a whole number from 1")]')


def checked(holds: Callable[[Any], bool], expected: str, words: Sequence[str] = ()
            ) -> Callable[[Any, str], Any]:
    """Return what makes a value plain, from it and its field's name, and raises unless it holds."""
    def read(value, name: str):
        value = _plain(value, name)
        if holds(value):
            return value
        close = get_close_matches(str(value), words, n=1)
        raise BadConfig(f"{name} is {value!r}.", expected=expected,
                        hint=f"did you mean {close[0]!r}?" if close else None)

    return read


def _plain(value, name: str):
    """Return one setting as a plain value: a number, a word, a flag or None."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if hasattr(value, "item"):
        raise BadConfig(f"{name} is {kind_of(value)}.", expected="a plain Python value",
                        hint=f"{name}=….item()")
    return value


# ── settings that several methods share ──────────────────────────────────────────────────────

Length = Annotated[int, checked(is_count, "a whole number of vectors, at least 1")]
Share = Annotated[float, checked(is_share, "a probability from 0 to below 1")]
Rank = Annotated[int, checked(is_count, "a whole number, at least 1")]
Targets = Annotated[tuple[str, ...] | None, lambda value, name: (
    None if value is None else as_targets(value, name))]
Layers = Annotated[tuple[int, ...] | None, as_layers]
Alpha = Annotated[float, checked(is_positive, "a positive number; it stays when the rank changes")]


def unsaved(default: Any) -> Any:
    """Return a field for a setting that matters at the start only: a file keeps its default."""
    return dataclasses.field(default=default, metadata={"stored": default})


# ── other libraries' names ───────────────────────────────────────────────────────────────────

# The names of settings in Hugging Face peft, bitsandbytes and `adapters`, and here.
NAMES_HERE = {
    "r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout", "use_rslora": "rank_stabilized",
    "lora_bias": "use_bias", "target_modules": "targets", "layers_to_transform": "layers",
    "num_virtual_tokens": "length", "prompt_tuning_init_text": "words",
    "encoder_hidden_size": "projection", "bnb_4bit_use_double_quant": "double", "use_dora": "dora",
    "bn_size": "size",
}
# Settings that do not exist here, and what does the same.
INSTEAD = {
    "use_dora": "pt.dora, a method of its own",
    "prefix_projection": "projection=512, say: the hidden size of the MLP",
    "load_in_4bit": "pt.qlora, a method of its own",
    "exclude_modules": "layers=(…), or full module names as targets",
    "layers_pattern": "leave it out: layers=(…) are block numbers in every family",
    "rank_pattern": "one rank for all; pt.attach(model, targets, make) makes them one by one",
    "alpha_pattern": "one alpha for all; pt.attach(model, targets, make) makes them one by one",
    "bias": "pt.bitfit, a method of its own, trains the biases",
    "modules_to_save": "leave it out: every method trains the task head and saves it; "
                       "also_train=(…) names other modules",
    "task_type": "leave it out: the model itself says what it is for",
    "inference_mode": "leave it out: model.eval() and torch.no_grad() are enough",
    "init_lora_weights": "leave it out: B starts as zero",
}


def _name_here(name: str, value, known: list[str]) -> str | None:
    if name == "bias" and value == "none":
        return "leave it out: no bias of the base is trained"
    if name not in NAMES_HERE | INSTEAD:
        close = get_close_matches(name, known, n=1)
        return f"did you mean {close[0]!r}?" if close else None
    here = NAMES_HERE.get(name)
    if here not in known:
        return INSTEAD.get(name, f"another method: this one has no {here}")
    if here == "targets":
        if value == "all-linear":
            return "targets='linear'"
        return "targets='query', or several places; pt.models.places(model) shows them"
    return f"{here}={value!r}"
