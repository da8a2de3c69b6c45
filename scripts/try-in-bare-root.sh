#!/usr/bin/env bash
# try-in-bare-root.sh - a command of this tree on a system that has nothing yet: what the README promises, tried.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TEXT'
usage: scripts/try-in-bare-root.sh [OPTION...] RELEASE [COMMAND [ARGUMENT...]]

Makes a minimal root of RELEASE (bookworm, trixie, noble, ...) with debootstrap, copies this working tree into it as
/root/mistral.c and runs COMMAND there, as root, in the tree. Without COMMAND it runs both of the README's:
scripts/quickstart.sh --once and scripts/test.sh. Needs root and debootstrap; for Ubuntu also its archive's keyring
(the package ubuntu-keyring). Its exit status is the command's.

  --mirror URL        where packages come from. Default: the first deb line or URIs of this machine's apt sources,
                      which is right for a release of the same distribution
  --keyring FILE      what the release is signed with. Default: debootstrap's
  --folder FOLDER     where roots are made. Default: /var/tmp/bare-roots
  --keep              the root of an earlier run is used again, with what that installed; and stays afterwards
  --without-browser   the root's package chromium is an empty shell, as one that only asks for a snap

pip in the root is set up as on this machine: its configuration, the PIP_* and *_proxy variables and the certificates
that the environment names go along.
TEXT
}

MIRROR=""
KEYRING=""
FOLDER=/var/tmp/bare-roots
KEEP=false
WITHOUT_BROWSER=false
RELEASE=""
COMMAND=()
ROOT=""
CERTIFICATES=/etc/bare-root-certificates.pem

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --mirror) MIRROR=${2:?} && shift ;;
            --keyring) KEYRING=${2:?} && shift ;;
            --folder) FOLDER=${2:?} && shift ;;
            --keep) KEEP=true ;;
            --without-browser) WITHOUT_BROWSER=true ;;
            -h | --help)
                usage
                exit 0
                ;;
            -*) fail "unknown option '$1' (see scripts/try-in-bare-root.sh --help)" ;;
            *)
                RELEASE=$1
                shift
                COMMAND=("$@")
                break
                ;;
        esac
        shift
    done
    [ -n "$RELEASE" ] || fail "which release? (see scripts/try-in-bare-root.sh --help)"
    [ "$(id -u)" -eq 0 ] || fail "this needs root, to make a root and to enter it"
    command -v debootstrap >/dev/null 2>&1 || fail "debootstrap is missing: apt-get install debootstrap"
}

# The first of this machine's own: "deb [options] URL ..." or, in the newer form, "URIs: URL".
mirror_of_this_machine() {
    local file
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources /etc/apt/sources.list; do
        if [ -f "$file" ]; then
            sed -n -E 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+).*/\2/p' "$file"
        fi
    done | sed -n 1p
}

make_root() {
    local components=main
    if [ "$KEEP" = true ] && [ -e "$ROOT/.made" ]; then
        return 0
    fi
    MIRROR=${MIRROR:-$(mirror_of_this_machine)}
    [ -n "$MIRROR" ] || fail "this machine's apt sources name no mirror: --mirror URL"
    case $MIRROR in
        *ubuntu*) components=main,universe ;;
    esac
    say "== a bare $RELEASE in $ROOT"
    rm -rf "$ROOT"
    mkdir -p "$ROOT"
    debootstrap --variant=minbase --components="$components" ${KEYRING:+--keyring="$KEYRING"} \
        "$RELEASE" "$ROOT" "$MIRROR" >"$ROOT.log" 2>&1 || {
        tail -n 20 "$ROOT.log" >&2
        fail "debootstrap could not make $RELEASE; all it said: $ROOT.log"
    }
    touch "$ROOT/.made"
}

# Names and certificates of this machine's network, and how pip is to use it.
copy_network_settings() {
    local file
    cp -L /etc/resolv.conf /etc/hosts "$ROOT/etc/"
    if [ -f /etc/pip.conf ]; then
        cp /etc/pip.conf "$ROOT/etc/pip.conf"
    fi
    file=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
    if [ -f "$file" ]; then
        cp -L "$file" "$ROOT$CERTIFICATES"
    fi
}

# What git knows and what it does not ignore, with the history that names the commit.
copy_tree() {
    local target="$ROOT/root/mistral.c"
    mkdir -p "$target"
    if [ ! -d "$target/.git" ]; then
        git clone --quiet --no-checkout --no-hardlinks "$PROJECT_ROOT" "$target"
    fi
    git -C "$PROJECT_ROOT" ls-files --cached --others --exclude-standard -z |
        tar -C "$PROJECT_ROOT" --null --files-from - --ignore-failed-read --create --file - 2>/dev/null |
        tar -C "$target" --extract --no-same-owner --file -
    chown -R 0:0 "$target"
}

# A package of chromium's name, of a version above the archive's, without a program.
hide_browser() {
    local package="$ROOT/tmp/chromium"
    mkdir -p "$package/DEBIAN"
    printf '%s\n' 'Package: chromium' 'Version: 2:1snap1' 'Architecture: all' 'Maintainer: nobody <nobody@localhost>' \
        'Description: a shell without a browser' >"$package/DEBIAN/control"
    mkdir -p "$ROOT/opt/shell"
    chroot "$ROOT" dpkg-deb --build /tmp/chromium /opt/shell/chromium.deb >/dev/null
    rm -r "$package"
    {
        chroot "$ROOT" dpkg-deb --field /opt/shell/chromium.deb
        printf 'Filename: ./chromium.deb\nSize: %s\nSHA256: %s\n' "$(stat -c %s "$ROOT/opt/shell/chromium.deb")" \
            "$(sha256sum "$ROOT/opt/shell/chromium.deb" | cut -d ' ' -f 1)"
    } >"$ROOT/opt/shell/Packages"
    printf 'deb [trusted=yes] file:/opt/shell ./\n' >"$ROOT/etc/apt/sources.list.d/shell.list"
}

# In namespaces of its own for mounts and processes: what it leaves running or mounted ends with it.
run_inside() {
    local name environment=()
    while read -r name; do
        environment+=("$name=${!name}")
    done < <(compgen -e | grep -i -E '^(PIP_.*|.*_PROXY)$' | grep -v '^PIP_CERT$')
    environment+=("HOME=/root" "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if [ -f "$ROOT$CERTIFICATES" ]; then
        for name in PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do
            environment+=("$name=$CERTIFICATES")
        done
    fi
    say "== in $RELEASE: $*"
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --pid --fork --kill-child bash -c '
        set -e
        root=$1
        shift
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t sysfs -o ro sysfs "$root/sys" || true
        exec chroot "$root" /usr/bin/env -i "$@"
    ' inside "$ROOT" "${environment[@]}" sh -c 'cd /root/mistral.c && exec "$@"' command "$@" </dev/null
}

main() {
    parse_arguments "$@"
    local status=0
    ROOT="$FOLDER/$RELEASE$([ "$WITHOUT_BROWSER" = false ] || say -without-browser)"
    mkdir -p "$FOLDER"
    make_root
    copy_network_settings
    copy_tree
    if [ "$WITHOUT_BROWSER" = true ]; then
        hide_browser
    fi
    if [ ${#COMMAND[@]} -gt 0 ]; then
        run_inside "${COMMAND[@]}" || status=$?
    else
        run_inside bash scripts/quickstart.sh --once || status=$?
        run_inside bash scripts/test.sh || status=$?
    fi
    if [ "$KEEP" = false ]; then
        rm -rf --one-file-system "$ROOT" "$ROOT.log"
    fi
    return "$status"
}

main "$@"
