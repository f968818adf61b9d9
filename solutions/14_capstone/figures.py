"""The capstone: what its prose says and no output of it shows."""

from safetensors import safe_open

from peft_teach.course.lessons.capstone.handed_in import HEAD, LIMIT

with safe_open(HEAD, "pt") as file:
    ALONE = float(file.metadata()["validation"])

FIGURES = {
    "at most 64 kB": LIMIT,
    "84.6 %": ALONE,
    "at most 64,000 bytes": LIMIT,
}
