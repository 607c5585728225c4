"""Where reading an outbox begins: behind what has left it, and never behind what may still come.

An index keeps what has left it until a vacuum, which waits for the oldest transaction of the whole server. A reader
that began at the front would pass all of that again and again.
"""

from __future__ import annotations

from onward.stores.postgres.command import Command
from onward.stores.postgres.outbox_sql import MOVE, WRITERS
from onward.stores.postgres.session import Session


async def move(session: Session, service: str, highest: int, first: tuple[int, int]) -> Command:
    """The command that moves the marks, for the transaction that numbers rows up to `highest`, from place `first` on.

    An earlier statement of it has locked the service's row of onward.relay, so that no other's look at the writers
    comes between: two looks that change places would take who had not begun for who has ended.
    """
    writers = (await session.run(WRITERS, (), "Looking who writes to the outbox")).scalar()
    return Command(MOVE, [(service, writers, highest, *first)])
