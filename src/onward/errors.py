"""Every error onward raises: one root, four families, each saying what happened, what it means and what to do.

A client library's exception never leaves its adapter: it is chained to one of these.
"""

from __future__ import annotations


class OnwardError(Exception):
    """The root. `str()` is a sentence for people; `fields` are the same facts for programs."""

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.fields = fields


class DeclarationError(OnwardError):
    """A declaration in the user's code can't work as written. Raised at import, before any connection."""


class SettingError(DeclarationError):
    """A setting has a value that onward can't use."""


class MissingExtraError(DeclarationError):
    """A feature needs an optional dependency that is not installed; the message names the extra."""


class MessageError(OnwardError):
    """One message can't be used. It becomes a dead letter with its bytes kept; its neighbours go on."""


class DecodeError(MessageError):
    """The bytes of a message are not the event they claim to be."""


class EncodeError(MessageError):
    """An event can't be written as JSON, or is over the size limit; nothing was published."""


class DelayError(MessageError):
    """An event was published for a time that can't be waited for; nothing was published."""


class UnknownTypeError(MessageError):
    """A message names no type, and its topic does not have exactly one type to take it for."""


class UnknownVersionError(MessageError):
    """A message has a newer version of a known type than this process knows: deploy consumers first."""


class IncompatibleChangeError(MessageError):
    """A new version of an event type can't be read by, or can't read, what is already stored."""


class DeliveryError(OnwardError):
    """An event could not be handled, or a subscription can't go on."""


class FatalError(DeliveryError):
    """Raise it (or a subclass) in a handler to say: retrying is of no use. The event is a dead letter at once."""


class BatchFailed(DeliveryError):
    """Raised by a list handler: `failures` maps the index of each failed event to its error; the others are done."""

    def __init__(self, failures: dict[int, BaseException]) -> None:
        named = ", ".join(f"{index}: {error!r}" for index, error in sorted(failures.items())[:5])
        super().__init__(f"{len(failures)} event(s) of the batch failed ({named}); the others take effect.")
        self.failures = failures


class ProcessDied(DeliveryError):
    """The cause of a dead letter whose event ended the process that handled it, each time it was tried."""


class ClaimLostError(DeliveryError):
    """Another process owns the partition now. Nothing of this batch was stored; the owner handles it."""


class LeaseLostError(DeliveryError):
    """Another relay numbers the outbox now. Nothing of this step was stored; its successor sends what has numbers."""


class RegistrationError(DeliveryError):
    """The handlers in this code disagree with those that the store has on record; nothing was handled."""


class BacklogFullError(DeliveryError):
    """Publishing was refused: events that nobody has handled yet fill the topic up to its limit."""


class InfrastructureError(OnwardError):
    """Something below onward failed: a disk, a file, a server."""


class BrokerError(InfrastructureError):
    """The broker failed or refused a request."""


class BrokerUnreachableError(BrokerError):
    """No server of the broker answers."""


class BrokerRefusedError(BrokerError):
    """The broker does not accept who we are, or does not let us do what we asked for."""


class PublishUncertainError(BrokerError):
    """Some of the events may have been published: to publish them again may publish those twice."""


class StoreError(InfrastructureError):
    """The store refused or failed a statement."""


class StoreClosedError(StoreError):
    """We closed it: the store or broker was used after `close`."""


class StoreBusyError(StoreError):
    """Another process held the file's write lock longer than the stated wait. Nothing was written."""


class StoreConflictError(StoreError):
    """Another transaction wanted the same rows, and this one was ended. Nothing was written; it is tried again."""


class StoreFullError(StoreError):
    """The disk (or the file's size limit) is full. Nothing of this transaction was written."""


class StoreUnreachableError(StoreError):
    """The file can't be opened, or its disk failed to read or write."""


class CommitUncertainError(StoreUnreachableError):
    """A commit had no answer: all of the transaction was stored, or nothing. To do it again may do it twice."""


class StoreReadOnlyError(StoreError):
    """The file or its folder can't be written by this user."""


class StoreCorruptError(StoreError):
    """The file is damaged or is not an onward file. onward does not touch it any more."""


class SchemaVersionError(StoreError):
    """The store was written by a newer onward, or lacks a step that this one needs. Nothing was changed in it."""


class TransactionError(StoreError):
    """A transaction was used in a way that would break exactly-once: nothing of the event was stored."""
