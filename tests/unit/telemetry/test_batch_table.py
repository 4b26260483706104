"""Statistics by batch size."""

from __future__ import annotations

from salver.telemetry.batch_table import BatchTable, size_class


def test_small_sizes_stand_for_themselves_and_large_ones_for_a_range() -> None:
    assert [size_class(rows) for rows in (0, 1, 31, 32)] == [0, 1, 31, 32]
    assert [size_class(rows) for rows in (33, 40, 41, 63, 64, 65, 1000)] == [
        *(40, 40, 48, 64, 64, 80, 1024)
    ]


def test_a_class_holds_its_own_limit_and_classes_are_few() -> None:
    classes = {size_class(rows) for rows in range(1, 100_000)}
    assert all(size_class(each) == each for each in classes)
    assert all(size_class(rows) >= rows for rows in range(1, 5000))
    assert len(classes) < 90


def test_batches_of_a_class_are_summed() -> None:
    table = BatchTable()
    table.observe(2, 2, 0.5, 0.25, 1.0)
    table.observe(2, 1, 0.5, 0.25, 1.0)
    table.observe(50, 3, 0.0, 1.0, 2.0)
    first, second = table.statistics()
    assert (first.rows, first.batches, first.requests) == (2, 2, 3)
    assert (first.waited_s, first.compute_s, first.worker_s) == (1.0, 0.5, 2.0)
    assert (second.rows, second.batches) == (56, 1)
