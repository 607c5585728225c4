"""The registry: one class per type and version, copies that do not touch the original."""

from types import ModuleType

import pytest

from onward.errors import DeclarationError
from onward.events import Event, EventRegistry, event_type, isolated_registry, registry, upcast

SOURCE = """
from onward.events import Event, upcast

class Placed(Event, type="shop.placed", topic="orders", version=2):
    {fields}

@upcast(Placed, from_version=1)
def placed_1_to_2(old):
    return old
"""


def import_module(name: str, fields: str) -> type:
    module = ModuleType(name)
    exec(SOURCE.format(fields=fields), module.__dict__)  # noqa: S102 - stands for importing a user's module again
    found = module.__dict__["Placed"]
    assert isinstance(found, type)
    return found


def test_event_type_is_found_by_wire_type_and_version() -> None:
    class Placed(Event, type="shop.placed", topic="orders"):
        pass

    class Placed2(Event, type="shop.placed", topic="orders", version=2):
        pass

    assert registry().get("shop.placed", 1) is event_type(Placed)
    assert registry().get("shop.placed", 2) is event_type(Placed2)
    assert registry().get("shop.placed", 3) is None
    assert registry().known("shop.placed") == (1, 2)
    assert registry().known("shop.other") == ()


def test_event_types_are_listed_by_type_and_version_and_by_topic() -> None:
    class B(Event, type="t.b", topic="one"):
        pass

    class A2(Event, type="t.a", topic="two", version=2):
        pass

    class A(Event, type="t.a", topic="one"):
        pass

    known = EventRegistry()
    for cls in (B, A2, A):
        known.add(event_type(cls))
    assert [found.cls for found in known.event_types()] == [A, A2, B]
    assert [found.cls for found in known.event_types("one")] == [A, B]
    assert known.event_types("three") == []


def test_two_classes_cannot_be_one_type_and_version() -> None:
    class First(Event, type="shop.placed", topic="orders"):
        pass

    with pytest.raises(DeclarationError, match=r"\.Second and .*\.First both declare type='shop.placed', version=1"):

        class Second(Event, type="shop.placed", topic="orders"):
            pass

    assert registry().get("shop.placed", 1) is event_type(First)


def test_class_imported_again_takes_its_former_place() -> None:
    import_module("inventory", "a: int")
    again = import_module("inventory", "a: str")
    assert registry().get("shop.placed", 2) is event_type(again)


def test_class_imported_under_another_module_name_is_refused() -> None:
    import_module("inventory", "a: int")
    with pytest.raises(DeclarationError, match=r"shop.inventory.Placed and inventory.Placed both declare"):
        import_module("shop.inventory", "a: int")


def test_a_version_has_one_way_up() -> None:
    class Placed(Event, type="shop.placed", topic="orders", version=2):
        pass

    @upcast(Placed, from_version=1)
    def one(old: dict[str, object]) -> dict[str, object]:
        return old

    with pytest.raises(DeclarationError, match=r"other and .*one both upcast 'shop.placed' from version 1"):

        @upcast(Placed, from_version=1)
        def other(old: dict[str, object]) -> dict[str, object]:
            return old


def test_what_is_declared_in_an_isolated_registry_is_forgotten_after_it() -> None:
    outer = registry()

    class Before(Event, type="t.before", topic="t"):
        pass

    with isolated_registry() as inner:

        class Inside(Event, type="t.inside", topic="t", version=2):
            pass

        @upcast(Inside, from_version=1)
        def up(old: dict[str, object]) -> dict[str, object]:
            return old

        assert registry() is inner
        assert inner.known("t.before") == (1,)
        assert inner.known("t.inside") == (2,)
        assert inner.upcaster("t.inside", 1) is not None
    assert registry() is outer
    assert outer.known("t.inside") == ()
    assert outer.upcaster("t.inside", 1) is None


def test_copy_has_the_steps_between_versions_too() -> None:
    import_module("inventory", "a: int")
    twin = registry().copy()
    assert twin.upcaster("shop.placed", 1) is registry().upcaster("shop.placed", 1)
    assert twin.upcaster("shop.placed", 1) is not None


def test_registry_comes_back_after_an_error_inside() -> None:
    outer = registry()
    with pytest.raises(LookupError), isolated_registry():
        raise LookupError
    assert registry() is outer
