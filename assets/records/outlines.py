"""Make the record of what ledgers of outlines are made of: the picture of memory waits for none.

    python assets/records/outlines.py           what is missing; all takes half a minute
    python assets/records/outlines.py --again   all anew

Writes `outlines.json`: what `outlines.measure` returns, a row for each model, each choice of what
trains and each dtype. Nothing in it was trained or timed; a test compares it with the code.
"""

import itertools

from peft_teach import outlines
from peft_teach.course import recording


def main():
    """Measure what is missing."""
    options = recording.arguments(__doc__).parse_args()
    record = recording.Record(__file__, again=options.again)
    record.make(({"model": model, "trains": trains, "dtype": dtype}
                 for model, trains, dtype in itertools.product(
                     outlines.SIZES, outlines.TRAINS, outlines.DTYPES)),
                lambda about: (outlines.measure(*about.values()), {}))


if __name__ == "__main__":
    main()
