"""A shop: stock, payment and shipping each react to an order by themselves, and every effect happens once.

`events` is what they tell each other; `inventory`, `payment` and `shipping` are services; `loyalty` is one more that
may join a running shop; `storefront` is the page; `replay` publishes real orders from a file.
"""
