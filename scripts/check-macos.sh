#!/usr/bin/env bash
# check-macos.sh - compiles (does not link, does not run) for arm64 macOS what needs no third-party
# header. It finds what is missing or different there: headers, functions, types, intrinsics.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ROOMS="base quant metrics model engine backend"
OBJECTS="$PROJECT_ROOT/build/macos"

# What src/backend/meson.build gives a file's compiler beside the others' flags, in zig's spelling.
processor_of() { # FILE
    case $1 in
        */neon_matmul.c) say generic+v8_2a+dotprod ;;
        */neon_i8mm.c) say generic+v8_2a+dotprod+i8mm ;;
        *) say generic ;;
    esac
}

# _DARWIN_C_SOURCE stands where the build has _GNU_SOURCE: both mean "POSIX and the system's own".
compile_one() {
    "$PYTHON_ENVIRONMENT/bin/python" -m ziglang cc -target aarch64-macos -mcpu="$(processor_of "$1")" -std=gnu17 \
        -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror \
        -Wno-missing-field-initializers -ffp-contract=off -D_GNU_SOURCE -D_DARWIN_C_SOURCE \
        -DMISTRAL_VERSION='"0"' \
        -I"$PROJECT_ROOT/src" -I"$PROJECT_ROOT/include" -I"$PROJECT_ROOT/build" \
        -c "$PROJECT_ROOT/$1" -o "$OBJECTS/$(printf '%s' "$1" | tr '/' '-').o"
}

main() {
    local results=/dev/null
    if [ "${1:-}" = --results ] && [ $# -eq 2 ]; then
        results=$2
    elif [ $# -gt 0 ]; then
        fail "usage: scripts/check-macos.sh [--results FILE]"
    fi
    ensure_packages needs_of_python
    ensure_python_environment
    mkdir -p "$OBJECTS"
    : >"$results"
    local room file compiled=0 failed=0
    for room in $ROOMS; do
        # avx* and amx*: kernels for x86-64, which no build for arm64 has.
        for file in $(cd "$PROJECT_ROOT" && find "src/$room" -name '*.c' ! -name 'avx*' ! -name 'amx*' | sort); do
            if compile_one "$file"; then
                compiled=$((compiled + 1))
                say "ok $file" >>"$results"
            else
                say "not ok $file" >>"$results"
                say "FAILED for arm64 macOS: $file"
                failed=$((failed + 1))
            fi
        done
    done
    say "arm64 macOS: $compiled files compiled, $failed failed"
    [ "$failed" -eq 0 ] && [ "$compiled" -gt 0 ]
}

main "$@"
