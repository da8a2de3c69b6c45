#!/usr/bin/env bash
# lint.sh - layout, static analysis and shell scripts; what a reviewer should not have to look for.
# shellcheck disable=SC2329 # the checks are called by name, in run_check
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TEXT'
usage: scripts/lint.sh [--fix] [--results FILE] [FILE.c...]

Checks the layout of all C files (clang-format), the C files of src/ and examples/ (clang-tidy; or only
those named), all shell scripts (shellcheck) and those of the web page (biome). Needs a set-up build/ for its
compile commands.
  --fix            applies the layout instead of checking it, and does nothing else
  --results FILE   also writes "ok NAME" or "not ok NAME" for each check
TEXT
}

RESULTS_FILE=/dev/null
FAILED=0
TIDY_FILES=()

# Sources as git knows them where it can tell, so that build folders never count.
files_named() { # PATTERN...
    git -C "$PROJECT_ROOT" ls-files --cached --others --exclude-standard -- "$@" |
        while read -r path; do
            if [ -f "$PROJECT_ROOT/$path" ]; then
                say "$path"
            fi
        done
}

check_layout() {
    files_named '*.c' '*.h' | xargs "$PYTHON_ENVIRONMENT/bin/clang-format" --dry-run --Werror
}

fix_layout() {
    files_named '*.c' '*.h' | xargs "$PYTHON_ENVIRONMENT/bin/clang-format" -i
}

# The compiled files of src/ and examples/: another processor's kernels are not built here and have
# no compile command.
compiled_sources() {
    "$PYTHON_ENVIRONMENT/bin/python" - "$PROJECT_ROOT" <<'PYTHON'
import json, os, sys
root = os.path.realpath(sys.argv[1])
rooms = tuple(os.path.join(root, room) + os.sep for room in ("src", "examples"))
paths = set()
for command in json.load(open(os.path.join(root, "build", "compile_commands.json"))):
    paths.add(os.path.realpath(os.path.join(command["directory"], command["file"])))
print("\n".join(sorted(path for path in paths if path.startswith(rooms))))
PYTHON
}

# One file a process: clang-tidy 18 reports va_start as missing from the second file of a run on.
# max-nodes: how far the analyzer, which takes nearly all of the time, follows a function's paths. 225,000, what it
# does by itself, takes two and a half times as long; all that it ever found here is found with 40,000, not all with 20,000.
check_with_clang_tidy() {
    local log status=0
    log=$(mktemp)
    {
        if [ ${#TIDY_FILES[@]} -gt 0 ]; then
            printf '%s\n' "${TIDY_FILES[@]}"
        else
            compiled_sources
        fi
    } | xargs -n 1 -P "$(cpu_count)" "$PYTHON_ENVIRONMENT/bin/clang-tidy" \
        -p "$PROJECT_ROOT/build" --quiet --extra-arg=-Wno-unknown-warning-option \
        --extra-arg=-Wno-ignored-optimization-argument \
        --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=max-nodes=60000 \
        >"$log" 2>&1 || status=1
    grep -v -E '^[0-9]+ warnings? generated\.$' "$log" || [ "$status" -eq 0 ] || say "clang-tidy failed"
    rm -f "$log"
    return "$status"
}

check_shell_scripts() {
    files_named '*.sh' .ci/run |
        xargs "$PYTHON_ENVIRONMENT/bin/shellcheck" --source-path="$PROJECT_ROOT" --external-sources
}

check_javascript() {
    files_named 'web/*.js' | xargs "$PYTHON_ENVIRONMENT/bin/biome" lint --error-on-warnings
}

run_check() { # NAME FUNCTION
    local started=$SECONDS
    if (cd "$PROJECT_ROOT" && "$2"); then
        say "ok $1" >>"$RESULTS_FILE"
        say "$1: ok, $((SECONDS - started)) s"
    else
        say "not ok $1" >>"$RESULTS_FILE"
        say "$1: FAILED, $((SECONDS - started)) s"
        FAILED=1
    fi
}

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            --fix)
                ensure_python_environment
                cd "$PROJECT_ROOT"
                fix_layout
                exit 0
                ;;
            --results)
                [ $# -ge 2 ] || fail "--results needs a file"
                RESULTS_FILE=$2
                shift
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            -*) fail "unknown option '$1' (see scripts/lint.sh --help)" ;;
            *) TIDY_FILES+=("$1") ;;
        esac
        shift
    done
    ensure_python_environment
    [ -f "$PROJECT_ROOT/build/compile_commands.json" ] || fail "no build folder: run 'meson setup build' first"
    run_check layout check_layout
    run_check clang-tidy check_with_clang_tidy
    run_check shellcheck check_shell_scripts
    run_check javascript check_javascript
    exit "$FAILED"
}

main "$@"
