"""The guards of tests/conftest.py catch what they promise to catch."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def guarded(pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite elsewhere under the same guards."""
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makeini(f"[pytest]\npythonpath = {ROOT}\nmarkers = requires_chromium: drives a browser\n")
    return pytester


def test_a_child_left_running_fails_its_test_and_is_ended(guarded: pytest.Pytester) -> None:
    guarded.makepyfile(
        """
        import subprocess
        KEPT = []

        def test_leaves_a_child():
            KEPT.append(subprocess.Popen(["sleep", "60"]))

        def test_sees_it_ended():
            assert KEPT[0].wait(5) == -9
        """
    )
    result = guarded.runpytest_subprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*left child processes running: *sleep 60*"])


def test_a_task_nobody_awaited_fails_its_test(guarded: pytest.Pytester) -> None:
    guarded.makepyfile(
        """
        import asyncio

        async def leave_a_task():
            return asyncio.create_task(asyncio.Event().wait(), name="forgotten")

        def test_leaves_a_task():
            asyncio.run(leave_a_task())
        """
    )
    result = guarded.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*left asyncio tasks behind: *forgotten*"])


@pytest.mark.parametrize(
    ("in_ci", "outcomes"), [("false", {"skipped": 1}), ("true", {"errors": 1})], ids=["laptop", "ci"]
)
def test_an_absent_browser_skips_on_a_laptop_and_fails_in_ci(
    guarded: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, in_ci: str, outcomes: dict[str, int]
) -> None:
    guarded.makepyfile(
        """
        import pytest

        @pytest.mark.requires_chromium
        def test_drives_a_browser():
            raise AssertionError("there is none to drive")
        """
    )
    monkeypatch.setenv("CI", in_ci)
    monkeypatch.setenv("ONWARD_TEST_CHROMIUM", "no-such-browser")
    result = guarded.runpytest_subprocess("-rs")
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines(["*No Chromium was found*"])


@pytest.mark.parametrize(
    ("in_ci", "outcomes"), [("false", {"skipped": 1}), ("true", {"errors": 1})], ids=["laptop", "ci"]
)
def test_absent_orders_skip_on_a_laptop_and_fail_in_ci(
    guarded: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, in_ci: str, outcomes: dict[str, int]
) -> None:
    guarded.makepyfile(
        """
        def test_adds_up_real_orders(orders_csv):
            raise AssertionError("there are none to add up")
        """
    )
    monkeypatch.setenv("CI", in_ci)
    monkeypatch.setenv("ONWARD_TEST_DATA", str(guarded.path))
    result = guarded.runpytest_subprocess("-rs")
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines(["*online-retail.csv.gz is not there*"])


def test_a_developers_settings_do_not_reach_a_test(guarded: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded.makepyfile(
        """
        import os

        def test_sees_no_setting():
            assert "ONWARD_STORE" not in os.environ
        """
    )
    monkeypatch.setenv("ONWARD_STORE", "sqlite:///elsewhere.db")
    guarded.runpytest_subprocess().assert_outcomes(passed=1)
