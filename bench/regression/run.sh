#!/usr/bin/env bash
# run.sh - counts the kernels' instructions and holds them to the committed counts.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

usage() {
    cat <<'TEXT'
usage: bench/regression/run.sh [--update]

Runs 'mistral bench kernels --instructions' (the program named by MISTRAL, else build/mistral) and compares
with bench/regression/ARCHITECTURE-COMPILER.json: 1 when a kernel takes over 5 % more instructions.
Counts depend on the compiler; where none are committed for this one, they are printed and nothing is judged.
  --update   writes this machine's counts there, when a change is meant
TEXT
}

MISTRAL=${MISTRAL:-$PROJECT_ROOT/build/mistral}
ALLOWED=5%

compiler() {
    local version
    version=$(cc --version | head -n 1)
    case $version in
        *clang*) say "clang$(cc -dumpversion | cut -d. -f1)" ;;
        *) say "gcc$(cc -dumpversion | cut -d. -f1)" ;;
    esac
}

main() {
    local bounds counted
    bounds="$PROJECT_ROOT/bench/regression/$(uname -m)-$(compiler).json"
    counted=$(mktemp)
    # shellcheck disable=SC2064 # the name as it is now
    trap "rm -f '$counted'" EXIT
    case ${1:-} in
        --update)
            "$MISTRAL" bench kernels --instructions --json >"$counted"
            cp "$counted" "$bounds"
            say "written: ${bounds#"$PROJECT_ROOT"/}"
            ;;
        "")
            if [ ! -f "$bounds" ]; then
                "$MISTRAL" bench kernels --instructions
                say "no counts are committed as ${bounds#"$PROJECT_ROOT"/}: nothing to compare with"
                return 0
            fi
            "$MISTRAL" bench kernels --instructions --json >"$counted"
            "$MISTRAL" bench compare "$bounds" "$counted" --fail-over "$ALLOWED"
            ;;
        -h | --help) usage ;;
        *) fail "unknown argument '$1' (see bench/regression/run.sh --help)" ;;
    esac
}

main "$@"
