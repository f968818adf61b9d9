"""Measure how long each picture of a lesson takes to follow its controls; print a table.

    python assets/records/pictures.py            all lessons, a minute
    python assets/records/pictures.py lora dora  these

The unit is a plain picture: one panel with one line, drawn in the same run. None
took more than four when this was written. Nothing is stored.
"""

import argparse
import time

import matplotlib

from peft_teach import plots
from peft_teach.course import lessons
from peft_teach.widgets import Explorer

TRIES = 5


def seconds(draw):
    """Return the processor time of the fastest of a few draws."""
    taken = []
    for _ in range(TRIES):
        start = time.process_time()
        draw()
        taken.append(time.process_time() - start)
    return min(taken)


def plain():
    """Draw one panel with one line, as a page gets it."""
    made, ax = plots.figure()
    ax.plot(range(10))
    ax.set(title="title", xlabel="x", ylabel="y")
    plots.html(made, "caption")


def main():
    """Print a line for each picture with controls."""
    matplotlib.use("agg")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", default=lessons.with_pictures())
    unit = seconds(plain)
    print("| picture | redraw, in plain pictures |\n| - | - |")
    for lesson in parser.parse_args().lessons:
        for name, make in lessons.pictures(lesson).EXAMPLES.items():
            if isinstance(picture := make(), Explorer):
                print(f"| {lesson}.{name} | {seconds(picture.refresh) / unit:.1f} |", flush=True)


if __name__ == "__main__":
    main()
