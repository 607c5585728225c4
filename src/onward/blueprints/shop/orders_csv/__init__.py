"""Reading orders from CSV files as real shops write them: streaming, exact, and never stopped by a bad row."""

from onward.blueprints.shop.orders_csv.errors import OrdersFileError
from onward.blueprints.shop.orders_csv.invoices import Invoice, read_invoices
from onward.blueprints.shop.orders_csv.records import Reject
from onward.blueprints.shop.orders_csv.rejects import rejects_file
from onward.blueprints.shop.orders_csv.survey import Survey, Total, take_survey

__all__ = ["Invoice", "OrdersFileError", "Reject", "Survey", "Total", "read_invoices", "rejects_file", "take_survey"]
