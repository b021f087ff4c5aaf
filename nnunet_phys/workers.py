"""Run jobs in worker processes with a progress bar, without tracebacks of workers on Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from nnunet_phys.errors import InputError
from nnunet_phys.progress import ProgressBar

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def run_in_workers(
    function: Callable[[_Job], _Result], jobs: Sequence[_Job], processes: int, description: str, quiet: bool = False
) -> list[_Result]:
    """Run every job in a spawned process of a single thread, as nnU-Net does, or in this process.

    Args:
        function: does one job; picklable.
        jobs: picklable.
        processes: number of worker processes; 1 runs all jobs in this process.
        description: title of the progress bar.
        quiet: no progress bar.

    Returns:
        the results in the order of the jobs.

    Raises:
        InputError: a worker process was killed.
        Any error of a job; jobs that have not started are then dropped.
    """
    with ProgressBar(total=len(jobs), desc=description, disable=quiet) as progress:
        if processes <= 1 or len(jobs) <= 1:
            results = []
            for job in jobs:
                results.append(function(job))
                progress.update()
            return results
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(jobs)), context, initializer=_prepare_worker) as pool:
            try:
                with _interrupts_deferred():  # workers start here, before `_prepare_worker` can silence Ctrl-C
                    futures = [pool.submit(function, job) for job in jobs]
                for future in as_completed(futures):
                    future.result()  # or its error, at once
                    progress.update()
                return [future.result() for future in futures]
            except BrokenProcessPool:
                raise InputError(
                    f"{description}: a worker process was killed. Is the memory full? Use fewer processes (-np)."
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """Compute in one thread, and end silently on Ctrl-C, which the terminal sends to all processes."""
    os.environ["OMP_NUM_THREADS"] = "1"  # PyTorch reads it when a job's function imports it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold back Ctrl-C until the context ends. Processes that start meanwhile inherit the blocked signal.

    The mask is for these processes. It does not hold back this one's interrupt: another thread, such as tqdm's, takes
    the signal, and Python then runs the handler in the main thread. So the handler waits, too.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if interrupts:
            signal.raise_signal(signal.SIGINT)
