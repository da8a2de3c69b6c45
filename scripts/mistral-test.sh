#!/usr/bin/env bash
# mistral-test.sh : asks the running engine what its users would: health, models, one answer by each API,
# metrics. Exit status: how many checks failed.
set -euo pipefail
# shellcheck source=scripts/stack.sh
. "$(dirname "$0")/stack.sh"

if [ $# -gt 0 ]; then
    sed -n '2,3s/^# \{0,1\}//p' "$0"
    exit 0
fi
command -v curl >/dev/null 2>&1 || fail "curl is needed"
need_environment
FAILED=0
ADDRESS=$(healthy | sed 's/^healthy: //') || true
[ -n "$ADDRESS" ] || fail "the engine does not answer; start it with scripts/mistral-start.sh"
KEY=$(api_key)

# ask PATH [BODY] : the answer's body; fails unless the status is 2xx. The key goes by a file, not by the
# command line, which other users can see.
ask() {
    local path=$1
    shift
    if [ $# -gt 0 ]; then
        set -- --header 'Content-Type: application/json' --data "$1"
    fi
    printf 'header = "Authorization: Bearer %s"\n' "$KEY" |
        curl --silent --show-error --fail --max-time 300 --config - "$@" "$ADDRESS$path"
}

# check NAME PATTERN PATH [BODY]
check() {
    local name=$1 pattern=$2 answer
    shift 2
    # Not through a pipe: grep leaves at the first match, and what still writes would count as failed.
    if answer=$(ask "$@" 2>&1) && grep -q "$pattern" <<<"$answer"; then
        say "ok      $name"
    else
        say "FAILED  $name: ${answer:0:300}"
        FAILED=$((FAILED + 1))
    fi
}

check "health" '"status":"ok"' /health
check "models" '"object":"list"' /v1/models
MODEL=$(ask /v1/models 2>/dev/null | sed -n 's/.*"data":\[{"id":"\([^"]*\)".*/\1/p') || true
CHAT="\"model\":\"$MODEL\",\"messages\":[{\"role\":\"user\",\"content\":\"Say hello.\"}]"
check "chat" '"finish_reason"' /v1/chat/completions "{$CHAT,\"max_tokens\":8}"
check "chat, streamed" 'data: \[DONE\]' /v1/chat/completions "{$CHAT,\"max_tokens\":8,\"stream\":true}"
check "Ollama's chat" '"done":true' /api/chat "{$CHAT,\"options\":{\"num_predict\":8}}"
check "metrics" '^mistral_generate_tokens_total{' /metrics
say "$FAILED failed"
exit "$FAILED"
