#!/bin/sh
# Writes requirements/*.lock from pyproject.toml: pinned, hashed, for every platform, naming no index.
# Pins stay as they are unless asked for: `sh scripts/lock.sh --upgrade` takes the newest releases.
set -eu
cd "$(dirname "$0")/.."
[ -x "${UV:=.venv/bin/uv}" ] || { echo "There is no $UV; run 'make lock'." >&2; exit 1; }

compile() {
    name=$1
    shift
    echo "Locking requirements/$name.lock ..."
    "$UV" pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o "requirements/$name.lock" "$@"
}

compile test --all-extras --group test --group lint --group build "$@"
# The others agree with it wherever they overlap, so that one .venv can hold them all.
compile demo --extra demo --group build -c requirements/test.lock "$@"
compile bench --all-extras --group bench --group build -c requirements/test.lock "$@"

# These agree with nothing: uv is a tool, and Quix Streams has an environment of its own.
for name in lock quix; do
    echo "Locking requirements/$name.lock ..."
    "$UV" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --group "$name" -o "requirements/$name.lock" "$@"
done
