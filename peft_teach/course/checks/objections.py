"""What torch and NumPy object to in words alone, recognized by these words.

Neither has a class of error for each mistake, so the texts of their errors are matched here, and
nowhere else: another version may word them anew.
"""

import re

# A mistake's name: words of the error, and the explanation where the exercise has none of its own.
OBJECTIONS = {
    "misfit": (
        "must match|cannot be multiplied|incompatible|size mismatch|[Ee]xpected size|not aligned|"
        "[Bb]roadcast|mismatch in its core|invalid for input of size|do not match|equal size|"
        "same number of dimensions|cannot reshape",
        "Two shapes do not fit each other: print the .shape of each on the line before."),
    "dtype": (
        "same dtype|expected scalar type",
        "Two dtypes meet that torch does not mix: print the .dtype of each on the line before."),
}
# Torch has no class of its own for a lack of memory on the CPU.
NO_ROOM = re.compile("MemoryError|can't allocate memory|not enough memory|bad_alloc")


def objection(error: BaseException, text: str) -> tuple[str | None, str]:
    """Return the name of the mistake that an error with this text means, and its explanation."""
    if isinstance(error, RuntimeError | ValueError):
        for name, (pattern, usual) in OBJECTIONS.items():
            if re.search(pattern, text):
                return name, usual
    return None, ""


def lacks_memory(error: BaseException, text: str) -> bool:
    """Return whether an error with this text says that no memory is left."""
    return NO_ROOM.search(f"{type(error).__name__} {text}") is not None
