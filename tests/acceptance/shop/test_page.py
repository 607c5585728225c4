"""The page in a real browser: a basket, an order, its journey live, refusals, and a service stopped and started."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.acceptance.shop.shop_process import ShopProcess, environment, running

pytestmark = pytest.mark.requires_chromium

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 15_000


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ShopProcess]:
    with running(tmp_path, "--port", "0", "--json") as process:
        yield process


@pytest.fixture
def page(browser: Browser, shop: ShopProcess) -> Iterator[Page]:
    """The shop's page; a test fails when the page reports any error, and when it is loaded anew."""
    context = browser.new_context(viewport={"width": DESKTOP["width"], "height": DESKTOP["height"]})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    troubles: list[str] = []
    loads: list[str] = []
    found = context.new_page()
    found.on("pageerror", lambda error: troubles.append(str(error)))
    found.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    found.on("load", lambda _: loads.append(found.url))
    found.goto(shop.line()["address"])
    expect(found.get_by_text("Live", exact=True)).to_be_visible()
    expect(found.locator(".stock[data-level=none]")).to_have_count(0)
    expect(found.locator(".stock[data-level=few]")).to_have_count(2)
    yield found
    context.close()
    assert troubles == []
    assert len(loads) == 1


def add(page: Page, product: str, times: int = 1) -> None:
    for _ in range(times):
        page.get_by_role("button", name=f"Add {product} to the basket").click()


def order(page: Page, product: str, times: int = 1, *, pay: str = "Card ending 4242") -> Locator:
    """Order a product and return the card of the order's journey."""
    before = page.locator(".journey").count()
    add(page, product, times)
    page.get_by_label(pay).check()
    page.get_by_role("button", name="Place order").click()
    expect(page.locator(".journey")).to_have_count(before + 1)
    return page.locator(f'.journey[data-order="OS-{1001 + before}"]')


def steps(journey: Locator) -> list[str]:
    return journey.locator(".step b").all_inner_texts()


def service(page: Page, name: str) -> Locator:
    return page.locator(f'.service[data-service="{name}"]')


def figure(card: Locator, name: str) -> Locator:
    return card.locator("div", has=card.page.locator("dt", has_text=name)).locator("dd")


def test_an_order_goes_from_the_basket_to_its_dispatch_without_a_reload(page: Page) -> None:
    add(page, "Enamel mug", 2)
    add(page, "Wool blanket")
    expect(page.locator("#basket-total")).to_have_text("£114.00")
    page.get_by_role("button", name="One Enamel mug less").click()
    expect(page.locator("#basket-total")).to_have_text("£101.50")
    page.get_by_role("button", name="Place order").click()
    journey = page.locator('.journey[data-order="OS-1001"]')
    expect(journey.locator(".headline")).to_have_text("On its way")
    assert sorted(steps(journey)) == [
        "Order placed",
        "Parcel dispatched",
        "Parcel opened",
        "Payment taken",
        "Stock reserved",
    ]
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    expect(page.locator("#announcer")).to_contain_text("Order OS-1001")


def test_a_shortage_and_a_declined_card_show_what_they_undo(page: Page) -> None:
    short = order(page, "Travel clock", 2)
    expect(short.locator(".headline")).to_have_text(re.compile("Out of stock, (refunded|never charged)"))
    assert {"Payment refunded", "Payment voided"} & set(steps(short))
    expect(short).to_contain_text("Parcel abandoned")
    declined = order(page, "Bread knife", pay="Card ending 0002")
    expect(declined.locator(".headline")).to_have_text("Payment declined, stock released")
    expect(declined).to_contain_text("Parcel abandoned")
    beyond = order(page, "Kitchen radio", 5)
    expect(beyond.locator(".headline")).to_have_text("Payment declined, stock released")
    expect(beyond).to_contain_text("Over the card limit of £500.00")
    bought = order(page, "Travel clock")
    expect(bought.locator(".headline")).to_have_text("On its way")
    expect(page.locator(".product", has_text="Travel clock").locator(".stock")).to_have_text("Sold out")
    page.get_by_role("button", name="Restock the shelves").click()
    expect(page.locator(".product", has_text="Travel clock").locator(".stock")).to_have_text("Only 1 left")


def test_a_stopped_service_catches_up_and_the_others_go_on(page: Page) -> None:
    payment = service(page, "payment")
    payment.get_by_role("button", name="Stop payment").click()
    expect(payment.locator(".run-state")).to_have_text("stopped")
    waiting = order(page, "Canvas tote")
    expect(waiting.locator(".lane", has_text="Inventory")).to_contain_text("Stock reserved")
    expect(waiting.locator(".lane", has_text="Payment")).to_contain_text("Service is stopped")
    expect(waiting.locator(".headline")).to_have_text("In progress")
    page.get_by_role("button", name="Send 250 orders at once").click()
    expect(figure(payment, "Lag")).not_to_have_text("0")
    expect(figure(service(page, "inventory"), "Lag")).to_have_text("0")
    assert "Payment taken" not in steps(waiting)
    payment.get_by_role("button", name="Start payment").click()
    expect(waiting.locator(".headline")).to_have_text("On its way")
    expect(figure(payment, "Lag")).to_have_text("0")
    expect(figure(payment, "Failures")).to_have_text("0")


def test_a_fourth_service_joins_the_open_shop(page: Page, shop: ShopProcess) -> None:
    journey = order(page, "Wool blanket")
    expect(journey.locator(".headline")).to_have_text("On its way")
    loyalty = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "onward", "run", "onward.blueprints.shop.loyalty:app"],
        cwd=shop.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        expect(journey).to_contain_text("89 points earned")
        expect(service(page, "loyalty")).to_contain_text("Runs in another terminal")
        later = order(page, "Enamel mug")
        expect(later).to_contain_text("12 points earned")
    finally:
        loyalty.terminate()
        assert loyalty.wait(timeout=30) == 0


def test_ctrl_c_closes_the_shop_under_an_open_page_and_says_what_was_done(browser: Browser, shop: ShopProcess) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(shop.line()["address"])
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(order(page, "Enamel mug").locator(".headline")).to_have_text("On its way")
    shop.interrupt()
    code, output = shop.ended()
    assert code == 0, shop.errors.read_text()
    said = [json.loads(line) for line in output.splitlines()]
    assert [(line["service"], line["dead"]) for line in said] == [("inventory", 0), ("payment", 0), ("shipping", 0)]
    assert all(line["handled"] >= 1 for line in said)
    expect(page.get_by_text("Connection lost, trying again")).to_be_visible()
    context.close()


def test_the_page_is_usable_by_keyboard_and_fits_a_phone(page: Page, tmp_path: Path) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the products")).to_be_focused()
    add_button = page.get_by_role("button", name="Add Storm lantern to the basket")
    add_button.focus()
    page.keyboard.press("Enter")
    more = page.get_by_role("button", name="One Storm lantern more")
    more.focus()
    page.keyboard.press("Space")
    expect(more).to_be_focused()
    expect(page.locator("#basket-total")).to_have_text("£96.00")
    page.get_by_role("button", name="Place order").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".journey .headline")).to_have_text("On its way")
    page.screenshot(path=tmp_path / "desktop.png")
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    small = page.evaluate(
        "[...document.querySelectorAll('button, .dock a')].filter((one) => one.offsetParent)"
        ".filter((one) => one.offsetHeight < 40).map((one) => one.textContent)"
    )
    assert small == []
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
