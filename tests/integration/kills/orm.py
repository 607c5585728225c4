"""The bank's direct service with sessions of SQLAlchemy in place of statements."""

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from onward import App
from tests.integration.kills.bank import TABLES, Booked, Paid


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effect"
    place: Mapped[int] = mapped_column(primary_key=True)
    handler: Mapped[str]
    key: Mapped[str]
    n: Mapped[int]


direct = App("direct", schema=TABLES)


@direct.on(Paid)
async def book(paid: Paid, session: AsyncSession) -> Booked:
    session.add(Effect(handler="book", key=paid.account, n=paid.n))
    return Booked(account=paid.account, n=paid.n)


@direct.on(Booked)
def confirm(booked: Booked, session: Session) -> None:
    with session.begin_nested():
        session.add(Effect(handler="confirm", key=booked.account, n=booked.n))
