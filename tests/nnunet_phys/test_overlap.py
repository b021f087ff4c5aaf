"""Reading ahead and writing behind: order, bounded memory, errors, nothing lost."""

from __future__ import annotations

import threading
import time

import pytest

from nnunet_phys.overlap import WritingBehind, read_ahead


def test_items_come_in_order_and_few_are_made_ahead():
    made = []

    def items():
        for k in range(20):
            made.append(k)
            yield k

    for taken, item in enumerate(read_ahead(items())):
        assert item == taken and len(made) <= taken + 4
    assert made == list(range(20))
    assert list(read_ahead([])) == []


def test_an_error_comes_in_its_turn():
    def items():
        yield 1
        raise ValueError("broken file")

    coming = read_ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="broken file"):
        next(coming)


def test_all_is_written_in_order_when_the_context_ends():
    written, waits = [], threading.Event()

    def slow(value):
        waits.wait(0.02)
        written.append(value)

    with WritingBehind() as results:
        for k in range(6):
            results.write(slow, k)
            assert k - len(written) <= 3
    assert written == list(range(6))


def test_errors_of_writing_are_raised():
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), WritingBehind() as results:
        results.write(fail)
    with pytest.raises(OSError, match="disk full"), WritingBehind() as results:
        for _ in range(9):
            results.write(fail)


def test_what_comes_after_a_failure_is_written(tmp_path):
    def fail():
        raise OSError("disk full")

    written = []
    with pytest.raises(OSError, match="disk full"), WritingBehind() as results:
        for number in range(9):
            results.write(written.append, number) if number else results.write(fail)
    assert written == list(range(1, 3))  # the last is the call that raised the error


def test_who_stops_early_does_not_wait_for_what_was_to_be_read():
    def items():
        for k in range(20):
            made.append(k)
            time.sleep(0.01)
            yield k

    made: list[int] = []
    coming = read_ahead(items())
    assert next(coming) == 0
    coming.close()
    assert len(made) <= 3


def test_what_is_whole_is_written_although_the_work_fails():
    written = []
    with pytest.raises(KeyboardInterrupt), WritingBehind() as results:
        results.write(written.append, 1)
        results.write(written.append, 2)
        raise KeyboardInterrupt
    assert written == [1, 2]
