"""Publishing a file of real orders, so that a process killed in the middle goes on where it was.

How far a file has been published is a row in the store, moved in the transaction that publishes; so each invoice of a
file is published once, by however many processes it takes. A file is known by its digest.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from onward import App, Event
from onward.blueprints.shop.events import OrderCancelled, OrderPlaced
from onward.blueprints.shop.lines import Line
from onward.blueprints.shop.orders_csv import Invoice, Survey, read_invoices
from onward.errors import OnwardError

BATCH = 100

SCHEMA = """
CREATE TABLE IF NOT EXISTS replay_file (
    digest TEXT PRIMARY KEY,
    published BIGINT NOT NULL
);
"""

app = App("replay", schema=SCHEMA)


class ReplayError(OnwardError):
    """Another process publishes the same file into the same store."""


def channel_of(survey: Survey) -> str:
    """The channel of a file's orders: their ids and books are apart from those of other files and of the page."""
    return f"file-{survey.digest[:12]}"


async def published(survey: Survey) -> int:
    """How many of the file's invoices have been published into this store so far."""
    found = await app.read("SELECT published FROM replay_file WHERE digest = :digest", digest=survey.digest)
    return int(found.scalar() or 0)


async def publish(path: Path, survey: Survey, *, go_on: Callable[[int], Awaitable[bool]]) -> int:
    """Publish the invoices that were not published yet, 100 at a time, and return how many are published now.

    `go_on` hears that number before each batch; where it returns False, publishing stops. Raises ReplayError and
    what publishing raises; what was published before stays so.
    """
    done = await published(survey)
    channel = channel_of(survey)
    rest = islice(read_invoices(path, survey.scattered), done, None)
    while await go_on(done):
        batch = list(islice(rest, BATCH))
        if not batch:
            break
        async with app.transaction() as tx:
            row = await tx.execute(
                "INSERT INTO replay_file (digest, published) VALUES (:digest, :after) ON CONFLICT (digest)"
                " DO UPDATE SET published = :after WHERE replay_file.published = :before RETURNING published",
                digest=survey.digest,
                before=done,
                after=done + len(batch),
            )
            if row.scalar() != done + len(batch):
                raise ReplayError(
                    f"Another process publishes {path.name} into this store right now. Nothing was published twice;"
                    " let it finish, or stop it and start again."
                )
            await tx.publish(*(event_of(invoice, channel) for invoice in batch))
        done += len(batch)
    return done


def event_of(invoice: Invoice, channel: str) -> Event:
    """The fact that an invoice states. What a cancellation returns is counted in positive numbers."""
    if invoice.is_cancellation:
        return OrderCancelled(
            channel=channel,
            order_id=invoice.order_id,
            cancellation_id=invoice.number,
            customer_id=invoice.customer_id,
            lines=list(_returned(invoice.lines)),
        )
    return OrderPlaced(
        channel=channel,
        order_id=invoice.order_id,
        customer_id=invoice.customer_id,
        country=invoice.country,
        lines=invoice.lines,
        payment_method="account",
        backorder=True,
    )


def _returned(lines: Sequence[Line]) -> Iterator[Line]:
    for line in lines:
        yield Line(line.sku, line.description, -line.quantity, line.unit_price)
