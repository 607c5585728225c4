from onward.runtime.totals import total


def test_counters_of_processes_add_up_by_handler_and_bucket() -> None:
    first = {
        "handled": {"a": 1, "b": 2},
        "dead": {"a": 1},
        "parked": {"b": 2},
        "published": 3,
        "batch_counts": [1, 2],
        "batch_seconds": 0.5,
    }
    second = {"handled": {"b": 5}, "retries": {"b": 4}, "published": 1, "batch_counts": [0, 1], "batch_seconds": 0.25}
    assert total([first, second]) == {
        "handled": {"a": 1, "b": 7},
        "retries": {"b": 4},
        "dead": {"a": 1},
        "parked": {"b": 2},
        "published": 4,
        "reruns": 0,
        "batch_counts": [1, 3],
        "batch_seconds": 0.75,
    }


def test_nothing_adds_up_to_nothing() -> None:
    assert total([{}]) == {
        "handled": {},
        "retries": {},
        "dead": {},
        "parked": {},
        "published": 0,
        "reruns": 0,
        "batch_counts": [],
        "batch_seconds": 0,
    }


def test_adding_up_changes_none_of_the_snapshots() -> None:
    snapshot = {"handled": {"a": 1}, "batch_counts": [1]}
    total([snapshot, snapshot])
    assert snapshot == {"handled": {"a": 1}, "batch_counts": [1]}
