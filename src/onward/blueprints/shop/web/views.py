"""The shop's data as the page gets it: plain JSON, money as text made for people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from onward.blueprints.shop.catalogue import BY_SKU, CARD_LIMIT, PRODUCTS
from onward.blueprints.shop.journey import standing
from onward.blueprints.shop.money import pounds
from onward.blueprints.shop.web.control import ServiceState
from onward.blueprints.shop.web.desk import OrderView

Json = dict[str, Any]


def catalogue_view(levels: Mapping[str, int]) -> Json:
    """All products with prices in pence, and how many of each are free; None where that is not known yet."""
    products = [
        {
            "sku": product.sku,
            "name": product.name,
            "blurb": product.blurb,
            "pence": int(product.price * 100),
            "picture": f"/static/{product.picture}",
            "free": levels.get(product.sku),
        }
        for product in PRODUCTS
    ]
    return {"products": products, "card_limit_pence": int(CARD_LIMIT * 100)}


def order_view(order: OrderView) -> Json:
    """One order, its journey, and how it stands."""
    stands = standing(order.steps)
    return {
        "id": order.order_id,
        "customer": order.customer,
        "placed_at": datetime.fromtimestamp(order.placed_at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "total": pounds(order.total),
        "lines": [
            {
                "name": line.description,
                "quantity": line.quantity,
                "picture": f"/static/{BY_SKU[line.sku].picture}" if line.sku in BY_SKU else None,
            }
            for line in order.lines
        ],
        "headline": stands.headline,
        "tone": stands.tone.value,
        "settled": stands.settled,
        "lanes": [{"service": lane.service, "label": lane.label, "tone": lane.tone.value} for lane in stands.lanes],
        "steps": [{**asdict(step), "tone": step.tone.value} for step in order.steps],
    }


def services_view(services: Iterable[ServiceState]) -> Sequence[Json]:
    """Each service's figures; a rate is rounded to one decimal place."""
    return [
        {**asdict(service), "state": service.state.value, "rate_per_s": round(service.rate_per_s, 1)}
        for service in services
    ]
