"""What a handler returned, published by its transaction."""

from __future__ import annotations

from onward.outgoing import encode, flatten
from onward.ports import Unit


def publish_returned(unit: Unit, returned: object) -> None:
    if isinstance(returned, (list, tuple)):
        unit.outputs.extend(map(encode, flatten(returned)))
    elif returned is not None:
        unit.outputs.append(encode(returned))
