"""Finding an App by the name given on the command line."""

from __future__ import annotations

import importlib
import sys
from functools import reduce

from onward.app import App
from onward.errors import DeclarationError

DEFAULT_ATTRIBUTE = "app"


def load(target: str) -> App:
    """The App that "module:attribute" names, imported with the working folder on the path; "module" means its `app`.

    Raises DeclarationError when there is none; an error of the user's own module passes on as it is.
    """
    module_name, _, attribute = target.partition(":")
    attribute = attribute or DEFAULT_ATTRIBUTE
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        raise DeclarationError(
            f"There is no module {error.name!r} for {target!r}. Write MODULE:ATTRIBUTE as Python would import it from"
            " this folder, such as inventory:app for inventory.py."
        ) from error
    except (ValueError, TypeError) as error:
        raise DeclarationError(f"{target!r} is not MODULE:ATTRIBUTE, such as inventory:app.") from error
    try:
        found: object = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        apps = [name for name, value in vars(module).items() if isinstance(value, App)]
        has = f"it has {', '.join(apps)}" if apps else "it declares no App"
        raise DeclarationError(f"Module {module_name!r} has no {attribute!r}; {has}.") from error
    if not isinstance(found, App):
        raise DeclarationError(f"{target!r} is a {type(found).__name__}, not an App. Name the App itself.")
    return found
