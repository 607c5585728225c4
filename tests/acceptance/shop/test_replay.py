"""Real orders, replayed: every sum is the one that a few lines of plain Python find in the same file."""

import csv
import gzip
import shutil
import signal
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.shop.shop_process import rows, run, running, until

PUBLISHED = "SELECT published FROM replay_file"


class Plain:
    """The sums, found the plain way."""

    def __init__(self, path: Path) -> None:
        with gzip.open(path, "rt", encoding="cp1252", newline="") as text:
            lines = [
                (line["InvoiceNo"], int(line["Quantity"]), Decimal(line["UnitPrice"])) for line in csv.DictReader(text)
            ]
        self.money = sum(quantity * price for _, quantity, price in lines)
        self.units = sum(quantity for _, quantity, _ in lines)
        self.refunded = -sum(quantity * price for invoice, quantity, price in lines if invoice.startswith("C"))
        self.returned = -sum(quantity for invoice, quantity, _ in lines if invoice.startswith("C"))
        self.orders = len({invoice for invoice, _, _ in lines if not invoice.startswith("C")})
        self.cancellations = len({invoice for invoice, _, _ in lines if invoice.startswith("C")})


@pytest.fixture(scope="module")
def plain(orders_csv: Path) -> Plain:
    return Plain(orders_csv)


REAL_MONEY = Decimal("841344.33")
MADE_INVOICES = 120


def make_orders(path: Path) -> None:
    """Invoices like the real ones, always the same: some are returned in part, some lines come late, some twice."""
    random = Random(20_101_201)
    lines = ["InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country"]
    late: list[str] = []
    for number in range(536_365, 536_365 + MADE_INVOICES):
        customer = random.choice(["", str(random.randrange(12_346, 12_400))])
        for _ in range(random.randint(1, 12)):
            sku, price = f"{random.randrange(84_000, 84_060)}B", Decimal(random.randrange(1, 9_999)) / 100
            bought = random.randint(1, 60)
            line = f'{number},{sku},"CREAM ""CUPID"" HEARTS, SET",{bought},{price},{customer},France'
            (late if random.random() < 0.05 else lines).extend([line] * random.choice([1, 1, 1, 2]))
            if random.random() < 0.1:
                back = random.randint(1, bought)
                late.append(f"C{number},{sku},CREAM CUPID HEARTS,-{back},{price},{customer},France")
    path.write_bytes(gzip.compress("\n".join(lines + late).encode("cp1252")))


def assert_exact(said: dict[str, object], plain: Plain, money: Decimal = REAL_MONEY) -> None:
    assert isinstance(said["payment"], dict)
    assert isinstance(said["inventory"], dict)
    assert isinstance(said["audit"], dict)
    assert Decimal(said["payment"]["net_money"]) == plain.money == money
    assert Decimal(said["payment"]["refunded"]) == plain.refunded
    assert said["inventory"]["net_units"] == plain.units
    assert said["inventory"]["returned"] == plain.returned
    assert (said["orders"], said["cancellations"]) == (plain.orders, plain.cancellations)
    assert said["differences"] == []
    assert said["audit"]["balanced"]
    assert said["exact"]
    assert said["code"] == 0


def effects(folder: Path) -> dict[str, object]:
    """The services' effects, counted in their own tables and not in their books."""
    ((charged, taken_e4),) = rows(
        folder, "SELECT SUM(charges), SUM(amount_e4) FROM payment_order WHERE state = 'taken'"
    )
    ((refunds, refunded_e4),) = rows(folder, "SELECT SUM(times), SUM(amount_e4) FROM payment_return")
    ((free,),) = rows(folder, "SELECT SUM(free) FROM inventory_stock")
    return {
        "charged": charged,
        "refunds": refunds,
        "money": Decimal(taken_e4 - refunded_e4) / 10_000,
        "units": -free,
    }


def expected(plain: Plain) -> dict[str, object]:
    return {"charged": plain.orders, "refunds": plain.cancellations, "money": plain.money, "units": plain.units}


def test_totals_of_a_replay_are_those_of_the_file(orders_csv: Path, plain: Plain, tmp_path: Path) -> None:
    said = run(tmp_path, "--orders", str(orders_csv))
    assert_exact(said, plain)
    assert effects(tmp_path) == expected(plain)
    assert said["shipping"]["open_parcels"] == 0
    assert said["rejected"] == 0


def test_totals_of_made_up_orders_are_those_of_their_file_though_killed_in_the_middle(tmp_path: Path) -> None:
    made = tmp_path / "made.csv.gz"
    make_orders(made)
    plain, money = Plain(made), Decimal("1301457.68")
    assert plain.orders == MADE_INVOICES
    assert plain.cancellations > 10
    with running(tmp_path, "--orders", str(made), "--json") as shop:
        until(lambda: rows(tmp_path, PUBLISHED) >= [(1,)], "one is published")
        shop.kill()
    assert_exact(run(tmp_path, "--orders", str(made)), plain, money)
    assert effects(tmp_path) == expected(plain)


