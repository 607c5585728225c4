"""The test kit: Apps at work on a broker and a store in memory, a clock turned by hand, suites for adapters."""

from onward.testing.clock import FakeClock
from onward.testing.harness import Harness
from onward.testing.observed import Handled

__all__ = ["FakeClock", "Handled", "Harness"]
