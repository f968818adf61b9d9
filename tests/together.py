"""Two processes that meet between reading a file and writing it, where no lock keeps one out."""

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Sequence


def run_together(action: Callable, arguments: Sequence[tuple]) -> None:
    """Run `action(meet, *arguments)` in a process for each; `action` calls `meet` before it writes.

    Without a lock each waits there until all have read, so that one write is lost. With one,
    whoever holds it waits for the others in vain, and goes on.
    """
    spawn = multiprocessing.get_context("spawn")
    begin, inside = (spawn.Barrier(len(arguments)) for _ in range(2))
    running = [spawn.Process(target=_act, args=(action, each, begin, inside), daemon=True)
               for each in arguments]
    for process in running:
        process.start()
    for process in running:
        process.join(300)
        assert process.exitcode == 0


def _act(action: Callable, arguments: tuple, begin, inside) -> None:
    def meet() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            inside.wait(2)

    begin.wait()
    action(meet, *arguments)
