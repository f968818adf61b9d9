"""`peft-teach start`: the lessons in a folder of the reader's own, and JupyterLab there.

    a notebook in the folder    what becomes of it
    is missing                  it is written
    is as it was given out      a newer one replaces it
    was changed                 it stays, and a newer one is put beside it, once: 07_lora-2.ipynb

What was given out is known by its hash, in `.peft-teach.json`. No other file is touched.
"""

import hashlib
import json
import os
import sys
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from ...errors import PeftTeachError
from ...folder import write_whole
from .. import lessons

GIVEN_OUT = ".peft-teach.json"
FIRST = "lora.count"    # the exercise on the page that JupyterLab opens on: two minutes


def copy(folder: Path | str) -> str:
    """Copy the lessons into a folder; return what was done, in a line.

    Raises `PeftTeachError` if the folder is a checkout, or cannot be written.
    """
    folder = Path(folder).expanduser().resolve()
    if folder == lessons.folder().resolve():
        return f"{folder}: the checkout's own lessons, so git will see what you save."
    if (folder / "peft_teach").is_dir():
        raise PeftTeachError(f"{folder} is a checkout of the course.",
                             hint="name a folder of your own: peft-teach start my-course")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return f"{folder}: {_copy(folder)}"
    except OSError as error:
        raise PeftTeachError(f"{folder} cannot be written: {error.strerror or error}.",
                             hint="name another folder: peft-teach start FOLDER") from None


_HOME = f"--LabApp.default_url=/lab/tree/{lessons.START}.ipynb"    # by its bare address, too
_CONFIG = Path(__file__).parent / "jupyter"    # without it JupyterLab asks about news above START


def open_lab(folder: Path | str, options: Sequence[str] = ()) -> None:
    """Run JupyterLab in the folder until it is stopped, with these options of its own.

    Where it runs already, at the port and address that the options name, its page is opened.
    Raises `PeftTeachError` if it is not installed, or does not run since nobody told it to as root.
    """
    try:
        from jupyterlab.labapp import main
    except ModuleNotFoundError:
        raise PeftTeachError("JupyterLab is not installed.",
                             hint=f"{sys.executable} -m pip install jupyterlab") from None
    folder = Path(folder).expanduser().resolve()
    if address := _running(folder, options):
        print(f"JupyterLab runs there already: {address}")
        if "--no-browser" not in options:
            webbrowser.open(address)
        return
    paths = (os.environ.get("JUPYTER_CONFIG_PATH"), str(_CONFIG))
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))
    page = folder / f"{lessons.START}.ipynb"
    try:
        main([str(page), _HOME, *options])
    except OSError as error:
        raise PeftTeachError(f"JupyterLab stopped: {error}.",
                             hint="HOME=FOLDER peft-teach start, with a folder that can be written"
                             ) from None
    except SystemExit as stopped:
        root = hasattr(os, "geteuid") and os.geteuid() == 0    # Windows has no such user
        if stopped.code and root and "--allow-root" not in options:
            raise PeftTeachError("JupyterLab stopped: you are root, and it does not run as root "
                                 "unless told.",
                                 hint="peft-teach start --allow-root, or as another user; in a "
                                      "container: peft-teach start --allow-root --no-browser "
                                      "--ip=0.0.0.0") from None
        raise


def _running(folder: Path, options: Sequence[str]) -> str | None:
    """Return the address of the page in a server of this folder that answers; None without one."""
    from jupyter_server.serverapp import list_running_servers

    for server in list_running_servers():
        at = {"--port": str(server["port"]), "--ip": server["hostname"]}
        named = (option.partition("=")[::2] for option in options if "=" in option)
        if Path(server["root_dir"]).resolve() != folder or any(
                at.get(name, value) != value for name, value in named):
            continue
        try:    # after a crash its process may be another
            urllib.request.urlopen(f"{server['url']}api", timeout=5).close()
        except OSError:
            continue
        return f"{server['url']}lab/tree/{lessons.START}.ipynb?token={server['token']}"
    return None


def _copy(folder: Path) -> str:
    given, kept, written, beside = _given_out(folder), 0, 0, []
    for notebook in lessons.notebooks():
        name, text, there = notebook.name, notebook.read_text("utf-8"), folder / notebook.name
        hash, found = _hash(text), _hash(_read(there)) if there.exists() else None
        if found != hash and found in (None, given.get(name)):
            write_whole({there: text})
            written += 1
        elif hash in (found, given.get(name)):    # nothing new
            kept += 1
        else:
            there = _free(there)
            write_whole({there: text})
            beside.append(there.name)
        given[name] = hash
    write_whole({folder / GIVEN_OUT: json.dumps(given, indent=1) + "\n"})
    newer = f", newer ones beside yours: {', '.join(beside)}" if beside else ""
    return f"{written} notebooks written, {kept} there already{newer}."


def _given_out(folder: Path) -> dict[str, str]:
    """Return the hash of each notebook that was given out here; none if the file is damaged."""
    try:
        return dict(json.loads(_read(folder / GIVEN_OUT)))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _free(path: Path) -> Path:
    number = 2
    while (free := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    return free


def _read(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
