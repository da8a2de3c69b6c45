#!/usr/bin/env bash
# test.sh - installs what is missing, builds, runs every test.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TEXT'
usage: scripts/test.sh [--fast] [--only STAGE]... [--with STAGE]...

Installs what is missing (apt or Homebrew, then PyPI packages into build/venv), builds into build/,
build-sanitize/ and build-threads/, and runs:
  unit         the C unit tests, on the optimised build
  python       the tests that need a real client or another implementation, on the optimised build
  lint         layout, clang-tidy, shellcheck, the page's scripts
  sanitizers   unit and python again, under the address and undefined-behaviour sanitizers
  threads      what several threads work on together, under the thread sanitizer
and, only when asked for:
  fuzz         every fuzz target for 45 seconds, from the committed seeds (FUZZ_SECONDS: another time)
  faults       every allocation and call of the system fails once, one after the other (python: every 13th of them)
  macos        compiles what needs no third-party header for arm64 macOS
  arm64        on x86-64 Linux: the kernels' tests on emulated arm64 processors (on arm64, unit has them)

  --fast         everything but the three sanitizers
  --only STAGE   only this stage; may be given more than once
  --with STAGE   this stage too

Ends with one line, "N passed, N failed". A stage that cannot start counts as one failure.
One test alone: meson test -C build NAME, or build/venv/bin/pytest tests/python/test_x.py -k NAME
TEXT
}

STAGES="unit python lint sanitizers threads"
RELEASE_FOLDER="$PROJECT_ROOT/build"
SANITIZED_FOLDER="$PROJECT_ROOT/build-sanitize"
THREADS_FOLDER="$PROJECT_ROOT/build-threads"
FUZZ_FOLDER="$PROJECT_ROOT/build-fuzz"
ARM64_FOLDER="$PROJECT_ROOT/build-arm64"
RESULTS="$RELEASE_FOLDER/test-results"

ALL_STAGES="unit python lint sanitizers threads fuzz faults macos arm64"

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

run_unit_tests() { # FOLDER RESULT_NAME [test name...]
    local folder=$1 name=$2 status=0
    shift 2
    rm -f "$folder/meson-logs/testlog.json"
    meson test -C "$folder" --no-rebuild --print-errorlogs --num-processes "$(cpu_count)" "$@" || status=$?
    cp "$folder/meson-logs/testlog.json" "$RESULTS/$name.json"
    return "$status"
}

# A third of a test's time is waiting, for a timer or a child's start: half as many again as there are processors.
run_python_tests() { # FOLDER RESULT_NAME [pytest argument...]
    local folder=$1 name=$2
    shift 2
    (cd "$PROJECT_ROOT" && BUILD_FOLDER="$folder" "$PYTHON_ENVIRONMENT/bin/python" -m pytest \
        --numprocesses "$(($(cpu_count) * 3 / 2))" --dist loadfile --junitxml "$RESULTS/$name.xml" "$@")
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
# conversions that the source does not have. Reports need functions and lines (-g1); where variables lie (-g) takes
# GCC minutes to work out for instrumented kernels.
build_instrumented() { # FOLDER TARGETS MESON_OPTION...
    local folder=$1 targets=$2
    shift 2
    build_program "$folder" "$targets" -Dbuildtype=debugoptimized -Dwerror=false "-Dc_args=-w -g1" "$@"
}

# Tests marked release_only look at the source tree or need the optimised build's speed.
stage_sanitizers() {
    local status=0
    build_instrumented "$SANITIZED_FOLDER" all -Db_sanitize=address,undefined
    export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    run_unit_tests "$SANITIZED_FOLDER" sanitized-unit || status=1
    run_python_tests "$SANITIZED_FOLDER" sanitized-python -m "not release_only" || status=1
    return "$status"
}

# The rooms whose state several threads touch: base's pool and mailbox, the engine, the server. The rest
# runs on one thread, and is slow under this sanitizer.
stage_threads() {
    local status=0 tests="$PROJECT_ROOT/tests/python"
    build_instrumented "$THREADS_FOLDER" "mistral tests/test_base tests/test_access tests/tools/engine_workload tests/tools/fake_server" \
        -Db_sanitize=thread
    export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
    run_unit_tests "$THREADS_FOLDER" threads-unit base access || status=1
    run_python_tests "$THREADS_FOLDER" threads-python -m "not release_only" \
        "$tests/test_independence.py" "$tests/test_server_faults.py" "$tests/test_server_http.py" \
        "$tests/test_server_openai.py" "$tests/test_server_stress.py" || status=1
    return "$status"
}

# One target for FUZZ_SECONDS, from a copy of its seeds. What it finds stays in build-fuzz/found.
fuzz_one() { # NAME
    local name=$1 found="$FUZZ_FOLDER/found/$1" status=0
    mkdir -p "$found/corpus"
    (cd "$found" && "$FUZZ_FOLDER/tests/fuzz/fuzz_$name" -max_total_time="${FUZZ_SECONDS:-45}" -timeout=20 \
        -rss_limit_mb=4096 -print_final_stats=1 corpus "$PROJECT_ROOT/tests/fuzz/corpus/$name" >log 2>&1) || status=$?
    if [ "$status" -eq 0 ]; then
        say "fuzz_$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log") inputs"
        say "ok fuzz_$name" >>"$RESULTS/fuzz.txt"
    else
        say "fuzz_$name: FAILED; the end of ${found#"$PROJECT_ROOT"/}/log:"
        tail -n 40 "$found/log"
        say "not ok fuzz_$name" >>"$RESULTS/fuzz.txt"
    fi
    return "$status"
}

