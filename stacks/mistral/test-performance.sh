#!/usr/bin/env bash
# test-performance.sh : says whether this folder's settings can work on this machine, and how fast at best.
# The work is in 'mistral check'; arguments (--quick, --json, a model) go to it.
set -euo pipefail
cd "$(dirname "$0")"
program=${MISTRAL_PROGRAM:-../../build/mistral}
if [ ! -x "$program" ]; then
    program=mistral
fi
settings=(--config config/mistral/config.toml)
if [ -f .env ]; then
    settings+=(--env-file .env)
else
    echo "no .env here: cp .env.example .env, to set what this machine needs" >&2
fi
exec "$program" check "${settings[@]}" "$@"
