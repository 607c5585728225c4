import pytest

A_TEST = """
import asyncio
from onward import App, Event, Transaction

class Rang(Event, type="plugin.rang", topic="plugin-bells"):
    times: int

app = App("doorman")

@app.on(Rang)
async def open_door(rang: Rang, tx: Transaction) -> None:
    pass

def test_the_door_is_opened(onward_harness, fake_clock):
    async def scene():
        async with onward_harness(app, clock=fake_clock) as h:
            await h.publish(Rang(times=2))
            await h.settle()
            assert [each.handler for each in h.handled] == ["open_door"]
            await fake_clock.advance(60)
    asyncio.run(scene())
"""


def test_the_fixtures_are_there_for_whoever_loads_the_plugin(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(A_TEST)
    result = pytester.runpytest_inprocess("-p", "no:onward", "-p", "onward.testing.plugin")
    result.assert_outcomes(passed=1)
