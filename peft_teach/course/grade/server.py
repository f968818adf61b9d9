"""The warm server: it has imported torch and the course once, and forks for each answer.

    server ──fork──> supervisor ──fork──> child, confined, runs the learner's code
    grader ─request─> supervisor <─frames─┘
           <─answer── supervisor, which ends

The server only forks and waits. It never reads a request, so its memory holds nothing of one answer
that a later child could inherit: a supervisor is forked before each request, reads it, and ends
with it. The child has no end of the pipes to the grader. When the grader ends, by whatever signal,
the pipes close, and all these processes end, too. The server sets one thread before its first
tensor operation, since a fork after a multi-threaded one hangs. It runs each reference once, so
that all late imports of the lessons come before the fork; one that is given a lesson instead of
exercises looks once at an adapter of the course's own. None of them judges.

Started with `--once` it does not fork: it answers one request in its own process, which the grader
supervises from the byte that says that its imports are done. Systems without a safe fork (Windows,
macOS) grade like this: slower, by the time of the imports.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..lessons import find
from .child import answer, prepare
from .plain import LENGTHS, from_bytes, to_bytes
from .sandbox import Limits

READY = b"\n"          # what a server writes first, when its imports are done
_POLL_SECONDS = 0.2    # how often the scratch folder is measured
_BLOCK_BYTES = 4096    # the size that an empty file counts as
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)    # Windows has only the latter


def main() -> None:
    """Serve until the grader closes the pipe of requests."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    requests, answers = _take_pipes()
    if "--once" in sys.argv:
        request = receive(requests)
        prepare(request)
        answers.write(READY)
        answers.flush()
        answer(request, lambda frame: (answers.write(frame), answers.flush()), requests)
        os._exit(0)
    for name in sys.argv[1:]:
        if name.isdigit():
            prepare({"lesson": name})
        else:
            exercise = find(name)
            exercise.run(exercise.resolve(), exercise.cases(0)[0])
    answers.write(READY)
    answers.flush()
    while _in_a_supervisor(requests, answers):
        pass


def _in_a_supervisor(requests: BinaryIO, answers: BinaryIO) -> bool:
    """Have a fork of this process wait for one request and answer it; return whether it did.

    It does not if the grader has closed the pipe, or if the supervisor is killed: then this process
    ends, too, which the grader notices.
    """
    pid = os.fork()
    if pid == 0:
        try:
            frames, end = _in_a_child(receive(requests), answers)
            answers.write(to_bytes({"end": end, "size": len(frames)}) + frames)
            answers.flush()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def receive(stream: BinaryIO) -> dict[str, Any]:
    """The value in the next frame of a trusted stream. Raises `Malformed` at its end."""
    head = stream.read(LENGTHS.size)
    more = sum(LENGTHS.unpack(head)) if len(head) == LENGTHS.size else 0
    return from_bytes(head + stream.read(more))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for the grader; whatever is printed is discarded."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    return requests, answers


def _in_a_child(request: dict[str, Any], answers: BinaryIO) -> tuple[bytes, str]:
    """The frames that a forked child sent, and how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(writing, 3)
            os.closerange(4, 1024)
            answer(request, lambda frame: _write_all(3, frame))
        finally:
            os._exit(0)
    os.close(writing)
    grader = select.poll()
    grader.register(answers, 0)    # for the error when nobody reads it, which is always reported
    with os.fdopen(reading, "rb") as stream:
        frames, end = supervise(
            pid, stream, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),
            Limits(*request["limits"]), request["scratch"], request["clock"],
            is_orphan=lambda: grader.poll(0))
    if end == "grader":    # which would have removed it
        remove(request["scratch"])
    return frames, end


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data):]


def supervise(pid: int, stream: BinaryIO, wait: Callable[[], int], limits: Limits, scratch: str,
              clock: float, *, is_orphan: Callable[[], object] = lambda: False
              ) -> tuple[bytes, str]:
    """Read until the child ends or exceeds a limit, or the grader ends; then kill all of it.

    `clock` is its limit of seconds by the clock; `is_orphan` says whether the grader has ended.
    Returns what was read, and how it ended: "exit", the name of a signal or of a limit, or
    "grader".
    """
    data = bytearray()

    def read() -> None:
        while len(data) <= limits.output_bytes and (chunk := stream.read1(2**16)):
            data.extend(chunk)

    reader, started, end = threading.Thread(target=read), time.monotonic(), ""
    reader.start()
    while not end and reader.is_alive():
        reader.join(_POLL_SECONDS)
        if is_orphan():
            end = "grader"
        elif time.monotonic() - started > clock:
            end = "time"
        elif _is_full(scratch, limits.file_bytes):
            end = "files"
    late = time.monotonic() - started >= int(limits.seconds)
    for kill in (getattr(os, "killpg", os.kill), os.kill):    # its own forks are in its group
        with contextlib.suppress(OSError):
            kill(pid, _KILL)
    reader.join()
    code = wait()
    if len(data) > limits.output_bytes:
        end = "output"
    elif not end and code < 0:
        end = "time" if late or -code == signal.SIGXCPU else signal.Signals(-code).name
    return bytes(data), end or "exit"


def _size(entry: os.DirEntry) -> int:
    """The bytes of a file: its length, or the blocks allocated for it, which can be more."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return max(status.st_size, 512 * getattr(status, "st_blocks", 0))    # Windows has no blocks


def _is_full(folder: str | Path, limit: int) -> bool:
    """Whether the files below a folder, which may be growing, have more bytes than `limit`.

    Each entry counts at least a block. A folder that cannot be read, or whose path is too long,
    exceeds any limit.
    """
    total, waiting = 0, [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    total += _BLOCK_BYTES + _size(entry)
                    if total > limit:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            pass    # it was removed meanwhile
        except OSError:
            return True
    return False


def remove(folder: str | Path) -> None:
    """Remove a folder, however deep it is and whatever its modes are."""
    waiting, number = [folder], 0
    with contextlib.suppress(OSError):    # the system removes the rest
        while waiting:
            current = waiting[-1]
            os.chmod(current, 0o700)
            inner = []
            for entry in os.scandir(current):
                if entry.is_dir(follow_symlinks=False):
                    number += 1
                    inner.append(f"{folder}.{number}")
                    os.rename(entry.path, inner[-1])    # so that no path becomes too long
                else:
                    os.unlink(entry.path)
            os.rmdir(current)
            waiting.pop()
            waiting += inner


if __name__ == "__main__":
    main()
