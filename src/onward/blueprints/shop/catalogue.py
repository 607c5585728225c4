"""What the interactive shop sells: twelve products with their prices and opening stock."""

from dataclasses import dataclass
from decimal import Decimal

from onward.blueprints.shop.lines import Line


@dataclass(frozen=True, slots=True)
class Product:
    """One product; `picture` names an SVG file among the static files."""

    sku: str
    name: str
    blurb: str
    price: Decimal
    opening_stock: int

    @property
    def picture(self) -> str:
        return f"products/{self.sku.removeprefix('OS-').lower()}.svg"

    def line(self, quantity: int) -> Line:
        """An order line for this product at today's price."""
        return Line(self.sku, self.name, quantity, self.price)


PRODUCTS = (
    Product("OS-LANTERN", "Storm lantern", "Paraffin, brass burner, burns for twenty hours", Decimal("48.00"), 40),
    Product("OS-MUG", "Enamel mug", "Steel core, chip-proof rim, 350 ml", Decimal("12.50"), 200),
    Product("OS-BLANKET", "Wool blanket", "Woven in Wales from new wool", Decimal("89.00"), 30),
    Product("OS-KETTLE", "Copper kettle", "Hand-spun; the smith makes a few a month", Decimal("145.00"), 3),
    Product("OS-NOTEBOOK", "Field notebook", "Stitched, 96 dotted pages, lies flat", Decimal("9.75"), 300),
    Product("OS-PLANT", "Potted fern", "Likes shade and conversation", Decimal("22.00"), 60),
    Product("OS-CLOCK", "Travel clock", "Wind it once a day; one left from the old workshop", Decimal("64.00"), 1),
    Product("OS-CANDLE", "Beeswax candle", "Burns clean, smells faintly of honey", Decimal("14.20"), 150),
    Product("OS-TOTE", "Canvas tote", "Heavy duck canvas, leather handles", Decimal("36.00"), 80),
    Product("OS-VASE", "Stoneware vase", "Thrown and glazed by hand, no two alike", Decimal("54.00"), 12),
    Product("OS-KNIFE", "Bread knife", "Forged, walnut handle, made for decades", Decimal("72.50"), 25),
    Product("OS-RADIO", "Kitchen radio", "One dial, four stations, a warm sound", Decimal("119.00"), 18),
)

BY_SKU = {product.sku: product for product in PRODUCTS}

CARD_LIMIT = Decimal(500)
DECLINED_CARD = "card-0002"
GOOD_CARD = "card-4242"
