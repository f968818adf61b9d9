"""A CSV file as platforms and spreadsheets write it: its separator is what its first line has."""

import csv
import io
import re
from pathlib import Path
from typing import Any

from ...errors import PeftTeachError
from .entries import clean

_FORMULA = r"""(?P<before>^|[;,|]){}(?P<formula>[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20])"""


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


def cell(value: Any) -> str:
    """A cell in which no spreadsheet finds a formula, even if it splits at semicolons or tabs."""
    return re.sub(_FORMULA.format(""), r"\g<before>'\g<formula>", clean(str(value)))


def plain(text: str) -> str:
    """What stands in a `cell`."""
    return re.sub(_FORMULA.format("'"), r"\g<before>\g<formula>", text.strip())
