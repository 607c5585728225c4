"""The version of this package; read here, since asking the installed metadata for it takes ten milliseconds."""

from typing import Final

VERSION: Final = "0.1.0"
