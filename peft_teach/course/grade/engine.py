"""Independent tasks on the cores of this machine, or on a Dask cluster."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import Any

from ...errors import PeftTeachError


def run(tasks: Mapping[str, tuple], *, jobs: int = 1,
        dask: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield (name, function(*arguments)) for all tasks, each as soon as it is done.

    A task is (function, *arguments). `dask` is a scheduler's address, or "local:N" for N workers
    started here. A task whose process dies is retried alone, and gives None if it dies again; no
    other task is lost.
    """
    if dask:
        yield from _on_dask(tasks, dask)
        return
    waiting = dict(tasks)
    try:
        for name, result in _on_cores(waiting, jobs):
            del waiting[name]
            yield name, result
    except BrokenProcessPool:
        for name, task in waiting.items():
            try:
                yield from _on_cores({name: task}, 1)
            except BrokenProcessPool:
                yield name, None


def _on_cores(tasks: Mapping[str, tuple], jobs: int) -> Iterator[tuple[str, Any]]:
    jobs = max(1, min(jobs, len(tasks)))
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_settle)
    try:
        with _no_interrupt():
            futures = {pool.submit(*task): name for name, task in tasks.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except (KeyboardInterrupt, GeneratorExit):    # at once, not after their current tasks
        for worker in active_children():
            worker.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Let processes that are started here ignore Ctrl-C, from the beginning."""
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if here else None
    try:
        yield
    finally:
        if here:
            signal.signal(signal.SIGINT, before)


def _settle() -> None:
    """A worker leaves Ctrl-C to the grader, and ends when the grader does, by whatever signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def _on_dask(tasks: Mapping[str, tuple], address: str) -> Iterator[tuple[str, Any]]:
    try:
        from distributed import Client
        from distributed import as_completed as dask_completed
    except ImportError:
        raise PeftTeachError("Dask is not installed here.",
                             hint='pip install "peft-teach[grade]"') from None
    kind, _, workers = address.partition(":")
    try:
        if kind == "local" and int(workers or 2) < 1:
            raise ValueError("no worker")
        client = Client(address) if kind != "local" else Client(
            n_workers=int(workers or 2), threads_per_worker=1, dashboard_address=None)
    except (OSError, ValueError) as error:
        raise PeftTeachError(f"Dask does not run at {address!r} ({error}): try local:2 for two "
                             "workers here, or the address of a scheduler that runs.") from None
    with client:
        futures = {client.submit(*task, pure=False): name for name, task in tasks.items()}
        for future in dask_completed(futures):
            died = future.status == "error" and type(future.exception()).__name__ == "KilledWorker"
            yield futures[future], None if died else future.result()
