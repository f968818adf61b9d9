"""`peft-teach pack`: the reader's library as a project of their own, which `pip install` takes.

    my-peft/
        pyproject.toml              needs peft-teach, for `pt.Adapter` and what was never written
        README.md                   the sentence that they signed, and what stands in the package
        src/my_peft/__init__.py     my_peft.py, as it is

    python -m pip install ./my-peft
    python -c "from my_peft import keeps_the_laws"
"""

from importlib.metadata import version
from pathlib import Path

from ...errors import PeftTeachError
from ...folder import write_whole
from ..lessons import all_exercises
from . import work
from .my_peft_file import BACKUP, FILE, loaded

FOLDER = "my-peft"
SIGNED = "capstone.name"    # under this name the capstone keeps the sentence that they sign

_PROJECT = '''[build-system]
requires = ["setuptools>=70.1"]
build-backend = "setuptools.build_meta"

[project]
name = "my-peft"
version = "1.0.0"
description = "Parameter-efficient fine-tuning, as I built it."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["peft-teach>={version}"]

[tool.setuptools.packages.find]
where = ["src"]
'''

_README = '''# My own PEFT

{signed}
```python
import my_peft
```

| lesson | what stands there | whose |
|---|---|---|
{rows}
'''


def pack(folder: Path | str = FOLDER) -> str:
    """Write `my_peft.py`, of the folder where the reader works, as a project; return what was done.

    Raises `PeftTeachError`, and writes nothing, where there is no such file, it does not run or
    holds no piece, or `folder` already exists and is not empty.
    """
    source, folder = (work.folder() or Path.cwd()) / FILE, Path(folder).expanduser()
    if not source.is_file():
        raise PeftTeachError(f"{source} is missing.", expected=f"{FILE}, which holds what passed",
                             hint="go to the folder of your notebooks, and pack there")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PeftTeachError(f"{folder} already exists, and is left as it is.",
                             hint="name another folder: peft-teach pack FOLDER")
    try:
        text = source.read_text("utf-8")
    except UnicodeDecodeError:
        raise PeftTeachError(f"{source} is not text in UTF-8.",
                             hint=f"the file as it was before may stand beside it, as {BACKUP}"
                             ) from None
    library = loaded(text, source)
    rows = [(exercise.lesson, name, "mine" if library.own(exercise) else "the course's")
            for exercise in all_exercises() if exercise.id in library.sections
            for name in exercise.names]
    if not rows:
        raise PeftTeachError(f"{source} holds no piece of the course.",
                             hint="pt.check keeps there what passes")
    package = folder / "src" / "my_peft"
    package.mkdir(parents=True, exist_ok=True)
    signed = work.written(SIGNED)
    write_whole({
        package / "__init__.py": text,
        folder / "README.md": _README.format(
            signed=f"> {signed}\n" if signed else "",
            rows="\n".join(f"| {' | '.join(row)} |" for row in rows)),
        folder / "pyproject.toml": _PROJECT.format(version=version("peft-teach"))})
    own = sum(whose == "mine" for *_, whose in rows)
    return (f"{folder}: {own} pieces of yours, {len(rows) - own} of the course's. "
            f"Install it: python -m pip install {folder}")
