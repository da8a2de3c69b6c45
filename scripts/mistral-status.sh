#!/usr/bin/env bash
# mistral-status.sh : how the engine runs, whether it answers, and the last lines of its log. Exit status 1: it
# does not answer.
set -euo pipefail
# shellcheck source=scripts/stack.sh
. "$(dirname "$0")/stack.sh"

if [ $# -gt 0 ]; then
    sed -n '2,3s/^# \{0,1\}//p' "$0"
    exit 0
fi
need_environment
MODE=$(run_as)
say "runs as: $MODE"
case $MODE in
    process)
        if pid=$(running_pid); then
            say "process: $pid"
        else
            say "process: none"
        fi
        ;;
    launchd) launchctl print "gui/$(id -u)/$LAUNCHD_LABEL" 2>/dev/null | grep -E 'state|pid' || say "not loaded" ;;
    compose) compose ps ;;
esac
if healthy; then
    exit 0
fi
say "does not answer"
if [ "$MODE" != compose ] && [ -f "$LOG_FILE" ]; then
    say "last lines of $LOG_FILE:"
    tail -n 5 "$LOG_FILE"
fi
exit 1
