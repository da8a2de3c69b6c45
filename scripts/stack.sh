# stack.sh - what mistral-start.sh, -stop.sh, -status.sh and -test.sh share: where things are, how the engine
# runs here, and what the settings say. Sourced, never run; works in bash 3.2.
# shellcheck shell=bash disable=SC2034

PROJECT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STACK="$PROJECT_ROOT/stacks/mistral"
MONITORING="$PROJECT_ROOT/stacks/common/monitoring"
ENVIRONMENT=${MISTRAL_ENV_FILE:-$STACK/.env}
STATE=${MISTRAL_STATE_FOLDER:-$STACK/data/run}
PID_FILE="$STATE/mistral.pid"
LOG_FILE="$STATE/mistral.log"
LAUNCHD_LABEL=mistral

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The engine's program: MISTRAL_PROGRAM, the build here, or what is on the path.
find_program() {
    local candidate
    for candidate in "${MISTRAL_PROGRAM:-}" "$PROJECT_ROOT/build/mistral" "$PROJECT_ROOT/build/quickstart/mistral" \
        "$(command -v mistral || true)"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    fail "there is no mistral here: run scripts/quickstart.sh (or set MISTRAL_PROGRAM)"
}

# Docker with compose, and its engine answering.
has_docker() {
    command -v docker >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1
}

# How the engine runs here: launchd (macOS: no container reaches Metal), compose, or process.
# MISTRAL_RUN_AS chooses another.
run_as() {
    if [ -n "${MISTRAL_RUN_AS:-}" ]; then
        case $MISTRAL_RUN_AS in
            launchd | compose | process) printf '%s\n' "$MISTRAL_RUN_AS" ;;
            *) fail "MISTRAL_RUN_AS is '$MISTRAL_RUN_AS'; launchd, compose and process are possible" ;;
        esac
    elif [ "$(uname -s)" = Darwin ]; then
        printf 'launchd\n'
    elif has_docker; then
        printf 'compose\n'
    else
        printf 'process\n'
    fi
}

need_environment() {
    [ -f "$ENVIRONMENT" ] || fail "there is no $ENVIRONMENT; make it with: cp $STACK/.env.example $ENVIRONMENT"
}

# One subcommand of the engine with the stack's settings, from the stack's folder.
with_settings() {
    local command=$1 program
    shift
    program=$(find_program) || exit 1
    (cd "$STACK" && "$program" "$command" --config config/mistral/config.toml --env-file "$ENVIRONMENT" "$@")
}

# setting NAME: its value as the engine resolves it, by the TOML key.
setting() {
    with_settings config show --json 2>/dev/null |
        tr '{' '\n' | grep "\"$1\"" | sed -n -e 's/.*"value":"\([^"]*\)".*/\1/p' -e 's/.*"value":\([^",}]*\).*/\1/p' |
        head -n 1
}

# The settings' names, and the one by which containers here reach the engine on their host: Prometheus does.
allowed_hosts() {
    printf 'host.docker.internal,%s\n' "$(setting server.allowed_hosts | sed 's/^null$//')"
}

running_pid() {
    local pid
    [ -f "$PID_FILE" ] || return 1
    pid=$(cat "$PID_FILE")
    # A number that now belongs to another program is not ours.
    kill -0 "$pid" 2>/dev/null && ps -ww -p "$pid" -o args= | grep -q 'mistral.* serve' && printf '%s\n' "$pid"
}

# What clients must send, of the shell or of the settings; empty: nothing.
api_key() {
    printf '%s' "${MISTRAL_API_KEY:-$(sed -n 's/^MISTRAL_API_KEY=\([^ #]*\).*/\1/p' "$ENVIRONMENT" | tail -n 1)}"
}

# Says where the engine answers; fails when it does not. A container is asked from inside: where Docker runs
# there may be no mistral outside.
healthy() {
    local address
    if [ "$(run_as)" != compose ]; then
        with_settings health 2>/dev/null
    elif compose exec -T mistral mistral health >/dev/null 2>&1 && address=$(compose port mistral 8080 2>/dev/null); then
        say "healthy: http://$address"
    else
        return 1
    fi
}

compose() {
    MISTRAL_ENV_FILE="$ENVIRONMENT" docker compose --project-directory "$STACK" --env-file "$ENVIRONMENT" --file "$STACK/docker-compose.yml" "$@"
}

# Where Prometheus, in its container, finds the engine.
write_target() {
    local address=mistral:8080
    if [ "$(run_as)" != compose ]; then
        address="host.docker.internal:$(setting server.port)"
    fi
    mkdir -p "$STATE/targets"
    printf -- '- targets: ["%s"]\n  labels: {stack: mistral}\n' "$address" >"$STATE/targets/mistral.yml"
}

monitoring_compose() {
    local files=(--file "$MONITORING/docker-compose.yml")
    if [ "$(run_as)" = compose ]; then
        files+=(--file "$MONITORING/docker-compose.engine.yml")
    fi
    if [ -f "$ENVIRONMENT" ]; then
        files+=(--env-file "$ENVIRONMENT") # GRAFANA_PASSWORD, other ports
    fi
    MISTRAL_API_KEY=$(api_key) MISTRAL_TARGETS="$STATE/targets" \
        docker compose --project-directory "$MONITORING" "${files[@]}" "$@"
}
