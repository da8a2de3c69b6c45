#!/usr/bin/env bash
# test.sh - installs what is missing, builds, runs every test.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TEXT'
usage: scripts/test.sh [--fast] [--only STAGE]... [--with STAGE]...

Installs what is missing (apt or Homebrew, then PyPI packages into build/venv), builds into build/ and
build-sanitize/, and runs:
  unit         the C unit tests, on the optimised build
  python       the tests that need a real client or another implementation, on the optimised build
  lint         layout, clang-tidy, shellcheck
  sanitizers   unit and python again, under the address and undefined-behaviour sanitizers
and, only when asked for:
  macos        compiles what needs no third-party header for arm64 macOS

  --fast         everything but the sanitizers
  --only STAGE   only this stage; may be given more than once
  --with STAGE   this stage too

Ends with one line, "N passed, N failed". A stage that cannot start counts as one failure.
One test alone: meson test -C build NAME, or build/venv/bin/pytest tests/python/test_x.py -k NAME
TEXT
}

STAGES="unit python lint sanitizers"
RELEASE_FOLDER="$PROJECT_ROOT/build"
SANITIZED_FOLDER="$PROJECT_ROOT/build-sanitize"
RESULTS="$RELEASE_FOLDER/test-results"

ALL_STAGES="unit python lint sanitizers macos"

parse_arguments() {
    local only="" extra=""
    while [ $# -gt 0 ]; do
        case $1 in
            --fast) STAGES="unit python lint" ;;
            --only | --with)
                case " $ALL_STAGES " in
                    *" ${2:-} "*) ;;
                    *) fail "$1 needs one of: $ALL_STAGES" ;;
                esac
                if [ "$1" = --only ]; then
                    only="$only $2"
                else
                    extra="$extra $2"
                fi
                shift
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail "unknown option '$1' (see scripts/test.sh --help)" ;;
        esac
        shift
    done
    STAGES="${only:-$STAGES}$extra"
}

run_unit_tests() { # FOLDER RESULT_NAME
    rm -f "$1/meson-logs/testlog.json"
    local status=0
    meson test -C "$1" --no-rebuild --print-errorlogs --num-processes "$(cpu_count)" || status=$?
    cp "$1/meson-logs/testlog.json" "$RESULTS/$2.json"
    return "$status"
}

run_python_tests() { # FOLDER RESULT_NAME [pytest argument...]
    local folder=$1 name=$2
    shift 2
    (cd "$PROJECT_ROOT" && BUILD_FOLDER="$folder" "$PYTHON_ENVIRONMENT/bin/python" -m pytest \
        --numprocesses "$(cpu_count)" --dist loadfile --junitxml "$RESULTS/$name.xml" "$@")
}

build_release() {
    build_program "$RELEASE_FOLDER" all -Dbuildtype=release -Dwerror=true
}

stage_unit() {
    build_release
    run_unit_tests "$RELEASE_FOLDER" unit
}

stage_python() {
    build_release
    run_python_tests "$RELEASE_FOLDER" python
}

stage_lint() {
    build_release
    bash "$PROJECT_ROOT/scripts/lint.sh" --results "$RESULTS/lint.txt"
}

# Warnings are judged on the other build (-w): with instrumented code GCC's -Wconversion reports
# conversions that the source does not have. Tests marked release_only look at the source tree or need the optimised build's speed.
stage_sanitizers() {
    local status=0
    build_program "$SANITIZED_FOLDER" all -Dbuildtype=debugoptimized -Dwerror=false \
        -Dc_args=-w -Db_sanitize=address,undefined
    export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    run_unit_tests "$SANITIZED_FOLDER" sanitized-unit || status=1
    run_python_tests "$SANITIZED_FOLDER" sanitized-python -m "not release_only" || status=1
    return "$status"
}

stage_macos() {
    bash "$PROJECT_ROOT/scripts/check-macos.sh" --results "$RESULTS/macos.txt"
}

run_stage() {
    local stage=$1 started=$SECONDS status=0
    say "== $stage"
    # Not `|| status=$?`: that would turn errexit off inside the stage.
    set +e
    (
        set -e
        "stage_$stage"
    )
    status=$?
    set -e
    say "== $stage: $([ "$status" -eq 0 ] && echo passed || echo FAILED), $((SECONDS - started)) s"
    if [ "$status" -ne 0 ]; then
        say "$stage" >>"$RESULTS/failed-stages.txt"
    fi
}

main() {
    parse_arguments "$@"
    local started=$SECONDS stage
    ensure_packages needs_to_build needs_of_python
    ensure_python_environment
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"
    : >"$RESULTS/failed-stages.txt"
    say "== ready after $((SECONDS - started)) s"
    for stage in $STAGES; do
        run_stage "$stage"
    done
    say "== all stages: $((SECONDS - started)) s"
    "$PYTHON_ENVIRONMENT/bin/python" "$PROJECT_ROOT/scripts/test_summary.py" "$RESULTS"
}

main "$@"
