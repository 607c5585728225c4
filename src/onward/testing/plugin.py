"""Pytest's entry to the test kit."""

import pytest

pytest.register_assert_rewrite("onward.testing.contracts")
