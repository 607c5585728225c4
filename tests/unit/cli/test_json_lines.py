import pytest

from onward.cli.json_lines import LineForm, outgoing
from onward.ports import Outgoing

FORM = LineForm("orders", "shop.order_placed", 2, "id")


def test_a_line_becomes_an_event_with_its_bytes_as_they_are() -> None:
    line = b' {"id": "a",  "total": 100.0}\r\n'
    assert outgoing(line, FORM) == Outgoing("orders", "shop.order_placed", 2, b'{"id": "a",  "total": 100.0}', "a")


@pytest.mark.parametrize(("written", "key"), [('"a"', "a"), ("7", "7"), ("null", None), ('""', "")])
def test_the_key_is_the_fields_text(written: str, key: str | None) -> None:
    assert outgoing(f'{{"id": {written}}}'.encode(), FORM).key == key


def test_without_a_key_field_there_is_no_key() -> None:
    assert outgoing(b'{"id": "a"}', LineForm("orders", "", 1, None)).key is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "it is not JSON"),
        (b'{"id": "\xff"}', "it is not JSON"),
        (b"null", "it is a JSON null"),
        (b"true", "it is a JSON boolean"),
        (b"1.5", "it is a JSON number"),
        (b'"text"', "it is a JSON string"),
        (b"[]", "it is a JSON array"),
        (b"{}", "it has no field 'id'"),
        (b'{"id": true}', "its key field 'id' is a JSON boolean"),
        (b'{"id": {}}', "its key field 'id' is a JSON object"),
        (b'{"id": "' + b"k" * 513 + b'"}', "its key is over 512 bytes long"),
        (b'{"id": "' + b"k" * (1 << 20) + b'"}', "1,048,576 is the most"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        outgoing(line, FORM)
