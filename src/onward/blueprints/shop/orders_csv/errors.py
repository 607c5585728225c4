"""The one error of reading orders: the file as a whole can't be used. A bad row is never an error."""

from onward.errors import OnwardError


class OrdersFileError(OnwardError):
    """The file of orders can't be read as one: it is absent, damaged, or has other columns. Nothing was published."""
