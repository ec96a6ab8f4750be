#!/usr/bin/env bash
# Makes or renews .venv from requirements.lock and installs the project into it, editable.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's mininet module belongs to the system interpreter, so the environment stands on that one.
python=${PYTHON:-/usr/bin/python3}

# A copied or moved tree carries an environment whose scripts point elsewhere; it is made anew.
if [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2> /dev/null)" != "$PWD/.venv" ] \
    || ! grep -qF "$PWD/.venv/bin/python" .venv/bin/pip 2> /dev/null; then
    echo "Making .venv with $python"
    "$python" -m venv --clear --system-site-packages .venv
fi

pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input)
echo "Installing requirements.lock"
"${pip[@]}" install --quiet --use-pep517 --no-deps --require-hashes -r requirements.lock
"${pip[@]}" install --quiet --no-deps --no-build-isolation --editable .
