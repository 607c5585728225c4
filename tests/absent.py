"""What a test does where something that it needs is not to be had."""

import os
from typing import NoReturn

import pytest

IN_CI = os.environ.get("CI") == "true"


def absent(sentence: str) -> NoReturn:
    """Skip the test, saying why; under CI=true fail it, since there everything must be present."""
    if IN_CI:
        pytest.fail(f"{sentence} With CI=true that is a failure.", pytrace=False)
    pytest.skip(sentence)
