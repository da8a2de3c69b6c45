#!/usr/bin/env bash
# mistral-stop.sh : stops what mistral-start.sh started. Answers under way may finish (server.drain_timeout).
set -euo pipefail
# shellcheck source=scripts/stack.sh
. "$(dirname "$0")/stack.sh"

stop_process() {
    local pid waited=0
    if ! pid=$(running_pid); then
        rm -f "$PID_FILE"
        say "not running"
        return 0
    fi
    kill -TERM "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        waited=$((waited + 1))
        if [ "$waited" -ge 450 ]; then
            say "it did not end in 45 s: ending it at once"
            kill -KILL "$pid" 2>/dev/null || true
        fi
        sleep 0.1
    done
    rm -f "$PID_FILE"
    say "stopped: process $pid"
}

if [ $# -gt 0 ]; then
    sed -n '2s/^# \{0,1\}//p' "$0"
    exit 0
fi
# Monitoring first: it is in the engine's network.
if has_docker; then
    monitoring_compose down
fi
case $(run_as) in
    process) stop_process ;;
    launchd)
        launchctl bootout "gui/$(id -u)/$LAUNCHD_LABEL" 2>/dev/null || say "not running"
        ;;
    compose) compose down ;;
esac
