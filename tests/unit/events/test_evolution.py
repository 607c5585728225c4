"""Old versions read as the new one, and wrong steps are told where they are declared."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from onward.errors import DeclarationError, DecodeError, UnknownVersionError
from onward.events import Event, decoder_for, event, event_type, registry, upcast

V1 = b'{"order_id": "7", "pence": 1250, "total": 12345678901234567.89}'


def decode(cls: type, version: int, value: bytes) -> Any:
    return decoder_for(registry(), "shop.placed", version, cls)(value)


def test_own_version_is_read_without_a_step() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        order_id: str

    assert decoder_for(registry(), "shop.placed", 2, Placed) == event_type(Placed).decode


def test_old_version_is_read_by_a_function_of_its_fields() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        order_id: int
        total: Decimal

    @upcast(Placed, from_version=1)
    def placed_1_to_2(old: dict[str, Any]) -> dict[str, Any]:
        return {"order_id": int(old["order_id"]), "total": old["total"]}

    assert decode(Placed, 1, V1) == Placed(7, Decimal("12345678901234567.89"))


def test_upcast_gives_the_function_back() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    def step(old: dict[str, Any]) -> dict[str, Any]:
        return old

    assert upcast(Placed, from_version=1)(step) is step


def test_steps_chain_from_version_to_version() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=3):
        trail: list[str]

    @upcast(Placed, from_version=1, to_version=2)
    def first(old: dict[str, Any]) -> dict[str, Any]:
        return {"trail": [*old["trail"], "1 to 2"]}

    @upcast(Placed, from_version=2)
    def second(old: dict[str, Any]) -> dict[str, Any]:
        return {"trail": [*old["trail"], "2 to 3"]}

    assert decode(Placed, 1, b'{"trail": []}') == Placed(["1 to 2", "2 to 3"])
    assert decode(Placed, 2, b'{"trail": []}') == Placed(["2 to 3"])


def test_one_step_may_pass_over_versions() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=3):
        trail: list[str]

    @upcast(Placed, from_version=1)
    def straight(old: dict[str, Any]) -> dict[str, Any]:
        return {"trail": ["1 to 3"]}

    assert decode(Placed, 1, b"{}") == Placed(["1 to 3"])


class OldPlaced(msgspec.Struct, frozen=True):
    pass


def test_step_may_go_from_class_to_class() -> None:
    class Placed1(Event, type="shop.placed", topic="orders"):
        pence: int

    @event(type="shop.placed", topic="orders", version=2)
    @dataclass
    class Placed2:
        total: Decimal

    @event(type="shop.placed", topic="orders", version=3)
    class Placed3(BaseModel):
        amount: Decimal

    @upcast(Placed2, from_version=1)
    def first(old: Placed1) -> Placed2:
        return Placed2(total=Decimal(old.pence) / 100)

    @upcast(Placed3, from_version=2)
    def second(old: Placed2) -> Placed3:
        return Placed3(amount=old.total)

    assert decode(Placed2, 1, V1) == Placed2(Decimal("12.5"))
    assert decode(Placed3, 1, V1) == Placed3(amount=Decimal("12.5"))


def test_newer_version_is_refused_and_says_what_to_deploy() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    with pytest.raises(UnknownVersionError, match=r"shop.placed version 3; .*Placed here is version 2") as caught:
        decoder_for(registry(), "shop.placed", 3, Placed)
    assert caught.value.fields == {"type": "shop.placed", "version": 3, "known": 2}


def test_old_version_without_a_step_is_refused_and_says_what_to_write() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=3):
        pass

    @upcast(Placed, from_version=1, to_version=2)
    def first(old: dict[str, Any]) -> dict[str, Any]:
        return old

    with pytest.raises(DecodeError, match=r"Write a function under @onward.upcast\(.*Placed, from_version=2\)"):
        decoder_for(registry(), "shop.placed", 1, Placed)


def test_step_that_leads_past_the_asked_class_does_not_count() -> None:
    class Placed2(Event, type="shop.placed", topic="orders", version=2):
        pass

    class Placed3(Event, type="shop.placed", topic="orders", version=3):
        pass

    @upcast(Placed3, from_version=1)
    def straight(old: dict[str, Any]) -> dict[str, Any]:
        return old

    with pytest.raises(DecodeError, match="nothing says how to read it as version 2"):
        decoder_for(registry(), "shop.placed", 1, Placed2)


def test_error_in_a_step_names_the_step() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    @upcast(Placed, from_version=1)
    def clumsy(old: dict[str, Any]) -> dict[str, Any]:
        return {"x": old["absent"]}

    with pytest.raises(DecodeError, match=r"clumsy failed with KeyError\('absent'\)") as caught:
        decode(Placed, 1, b"{}")
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("result", [None, 5, {"x": object()}])
def test_step_that_returns_no_event_is_an_error_of_the_step(result: object) -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    @upcast(Placed, from_version=1)
    def odd(old: dict[str, Any]) -> Any:
        return result

    with pytest.raises(DecodeError, match="odd failed with"):
        decode(Placed, 1, b"{}")


@pytest.mark.parametrize("value", [b"[]", b"", b"\xff", b"5", b'{"total": 1e99999999999999999999}'])
def test_bytes_that_are_no_object_fail_as_they_do_without_steps(value: bytes) -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    @upcast(Placed, from_version=1)
    def step(old: dict[str, Any]) -> dict[str, Any]:
        return old

    with pytest.raises(msgspec.DecodeError):
        decode(Placed, 1, value)


def test_fields_a_step_gets_wrong_fail_as_a_wrong_message_does() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        order_id: int

    @upcast(Placed, from_version=1)
    def wrong(old: dict[str, Any]) -> dict[str, Any]:
        return {"order_id": "text"}

    with pytest.raises(msgspec.ValidationError, match="Expected `int`, got `str`"):
        decode(Placed, 1, b"{}")


@pytest.mark.parametrize(("from_version", "to_version"), [(0, None), (2, None), (3, None), (1, 3), (1, 1)])
def test_step_that_does_not_lead_up_to_the_class_is_refused(from_version: int, to_version: int | None) -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    with pytest.raises(DeclarationError, match=r"from_version is 1 or more and below to_version"):
        upcast(Placed, from_version=from_version, to_version=to_version)


def test_step_of_what_is_no_event_is_refused() -> None:
    with pytest.raises(DeclarationError, match="OldPlaced is not an event"):
        upcast(OldPlaced, from_version=1)


def test_step_must_be_a_plain_function_of_one_argument() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    async def waits(old: dict[str, Any]) -> dict[str, Any]:
        return old

    def two(old: dict[str, Any], more: int) -> dict[str, Any]:
        return old

    for wrong in (waits, two):
        with pytest.raises(DeclarationError, match=f"{wrong.__name__} can't be an upcaster. Write a plain function"):
            upcast(Placed, from_version=1)(wrong)  # type: ignore[type-var]


def test_step_with_an_unresolvable_annotation_is_refused() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    def step(old: "NoSuchName") -> dict[str, Any]:  # type: ignore[name-defined]  # noqa: F821
        return {}

    with pytest.raises(DeclarationError, match="names 'NoSuchName', which is not to be found in module"):
        upcast(Placed, from_version=1)(step)


def test_step_from_the_class_of_another_version_is_refused() -> None:
    class Placed1(Event, type="shop.placed", topic="orders"):
        pass

    class Placed3(Event, type="shop.placed", topic="orders", version=3):
        pass

    def step(old: Placed1) -> Placed3:
        return Placed3()

    with pytest.raises(DeclarationError, match=r"takes .*Placed1, which is shop.placed version 1, and upcasts"):
        upcast(Placed3, from_version=2)(step)