@pytest.mark.parametrize("killed_at", [1, 900, 1900])
def test_a_replay_killed_in_the_middle_ends_with_the_same_totals(
    orders_csv: Path, plain: Plain, tmp_path: Path, killed_at: int
) -> None:
    with running(tmp_path, "--orders", str(orders_csv), "--json") as shop:
        until(lambda: rows(tmp_path, PUBLISHED) >= [(killed_at,)], "enough is published")
        shop.kill()
    assert shop.process.returncode == -signal.SIGKILL, "it had ended by itself before"
    assert_exact(run(tmp_path, "--orders", str(orders_csv)), plain)
    assert effects(tmp_path) == expected(plain)


def test_ctrl_c_drains_says_what_it_did_and_the_same_command_goes_on(
    orders_csv: Path, plain: Plain, tmp_path: Path
) -> None:
    with running(tmp_path, "--orders", str(orders_csv)) as shop:
        until(lambda: rows(tmp_path, PUBLISHED) >= [(300,)], "enough is published")
        shop.interrupt()
        code, output = shop.ended()
    ((published,),) = rows(tmp_path, PUBLISHED)
    assert code == 3
    assert f"Stopped with {published:,} of 2,342 invoices published" in output
    assert_exact(run(tmp_path, "--orders", str(orders_csv)), plain)
    assert effects(tmp_path) == expected(plain)


def test_a_second_replay_of_the_same_file_changes_nothing(orders_csv: Path, plain: Plain, tmp_path: Path) -> None:
    run(tmp_path, "--orders", str(orders_csv))
    assert_exact(run(tmp_path, "--orders", str(orders_csv)), plain)
    assert effects(tmp_path) == expected(plain)


def test_rows_in_any_order_come_to_the_same_totals(orders_csv: Path, plain: Plain, tmp_path: Path) -> None:
    header, *lines = gzip.decompress(orders_csv.read_bytes()).splitlines(keepends=True)
    Random(7).shuffle(lines)
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_bytes(header + b"".join(lines))
    assert_exact(run(tmp_path, "--orders", str(shuffled)), plain)
    assert effects(tmp_path) == expected(plain)


BAD_ROWS = b"""nonsense
536365,85123A,HEART,six,2.55,17850,United Kingdom
536365,85123A,HEART,6,NaN,17850,United Kingdom
,85123A,HEART,6,2.55,17850,United Kingdom
536365,85123A,"HEART,6,2.55,17850,United Kingdom
536365,85123A,HEART,0,2.55,17850,United Kingdom
"""


def test_rows_that_cannot_be_order_lines_are_reported_kept_and_stop_nothing(
    orders_csv: Path, plain: Plain, tmp_path: Path
) -> None:
    header, rest = gzip.decompress(orders_csv.read_bytes()).split(b"\n", 1)
    dirty = tmp_path / "dirty.csv"
    dirty.write_bytes(header + b"\n" + BAD_ROWS + rest)
    with running(tmp_path, "--orders", str(dirty)) as shop:
        code, output = shop.ended()
        told = shop.errors.read_text()
    assert code == 0, told
    assert "£841,344.33" in output
    assert "6 rows were left out; each is in dirty.rejects.csv with its reason" in " ".join(output.split())
    assert "line 3: Quantity 'six' is not a whole number" in told
    with (tmp_path / "dirty.rejects.csv").open(encoding="utf-8", newline="") as kept:
        rejects = list(csv.DictReader(kept))
    assert [int(reject["line"]) for reject in rejects] == [2, 3, 4, 5, 6, 7]
    assert [reject["original"] for reject in rejects] == BAD_ROWS.decode().splitlines()
    assert_exact({**run(tmp_path, "--orders", str(dirty)), "rejected": 6}, plain)


def test_a_file_that_is_no_orders_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with running(tmp_path, "--orders", "other.csv") as shop:
        code, _ = shop.ended()
        assert "must name the columns InvoiceNo" in shop.errors.read_text()
    assert code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv", "stderr.txt"]


def test_the_file_of_orders_is_never_replaced_by_its_rejects(orders_csv: Path, tmp_path: Path) -> None:
    orders = tmp_path / "orders.csv.gz"
    shutil.copy(orders_csv, orders)
    with running(tmp_path, "--orders", str(orders), "--rejects", str(orders)) as shop:
        code, _ = shop.ended()
        assert "No order was published; name another file with --rejects" in shop.errors.read_text()
    assert code == 1
    assert orders.read_bytes() == orders_csv.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["orders.csv.gz", "stderr.txt"]


def test_a_copy_under_another_name_is_the_same_file(orders_csv: Path, plain: Plain, tmp_path: Path) -> None:
    run(tmp_path, "--orders", str(orders_csv))
    copy = tmp_path / "copy.csv.gz"
    shutil.copy(orders_csv, copy)
    assert_exact(run(tmp_path, "--orders", str(copy)), plain)
    assert effects(tmp_path) == expected(plain)
