#!/usr/bin/env bash
# Creates the virtual environment named by the first argument from requirements.lock, with hashes checked.
# Uses uv where it is present and installs it by name where it can; plain venv and pip do as well.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local name
    for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            printf '%s' "$name"
            return
        fi
    done
    say "Strata needs Python 3.11, 3.12 or 3.13, and none was found."
    say "  repair: apt-get install python3 python3-venv     (or set PYTHON to one)"
    exit 1
}

python=$(find_python)
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    say "Python $version is here, but it can't create virtual environments."
    say "  repair: apt-get install python$version-venv"
    exit 1
fi

# uv brings certificates of its own; this machine's also hold those of a company's proxy or mirror.
bundle=/etc/ssl/certs/ca-certificates.crt
if [ -z "${SSL_CERT_FILE:-}" ] && [ -s "$bundle" ]; then
    export SSL_CERT_FILE=$bundle
fi

started=$SECONDS
say "Creating $venv with $("$python" --version 2>&1) ..."
"$python" -m venv --clear "$venv"
uv=$(command -v uv || true)
if [ -z "$uv" ] && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv 2>/dev/null; then
    uv="$venv/bin/uv"
fi
if [ -n "$uv" ]; then
    "$uv" pip install --quiet --python "$venv/bin/python" --require-hashes --compile-bytecode -r requirements.lock
    "$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
else
    say "Installing with pip, which takes a few minutes (uv would take seconds) ..."
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
# What the package installers do for everything else: compile our own modules, and parse the models.
"$venv/bin/python" -m compileall -q orchestration assets expectations sensors segmentation
"$venv/bin/python" -m orchestration.dbt_project >/dev/null
say "Ready after $((SECONDS - started)) s."
