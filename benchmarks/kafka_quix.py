"""Quix Streams, run by a Python that has it: counts events per key and puts each count out, exactly once."""

import json
import sys
from time import perf_counter, process_time
from typing import Any

from quixstreams import Application


def main() -> None:
    servers, group, source, target, count, folder, commit_s = sys.argv[1:]
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=folder,
        commit_interval=float(commit_s),
        loglevel="ERROR",
    )
    times: list[tuple[float, float]] = []

    def counted(_order: Any, state: Any) -> dict[str, int]:
        if not times:
            times.append((perf_counter(), process_time()))
        found = int(state.get("count", 0)) + 1
        state.set("count", found)
        return {"count": found}

    orders = app.dataframe(app.topic(source, key_deserializer="str", value_deserializer="json"))
    orders.apply(counted, stateful=True).to_topic(app.topic(target, key_serializer="str", value_serializer="json"))
    app.run(count=int(count))
    ((began, cpu_began),) = times
    values = {
        "rate": int(count) / (perf_counter() - began),
        "CPU": (process_time() - cpu_began) / int(count) * 1e6,
    }
    print(json.dumps(values))


if __name__ == "__main__":
    main()
