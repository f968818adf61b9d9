"""Independent jobs on the cores of this machine, or on Dask's, which may be anywhere."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import Any

from ...errors import PeftTeachError


class Died:
    """In place of a result: the process that did the job died of it, twice."""


def run(function: Callable[..., Any], items: Sequence[tuple], *, jobs: int = 1,
        dask: str | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (index, function(*item)) for all items, each as soon as it is done.

    `dask` is a scheduler's address, or "local:N" for N workers started here. A job whose process
    dies is tried again alone, and gives `Died` the second time; the others lose nothing by it.
    """
    if dask:
        yield from _on_dask(function, items, dask)
        return
    waiting = dict(enumerate(items))
    try:
        for index, result in _on_cores(function, waiting, jobs):
            del waiting[index]
            yield index, result
    except BrokenProcessPool:
        for index, item in sorted(waiting.items()):
            try:
                yield from _on_cores(function, {index: item}, 1)
            except BrokenProcessPool:
                yield index, Died()


def _on_cores(function, items: dict[int, tuple], jobs: int) -> Iterator[tuple[int, Any]]:
    jobs = max(1, min(jobs, len(items)))
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_settle)
    try:
        with _no_interrupt():
            futures = {pool.submit(function, *item): index for index, item in items.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except (KeyboardInterrupt, GeneratorExit):    # at once, not after what they are at
        for worker in active_children():
            worker.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Let processes that start here know nothing of Ctrl-C, from their first moment on."""
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if here else None
    try:
        yield
    finally:
        if here:
            signal.signal(signal.SIGINT, before)


def _settle() -> None:
    """Ctrl-C is the grader's business; where the grader ends, by whatever signal, so do they."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def _on_dask(function, items: Sequence[tuple], address: str) -> Iterator[tuple[int, Any]]:
    try:
        from distributed import Client, LocalCluster
        from distributed import as_completed as dask_completed
    except ImportError:
        raise PeftTeachError("Dask is not installed here.",
                             hint='pip install "peft-teach[grade]"') from None
    kind, _, workers = address.partition(":")
    cluster = None
    if kind == "local":
        cluster = LocalCluster(n_workers=int(workers or 2), threads_per_worker=1, processes=True,
                               dashboard_address=None)
    client = Client(cluster or address)
    try:
        futures = {client.submit(function, *item, pure=False): index
                   for index, item in enumerate(items)}
        for future in dask_completed(futures):
            died = future.status == "error" and type(future.exception()).__name__ == "KilledWorker"
            yield futures[future], Died() if died else future.result()
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
