"""A service's tables are its own, also those that are called as onward's are, and for a user who is called onward."""

from onward import App, SyncTransaction, Topic
from tests.integration.postgres.stage import Numbered, Stage, on_stage

SCHEMA = "CREATE TABLE IF NOT EXISTS account (revision INTEGER NOT NULL)"


def test_a_table_that_is_called_as_one_of_onwards_is_another_one(postgres_url: str) -> None:
    assert postgres_url.startswith("postgresql://onward:"), "whose name comes first in the search path"
    app = App("shop", schema=SCHEMA, topics=[Topic("numbers", partitions=1)])

    @app.on(Numbered)
    def note(event: Numbered, tx: SyncTransaction) -> None:
        tx.execute("INSERT INTO account (revision) VALUES (:n)", n=event.n)
        tx.execute("UPDATE account SET revision = revision + 100")

    async def scene(stage: Stage) -> None:
        async with stage.running(app):
            await stage.publish(Numbered(key="k", n=1), Numbered(key="k", n=2))
            await stage.settled()
        assert stage.dead_letters() == []
        assert stage.rows("SELECT revision FROM public.account ORDER BY revision") == [(102,), (201,)]
        assert stage.rows("SELECT count(*) FROM onward.account") == [(1,)]

    on_stage(postgres_url, scene)
