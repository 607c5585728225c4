#!/bin/sh
# Runs every test this machine can run; with arguments, only what they select.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
if [ $# -gt 0 ]; then
    exec "$python" -m pytest "$@"
fi
sh scripts/install_browser.sh
if [ "${CI:-}" = true ]; then
    { sh scripts/install_servers.sh pooler && "$python" -m scripts.servers.kafka_jars; } ||
        echo "The tests that need these servers will fail; the others go on."
fi

echo "Branch coverage of the pure layers, which must be 100 % ..."
covered=yes
# Started before pytest: its plugins import onward, and those lines would count as never run.
"$python" -m coverage run -m pytest -q --durations=0 --durations-min=5 \
    tests/unit/events tests/unit/ledger tests/unit/test_policy.py tests/unit/test_ids.py tests/unit/test_partitioning.py \
    tests/unit/test_delays.py tests/unit/test_outgoing.py tests/unit/test_settings.py tests/unit/test_topics.py &&
    "$python" -m coverage report || covered=no
[ $covered = yes ] || echo "That fell short, so this run will fail; the other tests go on."

"$python" -m pytest
[ $covered = yes ]
