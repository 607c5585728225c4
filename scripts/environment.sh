#!/bin/sh
# Makes .venv hold what SET needs (demo, test, bench or lock), at the versions and hashes of requirements/SET.lock.
# Safe to repeat: done once, it returns at once until a lock file, pyproject.toml or the checkout's place changes.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONHOME PYTHONPATH
set_name=$1
lock=requirements/$set_name.lock
python=.venv/bin/python

stop() {
    printf '%s\n' "$*" >&2
    exit 1
}

digest() {
    { pwd -P; cat pyproject.toml "requirements/$1.lock"; } | cksum
}

holds() {
    [ -f ".venv/.holds-$1" ] && [ "$(cat ".venv/.holds-$1")" = "$(digest "$1")" ] && [ -x "$python" ]
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    incomplete=
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        new_enough "$name" || continue
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$name"
            return
        fi
        incomplete=${incomplete:-$name}
    done
    [ -z "$incomplete" ] ||
        stop "$incomplete is new enough but lacks the venv module (on Debian or Ubuntu: apt install python3-venv)." \
            "Install it, or name another Python with PYTHON=..."
    stop "onward needs Python 3.11 or newer and found none${PYTHON:+ as $PYTHON}." \
        "Install one (python.org, or your system's packages), or name it: make demo PYTHON=/path/to/python3"
}

# Commands in .venv/bin name the place they were made in, so a moved checkout needs a new one.
sound() {
    [ -x "$python" ] && grep -qF "$(pwd -P)/.venv" .venv/pyvenv.cfg && new_enough "$python" &&
        "$python" -m pip --version >/dev/null 2>&1
}

make_venv() {
    found=$(find_python)
    if [ -e .venv ] && [ ! -f .venv/pyvenv.cfg ]; then
        stop ".venv is there and is no virtual environment; move it away and run this again."
    fi
    printf 'Making .venv with %s ...\n' "$("$found" --version)"
    "$found" -m venv --clear .venv
}

show_progress() {
    total=$1
    count=0
    while read -r verb what _; do
        case $verb in
        Collecting)
            count=$((count + 1))
            if [ -t 1 ]; then
                printf '\r\033[K  %d/%d %s' "$count" "$total" "${what%%==*}"
            elif [ $((count % 10)) -eq 0 ]; then
                printf '  %d/%d\n' "$count" "$total"
            fi
            ;;
        Installing)
            [ ! -t 1 ] || printf '\r\033[K'
            printf '  unpacking ...\n'
            ;;
        esac
    done
    [ ! -t 1 ] || printf '\r\033[K'
}

install_lock() {
    total=$(grep -c '^[a-zA-Z0-9].*==' "$lock")
    printf 'Installing %d pinned packages for %s ...\n' "$total" "$set_name"
    {
        "$python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
            --only-binary :all: --require-hashes -r "$lock" && : >.venv/.installed
    } | show_progress "$total"
    [ -f .venv/.installed ] || stop "Installing from $lock failed; what pip said is above. Mend that and run this again."
    rm .venv/.installed
}

if holds "$set_name" || { [ "$set_name" = demo ] && holds test; }; then
    exit 0
fi
rm -f ".venv/.holds-$set_name" .venv/.installed
if ! sound; then
    make_venv
fi
install_lock
if [ "$set_name" != lock ]; then
    "$python" -m pip install --disable-pip-version-check --no-input --quiet --no-deps --no-build-isolation -e .
fi
digest "$set_name" >".venv/.holds-$set_name"
