#!/usr/bin/env bash
# Runs the tiers that VFSWITCH_TESTS names, all of them where it is not set, with the arguments given.
# What needs no network runs on all cores; networks are built one at a time, with the machine to themselves.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $# -gt 0 ]]; then
    exec .venv/bin/python -m pytest "$@"
fi
tiers=,${VFSWITCH_TESTS:-unit,ovs,mininet},
tiers=${tiers// /}
apart=${tiers//,mininet,/,}
failed=0
if [[ $apart != , ]]; then
    VFSWITCH_TESTS=${apart:1:-1} .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 || failed=1
fi
if [[ $tiers == *,mininet,* ]]; then
    VFSWITCH_TESTS=mininet .venv/bin/python -m pytest || failed=1
fi
exit $failed
