"""The warm server: it has imported torch and the course once, and forks for each answer.

    server ──fork──> supervisor ──fork──> child, confined, runs the learner's code
    grader ─request─> supervisor <─frames─┘
           <─answer── supervisor, which ends

The server only forks and waits. It never reads a request, so there is nothing of one answer in its
memory that a later child could inherit: a supervisor is there before the request is, it alone
holds the request and the frames, and it answers one request. The child holds no end of the line to
the grader. Where the grader ends, by whatever signal, the line does, and all of these end too.
The server sets one thread before its first tensor operation, since a fork after a multi-threaded
one hangs. It runs each reference once, so that whatever a lesson imports late is there before the
fork. None of them judges.

Started with `--once` it does not fork: it answers one request in its own process, and the grader
supervises it. That is how systems without a safe fork (Windows, macOS) grade: slower, by the time
of the imports.
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
from .child import answer
from .limits import Limits
from .plain import LENGTHS, from_bytes, to_bytes

_LOOK_SECONDS = 0.2    # how often the scratch folder is measured
_BLOCK_BYTES = 4096    # what an empty file takes
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)    # Windows has one way only


def main() -> None:
    """Serve until the grader closes the line."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    line_in, line_out = _take_line()
    if "--once" in sys.argv:
        answer(receive(line_in), lambda frame: (line_out.write(frame), line_out.flush()), line_in)
        os._exit(0)
    for exercise in map(find, sys.argv[1:]):
        exercise.run(exercise.resolve(), exercise.cases(0)[0])
    while _in_a_supervisor(line_in, line_out):
        pass


def _in_a_supervisor(line_in: BinaryIO, line_out: BinaryIO) -> bool:
    """Let a fork of this process wait for one request and answer it; whether it did.

    It did not if the grader has closed the line, or if the supervisor was killed: then this process
    ends too, and so tells the grader.
    """
    pid = os.fork()
    if pid == 0:
        try:
            frames, end = _in_a_child(receive(line_in), line_out)
            line_out.write(to_bytes({"end": end, "size": len(frames)}) + frames)
            line_out.flush()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def receive(stream: BinaryIO) -> dict[str, Any]:
    """What the next frame of a trusted stream holds. Raises `Malformed` at its end."""
    head = stream.read(LENGTHS.size)
    more = sum(LENGTHS.unpack(head)) if len(head) == LENGTHS.size else 0
    return from_bytes(head + stream.read(more))


def _take_line() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for the grader; whatever is printed goes nowhere."""
    line_in, line_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    return line_in, line_out


def _in_a_child(request: dict[str, Any], line: BinaryIO) -> tuple[bytes, str]:
    """What a forked child sent, and how it ended."""
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
    grader.register(line, 0)    # nobody reads it any more: an error, which is always told
    with os.fdopen(reading, "rb") as stream:
        frames, end = supervise(
            pid, stream, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),
            Limits(*request["limits"]), request["scratch"], is_alone=lambda: grader.poll(0))
    if end == "grader":    # which would have done it
        remove(request["scratch"])
    return frames, end


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data):]


def supervise(pid: int, stream: BinaryIO, wait: Callable[[], int], limits: Limits, scratch: str, *,
              is_alone: Callable[[], object] = lambda: False,
              start_seconds: float = 0.0) -> tuple[bytes, str]:
    """Read until the child ends or breaks a limit, or the grader ends; leave nothing of it running.

    `is_alone` says whether the grader has ended; `start_seconds` are for imports. Returns what was
    read, and how it ended: "over", the name of a signal or of a limit, or "grader".
    """
    data = bytearray()

    def read() -> None:
        while len(data) <= limits.output_bytes and (chunk := stream.read1(2**16)):
            data.extend(chunk)

    reader, started, end = threading.Thread(target=read), time.monotonic(), ""
    patience = 3 * limits.seconds + 1 + start_seconds    # the machine may do other things, too
    reader.start()
    while not end and reader.is_alive():
        reader.join(_LOOK_SECONDS)
        if is_alone():
            end = "grader"
        elif time.monotonic() - started > patience:
            end = "time"
        elif _is_full(scratch, limits.file_bytes):
            end = "files"
    late = time.monotonic() - started >= int(limits.seconds)
    for kill in (getattr(os, "killpg", os.kill), os.kill):    # what it has forked is in its group
        with contextlib.suppress(OSError):
            kill(pid, _KILL)
    reader.join()
    code = wait()
    if len(data) > limits.output_bytes:
        end = "output"
    elif not end and code < 0:
        end = "time" if late or -code == signal.SIGXCPU else signal.Signals(-code).name
    return bytes(data), end or "over"


def _taken(entry: os.DirEntry) -> int:
    """The bytes of a file: what it says, or what the disk has given it, which can be more."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return max(status.st_size, 512 * getattr(status, "st_blocks", 0))    # Windows says no more


def _is_full(folder: str | Path, limit: int) -> bool:
    """Whether the files below a folder, which may grow meanwhile, take more bytes than `limit`.

    A name counts as a block. A folder that cannot be read, or whose path is too long, counts as too
    many: what is in it is not known.
    """
    total, waiting = 0, [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    total += _BLOCK_BYTES + _taken(entry)
                    if total > limit:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            pass    # it was there a moment ago
        except OSError:
            return True
    return False


def remove(folder: str | Path) -> None:
    """Remove a folder, however deep and by whatever modes the learner's code has built in it."""
    waiting, number = [folder], 0
    with contextlib.suppress(OSError):    # what cannot be removed is left to the system
        while waiting:
            place = waiting[-1]
            os.chmod(place, 0o700)
            inner = []
            for entry in os.scandir(place):
                if entry.is_dir(follow_symlinks=False):
                    number += 1
                    inner.append(f"{folder}.{number}")
                    os.rename(entry.path, inner[-1])    # so that no path becomes too long
                else:
                    os.unlink(entry.path)
            os.rmdir(place)
            waiting.pop()
            waiting += inner


if __name__ == "__main__":
    main()
