#!/usr/bin/env bash
# benchmark-mistral.sh : how fast the running engine answers five prompts of rising complexity. Needs nothing but mistral.
#
#   -m, --model MODEL    model to test (the stack's DEFAULT_MODEL, else mistral-7b-instruct; TEST_MODEL)
#   -n, --num-runs N     runs of each prompt (10; NUM_RUNS)
#   -w, --warmup N       runs of each before that do not count (3; WARMUP_RUNS)
#   -o, --output DIR     folder of the results (benchmarks; OUTPUT_DIR)
#   -h, --help           this page
#
# MISTRAL_URL is the engine's address (that of the stack's settings, else http://localhost:8080). With OLLAMA_URL set, what answers there is asked the
# same in turn and compared; OLLAMA_MODEL is the model's name there. Writes mistral_benchmark_TIME.csv, .json, .html
# and _summary.txt. What follows -- goes to 'mistral bench serve' as it is.
set -euo pipefail
# shellcheck source=scripts/stack.sh
. "$(dirname "$0")/../stack.sh"

MISTRAL_URL=${MISTRAL_URL:-}
OLLAMA_URL=${OLLAMA_URL:-}
OUTPUT_DIR=${OUTPUT_DIR:-$PROJECT_ROOT/benchmarks}
TEST_MODEL=${TEST_MODEL:-}
OLLAMA_MODEL=${OLLAMA_MODEL:-}
NUM_RUNS=${NUM_RUNS:-10}
WARMUP_RUNS=${WARMUP_RUNS:-3}

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help)
            sed -n '2,13s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        --)
            shift
            break
            ;;
        -m | --model | -n | --num-runs | -w | --warmup | -o | --output)
            [ $# -ge 2 ] || fail "$1 takes a value; see $0 --help"
            case $1 in
                -m | --model) TEST_MODEL=$2 ;;
                -n | --num-runs) NUM_RUNS=$2 ;;
                -w | --warmup) WARMUP_RUNS=$2 ;;
                *) OUTPUT_DIR=$2 ;;
            esac
            shift 2
            ;;
        *) fail "unknown option: $1; see $0 --help" ;;
    esac
done

PROGRAM=$(find_program)
mkdir -p "$OUTPUT_DIR"
RESULTS="$OUTPUT_DIR/mistral_benchmark_$(date +%Y%m%d_%H%M%S)"
if [ -n "$OLLAMA_URL" ]; then
    set -- --baseline "$OLLAMA_URL,ollama" --baseline-model "${OLLAMA_MODEL:-${TEST_MODEL:-mistral-7b-instruct}}" --baseline-name ollama "$@"
else
    say "Set OLLAMA_URL to compare with Ollama."
fi
if [ -f "$ENVIRONMENT" ]; then # the address, the model, the key
    set -- --config "$STACK/config/mistral/config.toml" --env-file "$ENVIRONMENT" "$@"
    [ -n "$TEST_MODEL" ] || TEST_MODEL=$(setting model.default_model)
else
    MISTRAL_URL=${MISTRAL_URL:-http://localhost:8080}
fi
if [ -n "$MISTRAL_URL" ]; then
    set -- "$MISTRAL_URL" "$@"
fi
STATUS=0
"$PROGRAM" bench serve --model "${TEST_MODEL:-mistral-7b-instruct}" --requests "$NUM_RUNS" --warmup "$WARMUP_RUNS" \
    --output "$RESULTS.csv" --output "$RESULTS.json" --output "$RESULTS.html" "$@" >"${RESULTS}_summary.txt" || STATUS=$?
if [ -s "${RESULTS}_summary.txt" ]; then
    cat "${RESULTS}_summary.txt"
    say ""
    say "Results: $RESULTS.csv, .json, .html, ${RESULTS}_summary.txt"
else
    rm -f "${RESULTS}_summary.txt"
fi
exit "$STATUS"
