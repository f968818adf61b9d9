"""Every error that this package raises on purpose.

    PeftTeachError
    ├── UnknownName        a model, place, data set or exercise that does not exist
    ├── BadConfig          settings or arguments that cannot work here: a rank too large, no model
    ├── BadData            batches or examples that cannot be trained on
    ├── ShapeError         a tensor whose axes are not the expected ones
    ├── NoTargets          a place that this model family does not have
    ├── AlreadyAdapted     a second injection, also where the first was peft's
    ├── NoAdapter          an operation that needs an adapter on a model without one
    ├── NotMergeable       an adapter that cannot be folded into its base
    ├── NotExportable      an adapter that only one of this library and peft has
    ├── NotSupported       a combination that is known not to work
    ├── AdapterFileError   an adapter file that is missing, damaged or made for another model
    ├── FetchError         an artefact that could not be fetched or unpacked
    ├── TrainingStopped    a training that the reader interrupted
    ├── CheckStopped       a check that the reader interrupted while their code ran
    ├── TrainingDiverged   a training whose loss is no longer a finite number
    └── NotAttempted       raised by the stub of an exercise: nothing has been written yet

Each message has three parts, one a line: what was found, what was expected, what to try.
"""


class PeftTeachError(Exception):
    """The base of all errors raised on purpose.

    `found` says what was wrong, `expected` what would be right, and `hint` what to do next.
    """

    def __init__(self, found: str, *, expected: str | None = None, hint: str | None = None):
        lines = [found]
        if expected:
            lines.append(f"Expected: {expected}")
        if hint:
            lines.append(f"Try: {hint}")
        super().__init__("\n".join(lines))
        self.found, self.expected, self.hint = found, expected, hint


class UnknownName(PeftTeachError):
    """A model, place, data set or exercise that does not exist."""


class BadConfig(PeftTeachError):
    """Settings or arguments that cannot work here: in float16, say, or in inference mode."""


class BadData(PeftTeachError):
    """Batches or examples that cannot be trained on."""


class ShapeError(PeftTeachError):
    """A tensor whose axes are not the expected ones."""


class NoTargets(PeftTeachError):
    """A place that this model family does not have."""


class AlreadyAdapted(PeftTeachError):
    """A second injection, also where the first was peft's."""


class NoAdapter(PeftTeachError):
    """An operation that needs an adapter, on a model without one."""


class NotMergeable(PeftTeachError):
    """An adapter that cannot be folded into its base."""


class NotExportable(PeftTeachError):
    """An adapter that only one of this library and peft has."""


class NotSupported(PeftTeachError):
    """A combination that is known not to work."""


class AdapterFileError(PeftTeachError):
    """An adapter file that is missing, damaged or made for another model."""


def _message_alone(self: PeftTeachError) -> list[str]:
    """Return what a notebook shows where the message is all that a reader needs: no traceback."""
    return [f"{type(self).__name__}: {self}"]


class FetchError(PeftTeachError):
    """An artefact that could not be fetched or unpacked."""

    _render_traceback_ = _message_alone


class TrainingStopped(PeftTeachError):
    """A training that was interrupted. `steps` are those that were done, of `total`.

    No `KeyboardInterrupt`: after one of these a notebook's next cells would run all the same.
    """

    _render_traceback_ = _message_alone

    def __init__(self, steps: list, total: int):
        self.steps, self.total = steps, total
        state = ("The model is half-trained: to begin anew, run the cell that loads it. What was "
                 "done is in sys.last_value.steps." if steps else "The model is as it was.")
        super().__init__(f"Training stopped after {len(steps)} of {total} steps. {state}")


class CheckStopped(PeftTeachError):
    """A check that was interrupted while the learner's code ran. No `KeyboardInterrupt`, either."""

    _render_traceback_ = _message_alone


class TrainingDiverged(PeftTeachError):
    """A loss or gradient that is not finite. `steps` are those that were done before."""

    def __init__(self, steps: list, what: str):
        self.steps = steps
        super().__init__(f"The {what} of step {len(steps)} is not a finite number, so this step "
                         "was not made: the weights are those of the step before.",
                         expected="a finite loss: labels to learn in each batch, finite weights",
                         hint="a fresh model and a smaller lr")


class NotAttempted(PeftTeachError):
    """Raised by the stub of an exercise; a check then says *not attempted* instead of *wrong*."""

    def __init__(self, exercise: str | None = None):
        self.exercise = exercise
        super().__init__(f"{exercise or 'This exercise'} is not attempted yet.",
                         hint="replace this line with your own code")


def kind_of(thing: object) -> str:
    """Return what a thing is: "a Linear", "an Embedding", "the class Linear"."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    name = type(thing).__name__
    return f"an {name}" if name[0] in "AEIOaeio" else f"a {name}"


def unknown(kind: str, name: object, known) -> UnknownName:
    """Return an `UnknownName` that lists what there is and suggests a known name that is close."""
    from difflib import get_close_matches

    known = [str(k) for k in known]
    close = get_close_matches(str(name), known, n=1)
    return UnknownName(f"There is no {kind} {name!r}.", expected="one of " + ", ".join(known),
                       hint=f"did you mean {close[0]!r}?" if close else None)
