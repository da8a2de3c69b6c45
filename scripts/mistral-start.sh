#!/usr/bin/env bash
# mistral-start.sh [--no-monitoring] : starts the engine the way this machine can run it best, waits until it
# answers, and starts Prometheus, Grafana and Alertmanager where Docker runs.
#   macOS                 the engine natively, under launchd: a container cannot reach Metal
#   Linux with Docker     the engine in a container (stacks/mistral/docker-compose.yml)
#   Linux without         the engine as a process of its own, with a pid file
# MISTRAL_RUN_AS=launchd|compose|process chooses another.
set -euo pipefail
# shellcheck source=scripts/stack.sh
. "$(dirname "$0")/stack.sh"

MONITOR=yes
for argument in "$@"; do
    case $argument in
        --no-monitoring) MONITOR=no ;;
        -h | --help)
            sed -n '2,7s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *) fail "no such option: $argument; see --help" ;;
    esac
done

start_process() {
    local program pid
    if pid=$(running_pid); then
        say "already running: process $pid"
        return 0
    fi
    program=$(find_program)
    mkdir -p "$STATE"
    (
        cd "$STACK"
        MISTRAL_ALLOWED_HOSTS=$(allowed_hosts)
        export MISTRAL_ALLOWED_HOSTS
        nohup "$program" serve --config config/mistral/config.toml --env-file "$ENVIRONMENT" \
            >>"$LOG_FILE" 2>&1 </dev/null &
        printf '%s\n' "$!" >"$PID_FILE"
    )
}

start_launchd() {
    local plist="$HOME/Library/LaunchAgents/$LAUNCHD_LABEL.plist" program
    program=$(find_program)
    mkdir -p "$STATE" "$HOME/Library/LaunchAgents"
    sed -e "s|@PROGRAM@|$program|" -e "s|@STACK@|$STACK|" -e "s|@ENVIRONMENT@|$ENVIRONMENT|" \
        -e "s|@STATE@|$STATE|" -e "s|@HOSTS@|$(allowed_hosts)|" "$STACK/launchd/mistral.plist.in" >"$plist"
    launchctl bootout "gui/$(id -u)/$LAUNCHD_LABEL" 2>/dev/null || true
    launchctl bootstrap "gui/$(id -u)" "$plist"
}

# Until it answers; a process that has ended will not.
wait_until_healthy() {
    local waited=0
    while ! healthy >/dev/null; do
        # By its number alone: it may not have become the engine yet.
        if [ "$MODE" = process ] && ! kill -0 "$(cat "$PID_FILE")" 2>/dev/null; then
            tail -n 5 "$LOG_FILE" >&2
            fail "it ended while starting; its log: $LOG_FILE"
        fi
        waited=$((waited + 1))
        [ "$waited" -lt 600 ] || fail "it does not answer after 10 minutes; see scripts/mistral-status.sh"
        sleep 1
    done
}

start_monitoring() {
    if [ "$MONITOR" = no ]; then
        return 0
    fi
    if ! has_docker; then
        say "monitoring: not started, there is no Docker here; docs/monitoring.md has the job for a Prometheus of yours"
        return 0
    fi
    if [ "$MODE" = process ]; then
        say "monitoring: a container reaches an engine that listens on more than 127.0.0.1 only (MISTRAL_HOST, MISTRAL_API_KEY)"
    fi
    write_target
    monitoring_compose up --detach
    say "monitoring: Prometheus http://localhost:9090, Grafana http://localhost:3000"
}

need_environment
MODE=$(run_as)
say "starting the engine: $MODE"
case $MODE in
    process) start_process ;;
    launchd) start_launchd ;;
    compose) compose up --detach --build ;;
esac
wait_until_healthy
healthy
start_monitoring
