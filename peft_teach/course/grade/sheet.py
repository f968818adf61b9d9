"""A CSV file as platforms and spreadsheets write it: its separator is what its first line has."""

import csv
import io
from pathlib import Path

from ...errors import PeftTeachError


def read(path: Path, expected: str):
    """A `csv.reader` of the rows, the names of the columns first.

    It knows its `line_num` and `dialect.delimiter`. Raises `PeftTeachError`, which says what was
    `expected`, for a file that cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")    # Excel marks a file so
    except (OSError, UnicodeDecodeError) as error:
        raise PeftTeachError(f"{path} cannot be read: {error}.", expected=expected) from None
    csv.field_size_limit(2**27)    # a worksheet has the online texts
    return csv.reader(io.StringIO(text), delimiter=max(",;\t", key=text.partition("\n")[0].count))
