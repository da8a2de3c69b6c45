#!/usr/bin/env bash
# beside_llama_bench.sh - our engine and any llama-bench, on the same files, in turn: Markdown tables.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

usage() {
    cat <<'TEXT'
usage: bench/beside_llama_bench.sh [OPTION...] PATH/llama-bench MODEL.gguf...

  -p TOKENS     length of the prompt, 0 for none [512]
  -n TOKENS     length of the answer, 0 for none [128]
  -d TOKENS     context that the answer begins after [0]
  -r ROUNDS     times each, in turn [5]
  -t THREADS    of both [one a processor]
  -o 'OPTION…'  more options of llama-bench, such as '-fa 1 -rtr 1'
  -k KERNELS    ours, such as avx2, to hold us to what the other was built for [auto]

The program is MISTRAL, or else build/mistral. docs/performance/cpu.md has results.
TEXT
}

MISTRAL=${MISTRAL:-$PROJECT_ROOT/build/mistral}
prompt=512 answer=128 depth=0 rounds=5 threads=0 options='' kernels=auto

case "${1:-}" in
    --help)
        usage
        exit 0
        ;;
esac
while getopts p:n:d:r:t:o:k:h option; do
    case $option in
        p) prompt=$OPTARG ;;
        n) answer=$OPTARG ;;
        d) depth=$OPTARG ;;
        r) rounds=$OPTARG ;;
        t) threads=$OPTARG ;;
        o) options=$OPTARG ;;
        k) kernels=$OPTARG ;;
        h)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || {
    usage >&2
    exit 2
}
llama_bench=$1
shift
[ "$threads" -gt 0 ] || threads=$(cpu_count)

for model in "$@"; do
    say "## $(basename "$model"), $llama_bench $options"
    say
    "$MISTRAL" bench engine "$model" --prompt "$prompt" --generate "$answer" --depth "$depth" --repeat "$rounds" \
        --num-threads "$threads" --kernels "$kernels" --no-limits --markdown \
        --baseline-command "'$llama_bench' -m '$model' -t $threads $options"
    say
done
