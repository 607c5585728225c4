"""A COMMIT that waits in the server, after all that is said before it."""

from __future__ import annotations


def gated(table: str) -> tuple[str, ...]:
    """What has each COMMIT that inserted into this table wait for as long as the connection lasts that says it."""
    return (
        "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$",
        f"CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.wait()",
        "SELECT pg_advisory_lock(1)",
    )
