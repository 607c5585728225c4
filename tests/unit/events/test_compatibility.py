"""Compatibility between two classes of one event, as a user's own test asks for it."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from onward.errors import DecodeError, IncompatibleChangeError
from onward.events import (
    Direction,
    Event,
    Incompatibility,
    assert_compatible,
    check_compatibility,
    event,
    isolated_registry,
    json_schema,
    snapshot,
    upcast,
)
from onward.events.declaration import EventMeta


class Old(Event, type="test.compatible", topic="orders"):
    order_id: str
    total: Decimal


def declared(annotations: dict[str, Any], version: int = 1, **defaults: Any) -> type:
    """The event in a later state of the user's code."""
    with isolated_registry():
        namespace = {"__annotations__": annotations, "__module__": __name__, **defaults}
        made = EventMeta("Old", (Event,), namespace, type="test.compatible", topic="orders", version=version)
    assert isinstance(made, type)
    return made


def test_event_is_compatible_with_itself() -> None:
    assert check_compatibility(json_schema(Old), json_schema(Old)) == []
    assert_compatible(Old, snapshot(Old))


def test_new_required_field_cannot_be_found_in_old_events() -> None:
    new = declared({"order_id": str, "total": Decimal, "sku": str})
    assert check_compatibility(snapshot(Old), snapshot(new)) == [
        Incompatibility(
            path="$.sku",
            direction=Direction.NEW_CANNOT_READ_OLD,
            sentence="the field is required to read and not always written",
        )
    ]


def test_new_field_with_a_default_is_compatible() -> None:
    new = declared({"order_id": str, "total": Decimal, "sku": str}, sku="")
    assert check_compatibility(snapshot(Old), snapshot(new)) == []
    assert_compatible(new, snapshot(Old))


def test_removed_required_field_is_missed_by_old_readers() -> None:
    new = declared({"order_id": str})
    found = check_compatibility(snapshot(Old), snapshot(new))
    assert [(one.path, one.direction) for one in found] == [("$.total", Direction.OLD_CANNOT_READ_NEW)]


def test_widened_type_is_beyond_old_readers() -> None:
    new = declared({"order_id": str | int, "total": Decimal})
    found = check_compatibility(snapshot(Old), snapshot(new))
    assert [str(one) for one in found] == ["old can't read new at $.order_id: integer is written where string is read"]


def test_narrowed_type_is_beyond_new_readers() -> None:
    new = declared({"order_id": str, "total": int})
    found = check_compatibility(snapshot(Old), snapshot(new))
    assert [str(one) for one in found] == ["new can't read old at $.total: number is written where integer is read"]


def test_changed_type_is_beyond_both() -> None:
    new = declared({"order_id": list[str], "total": Decimal})
    found = check_compatibility(snapshot(Old), snapshot(new))
    assert {one.direction for one in found} == set(Direction)


def test_assertion_names_every_obstacle_and_the_way_out() -> None:
    new = declared({"order_id": int, "total": Decimal})
    with pytest.raises(IncompatibleChangeError) as caught:
        assert_compatible(new, snapshot(Old))
    assert "new can't read old at $.order_id: string is written where integer is read" in str(caught.value)
    assert "old can't read new at $.order_id: integer is written where string is read" in str(caught.value)
    assert "declare version=2 with an @onward.upcast from version 1" in str(caught.value)
    assert len(caught.value.fields["obstacles"]) == 2  # type: ignore[arg-type]


def test_changed_wire_type_is_refused() -> None:
    with pytest.raises(IncompatibleChangeError, match=r"has type 'test.compatible', its snapshot 'other'"):
        assert_compatible(Old, {**snapshot(Old), "type": "other"})


def test_new_version_may_change_everything_if_steps_lead_up_to_it() -> None:
    new = declared({"lines": list[int]}, version=2)
    with pytest.raises(DecodeError, match="nothing says how to read it as version 2"):
        assert_compatible(new, snapshot(Old))

    @upcast(new, from_version=1)
    def step(old: dict[str, Any]) -> dict[str, Any]:
        return {"lines": []}

    assert_compatible(new, snapshot(Old))


def test_models_are_compared_by_what_they_read() -> None:
    @event(type="test.compatible_model", topic="orders")
    class Model(BaseModel):
        total: Decimal
        note: str | None = None

    kept = snapshot(Model)
    assert_compatible(Model, kept)
    del kept["schema"]["properties"]["total"]
    kept["schema"]["required"] = []
    with pytest.raises(IncompatibleChangeError, match=r"new can't read old at \$.total"):
        assert_compatible(Model, kept)
