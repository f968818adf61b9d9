"""The output of a stand-in for a model in the checks, which behaves like those of transformers."""

from collections.abc import Hashable
from typing import Any


class Output(dict):
    """An output that is read by attribute, key, index or slice, as transformers' outputs are, and
    set by attribute or key, each of which the other sees.

    An entry that is None is an attribute, but has no key and no index: without labels, `out[0]` is
    the logits. Source: `ModelOutput` in transformers/utils/generic.py.
    """

    def __init__(self, **entries: Any):
        super().__init__({name: value for name, value in entries.items() if value is not None})
        vars(self).update(entries)

    def __getitem__(self, key: Hashable | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self and value is not None:
            super().__setitem__(name, value)
        super().__setattr__(name, value)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the entries that are not None, in order."""
        return tuple(self.values())