# libFuzzer comes with clang. Two at a time, one a core.
stage_fuzz() {
    local status=0 source name targets="" waiting=""
    ensure_packages needs_to_fuzz
    for source in "$PROJECT_ROOT"/tests/fuzz/fuzz_*.c; do
        targets="$targets tests/fuzz/$(basename "$source" .c)"
    done
    CC=clang build_instrumented "$FUZZ_FOLDER" "$targets" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
    rm -rf "$FUZZ_FOLDER/found"
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    for source in "$PROJECT_ROOT"/tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        fuzz_one "${name#fuzz_}" &
        if [ -n "$waiting" ]; then
            wait "$waiting" || status=1
        fi
        waiting=$!
    done
    wait "$waiting" || status=1
    return "$status"
}

# Files of tests wait for nothing but each other's server: one process does.
stage_faults() {
    build_release
    FAULTS_STRIDE=1 run_python_tests "$RELEASE_FOLDER" faults "$PROJECT_ROOT/tests/python/test_faults.py" \
        "$PROJECT_ROOT/tests/python/test_faults_commands.py" --timeout 3600 -rA
}

stage_macos() {
    bash "$PROJECT_ROOT/scripts/check-macos.sh" --results "$RESULTS/macos.txt"
}

run_emulated_tests() { # PROCESSOR BEST_KERNELS [test name...]: of qemu's processors, and what is to be chosen on it
    local processor=$1 best=$2
    shift 2
    say "on an emulated processor: $processor"
    QEMU_CPU=$processor TEST_BEST_KERNELS=$best run_unit_tests "$ARM64_FOLDER" "arm64-$best" "$@"
}

# The first processor has everything, the second the dot product instructions alone, the third neither.
stage_arm64() {
    local status=0
    if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
        say "nothing to emulate here: the unit tests run the kernels of this processor"
        return 0
    fi
    ensure_packages needs_to_emulate_arm64
    set -- --cross-file "$PROJECT_ROOT/tests/arm64/cross.ini" -Dkernels_only=true -Dbuildtype=release -Dwerror=true
    if [ -f "$ARM64_FOLDER/build.ninja" ]; then # what a folder is built for cannot change
        shift 2
    fi
    build_program "$ARM64_FOLDER" all "$@"
    run_emulated_tests max i8mm || status=1
    run_emulated_tests neoverse-n1 neon dispatch || status=1
    run_emulated_tests cortex-a53 portable dispatch ops || status=1
    return "$status"
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

# Both at once where both are needed: pip works on one core, and waits for the network.
ensure_environments() {
    local clients=""
    case " $STAGES " in
        *" python "*)
            ensure_clients_environment &
            clients=$!
            ;;
    esac
    ensure_python_environment
    if [ -n "$clients" ]; then
        wait "$clients"
    fi
}

main() {
    parse_arguments "$@"
    local started=$SECONDS stage
    ensure_packages needs_to_build needs_of_python needs_to_test_the_stack
    offer_packages needs_to_test_the_web_page \
        "the page's tests will be skipped (any program 'chromium' on the path will do; 'snap install chromium' has one)"
    ensure_environments
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
