"""The exercises of lesson 04: keys and values in `front`, the law in `stepping`, λ in `mixing`."""

from .front import COUNT, FRONT
from .mixing import GATE, SHARE
from .stepping import GENERATE, STEPWISE

EXERCISES = (COUNT, FRONT, GENERATE, STEPWISE, SHARE, GATE)
