#!/usr/bin/env bash
# regenerate.sh : writes the files that are printed from the program's own tables.
# tests/python/test_config_command.py fails when one of them differs.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-build/mistral}
mkdir -p stacks/mistral/config/mistral docs profiles
env -i "$program" config print --format env --stack > stacks/mistral/.env.example
env -i "$program" config print --format toml --stack > stacks/mistral/config/mistral/config.toml
env -i "$program" config print --format markdown > docs/configuration.md
for name in $(env -i "$program" config profile | sed 's/ .*//' | grep -v '^auto$'); do
    env -i "$program" config profile "$name" > "profiles/$name.toml"
done
