"""Adapters whose client libraries come with extras, imported when something names them."""

from __future__ import annotations

import importlib
from types import ModuleType

from onward.errors import MissingExtraError


def adapter(module: str) -> ModuleType:
    """This module. Raises MissingExtraError where its client library is not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise MissingExtraError("A broker on Kafka needs the extra `kafka`: pip install 'onward[kafka]'.") from error
