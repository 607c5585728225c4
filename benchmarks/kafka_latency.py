"""From `app.send` to the handler in another process, one event at a time: against a raw producer and consumer, which
wait in the client library's own calls, and against the least that does the same on an event loop, which onward has."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter_ns, sleep

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.harness import Benchmark
from benchmarks.kafka_orders import ANSWER_S, EVENTS, OrderSent, fields, make_topic, servers, service
from benchmarks.latency import READY
from benchmarks.orders import environment, expect
from benchmarks.paces import PACES, UNITS, Busy, Pace, figures
from onward import App

WARM_UP = 50
LOAD_PER_S = 500
TICK_S = 0.01
LOAD = "load"  # the customer of orders that nobody waits for

decode = msgspec.json.Decoder(OrderSent).decode
encode = msgspec.json.Encoder(decimal_format="number").encode


def _measure(side: str, pace: Pace, count: int, folder: Path) -> dict[str, float]:
    make_topic("sent")
    answers = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    answers.bind(str(folder / "answers"))
    answers.settimeout(ANSWER_S)
    command = [sys.executable, "-m", "benchmarks.kafka_latency"]
    started = [subprocess.Popen([*command, side, str(folder)], env=environment())]
    try:
        assert answers.recv(64) == READY
        if pace.others:
            started.append(subprocess.Popen([*command, LOAD, str(folder)], env=environment()))
            assert answers.recv(64) == READY
        busy = Busy([started[0].pid])
        took_ms = asyncio.run(_send(side, pace, count + WARM_UP, folder, answers))[WARM_UP:]
        busy_percent = busy.percent()
    finally:
        for each in started:
            each.terminate()
            each.wait(ANSWER_S)
    expect("orders handled", len(took_ms), count)
    return figures(took_ms, busy_percent)


async def _send(side: str, pace: Pace, count: int, folder: Path, answers: socket.socket) -> list[float]:
    took_ms: list[float] = []
    app = service(folder, "sent")
    send = {"raw": _raw_sender, "loop": _loop_sender}.get(side, lambda: app.send)()
    for number in range(count):
        event = OrderSent(**fields(number))
        await pace.pause()
        began = perf_counter_ns()
        await send(event)
        order_id, handled = answers.recv(64).split()  # the clock is the machine's: both processes read the same
        assert order_id.decode() == event.order_id
        took_ms.append((int(handled) - began) / 1e6)
    await app.close()
    return took_ms


def _raw_sender() -> Callable[[object], Awaitable[None]]:
    producer = _producer()

    async def send(event: object) -> None:
        assert isinstance(event, OrderSent)
        producer.produce("sent", encode(event), event.order_id.encode())
        assert producer.flush(ANSWER_S) == 0

    return send


def _loop_sender() -> Callable[[object], Awaitable[None]]:
    """A thread hears what Kafka answers, and tells the event loop."""
    producer = _producer()
    loop = asyncio.get_running_loop()

    def hear() -> None:
        while True:
            producer.poll(0.2)

    async def send(event: object) -> None:
        assert isinstance(event, OrderSent)
        there: asyncio.Future[None] = loop.create_future()

        def told(*_answer: object) -> None:
            loop.call_soon_threadsafe(there.set_result, None)

        producer.produce("sent", encode(event), event.order_id.encode(), on_delivery=told)
        await there

    threading.Thread(target=hear, daemon=True).start()
    return send


def _producer() -> Producer:
    """One that waits for no more messages before it sends."""
    options = {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 0}
    return Producer({"bootstrap.servers": servers(), **options})


def _consume_raw(folder: Path) -> None:
    answer = answering(folder)
    _poll(folder, answer, lambda value: reply(decode(value), answer))


async def _consume_on_a_loop(folder: Path) -> None:
    """A thread polls, and the event loop begins a task for what comes."""
    answer = answering(folder)
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(order: OrderSent) -> None:
        reply(order, answer)

    def begin(value: bytes) -> None:
        task = loop.create_task(handle(decode(value)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    polled = partial(_poll, folder, answer, lambda value: loop.call_soon_threadsafe(begin, value))
    threading.Thread(target=polled, daemon=True).start()
    await asyncio.Event().wait()


def _poll(folder: Path, answer: socket.socket, take: Callable[[bytes], object]) -> None:
    options = {"group.id": folder.name, "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    consumer = Consumer({"bootstrap.servers": servers(), **options})

    def assigned(_consumer: Consumer, _places: list[TopicPartition]) -> None:
        answer.send(READY)

    consumer.subscribe(["sent"], on_assign=assigned)
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            take(message.value() or b"")


async def _consume_by_onward(folder: Path) -> None:
    answer = answering(folder)
    app = service(folder, "sent")

    async def handle(order: OrderSent) -> None:
        reply(order, answer)

    app.on(EVENTS["sent"])(handle)
    await serve(app, answer)


async def serve(app: App, answer: socket.socket) -> None:
    """Handle events for ever; READY is answered once all partitions are held."""
    async with app.lifespan() as running:
        assert running is not None
        while not all(running.snapshot()["partitions"].values()):  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.01)
        answer.send(READY)
        await asyncio.Event().wait()


def reply(order: OrderSent, answer: socket.socket) -> None:
    """Which order is handled, and when; nothing where it is one of the load."""
    if order.customer_id != LOAD:
        answer.send(b"%s %d" % (order.order_id.encode(), perf_counter_ns()))


def answering(folder: Path) -> socket.socket:
    """Where the measuring process hears of what is handled."""
    answer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    answer.connect(str(folder / "answers"))
    return answer


def _load(folder: Path) -> None:
    """LOAD_PER_S orders, in bursts of one tick; READY is answered when the first are on their way."""
    producer, answer = _producer(), answering(folder)
    number, began = 0, monotonic()
    while True:
        while number < (monotonic() - began) * LOAD_PER_S:
            order = OrderSent(**{**fields(number), "customer_id": LOAD})
            producer.produce("sent", encode(order), order.order_id.encode())
            number += 1
            if number == 1:
                answer.send(READY)
        producer.poll(0)
        sleep(TICK_S)


BENCHMARKS = [
    Benchmark(
        f"send to handled on Kafka, {pace.name}",
        {
            "raw producer and consumer": partial(_measure, "raw", pace),
            "the same on an event loop": partial(_measure, "loop", pace),
            "onward": partial(_measure, "onward", pace),
        },
        UNITS,
        1000,
        20,
        against="raw producer and consumer",
        rounds=pace.rounds,
    )
    for pace in PACES
]

if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        if sys.argv[1] == "raw":
            _consume_raw(Path(sys.argv[2]))
        elif sys.argv[1] == "loop":
            asyncio.run(_consume_on_a_loop(Path(sys.argv[2])))
        elif sys.argv[1] == LOAD:
            _load(Path(sys.argv[2]))
        else:
            asyncio.run(_consume_by_onward(Path(sys.argv[2])))
