"""Reading and writing beside the work on a device: one thread reads ahead, one writes behind, both a little."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_AHEAD = 2
"""Items read ahead or waiting to be written: enough to hide a slow file, and memory does not grow with their number."""
_END = object()


def read_ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items in their order, while a thread makes the next few.

    Args:
        items: made one by one, in that thread; an error is raised in place of the item.
    """
    iterator = iter(items)
    thread = ThreadPoolExecutor(1)
    try:
        coming: deque[Future[Any]] = deque(thread.submit(next, iterator, _END) for _ in range(_AHEAD))
        while (item := coming.popleft().result()) is not _END:
            coming.append(thread.submit(next, iterator, _END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)  # who stops early need not wait for what nobody will read


class WritingBehind:
    """A context in which a thread writes results, one after the other. At its end, all of them are written.

    An error of a result is raised by a later `write`, which still accepts its own result, or at the context's end if no
    other error leaves it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> WritingBehind:
        return self

    def write(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call the function in the thread. Waits while too many results are waiting."""
        self._waiting.append(self._thread.submit(function, *arguments))
        while len(self._waiting) > _AHEAD:
            self._waiting.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            for written in self._waiting:
                written.result()
