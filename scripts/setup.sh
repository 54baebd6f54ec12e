#!/bin/bash
# Installs what is missing on a Debian machine: QEMU, what the golden image is built with, what
# the tests need. Looks only, and takes no second, where nothing is missing.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

# A program (or file) and the package that brings it.
NEEDED=(
    "cc gcc"
    "/usr/include/stdio.h libc6-dev"
    "jq jq"
    "ip iproute2"
    "unshare util-linux"
    "setpriv util-linux"
    "mmdebstrap mmdebstrap"
    "mount mount"
    "mke2fs e2fsprogs"
    "extlinux extlinux"
    "/usr/lib/syslinux/mbr/mbr.bin syslinux-common"
    "isoinfo genisoimage"
)
# QEMU's from which all of Godwit works; older ones lack `late-block-activate`.
QEMU_MAJOR=10

missing=()
for each in "${NEEDED[@]}"; do
    read -r program package <<<"$each"
    if [[ $program == /* ]]; then [ -e "$program" ]; else command -v "$program" >/dev/null; fi ||
        missing+=("$package")
done
# Any version's server: the tests of the DVD Store start one of their own.
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v psql >/dev/null || missing+=(postgresql-client)

qemu_major() {
    { "$1" --version 2>/dev/null || true; } | sed -nE '1s/.*version ([0-9]+)\..*/\1/p'
}
qemu=()
[ -n "$(qemu_major qemu-system-x86_64)" ] || qemu+=(qemu-system-x86)
[ -n "$(qemu_major qemu-img)" ] || qemu+=(qemu-utils)

check_rust() {
    local needed have
    needed=$(sed -nE 's/^rust-version *= *"([0-9.]+)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || die "Rust is missing: install rustup and run 'rustup toolchain install stable' \
(Debian's own cargo is older than the $needed needed)"
    have=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$needed" "${have%%-*}" | sort -V | head -n 1)" = "$needed" ] ||
        die "Rust $have is too old, $needed is needed: run 'rustup update stable'"
    local part
    for part in fmt clippy; do
        cargo "$part" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null || die "cargo $part is missing: install it as you installed Rust"
        say "adding cargo $part"
        rustup component add "${part/fmt/rustfmt}"
    done
}

apt() {
    # Configuration files that are there stay as they are: nobody is here to answer.
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "$@"
}

# The deb822 stanza of this host's own Debian mirror, for another suite: mirror and key stay as
# the host's administrator chose them.
derived_source() {
    local codename=$1 suite=$2 file
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v codename="$codename" -v suite="$suite" '
            function flush() {
                if (suites ~ "(^| )" codename "( |$)" && components ~ /(^| )main( |$)/ && (key == "" || key ~ /debian-archive/)) {
                    print "Types: deb\nURIs: " uris "\nSuites: " suite "\nComponents: main"
                    if (key != "") print "Signed-By: " key
                    done = 1; exit
                }
                uris = suites = components = key = ""
            }
            /^#/ { next }
            /^[ \t]*$/ { flush(); next }
            { value = $0; sub(/^[^:]*:[ \t]*/, "", value) }
            /^URIs:/ { uris = value }
            /^Suites:/ { suites = value }
            /^Components:/ { components = value }
            /^Signed-By:/ { key = value }
            END { if (!done) flush() }
        ' "$file"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        sed -nE "s/^deb +(\[([^]]*)\] +)?([^ ]+) +$codename +(.* )?main( .*)?$/\2|\3/p" "$file" |
            while IFS='|' read -r options uri; do
                key=$(sed -nE 's/.*signed-by=([^ ]+).*/\1/p' <<<"$options")
                [[ -z $key || $key == *debian-archive* ]] || continue
                printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$uri" "$suite"
                [ -z "$key" ] || echo "Signed-By: $key"
                break
            done
    done
}

# Debian 12 has QEMU 7.2 and, in its backports, 10.0. A newer qemu-utils that is installed
# already also makes apt refuse a qemu-system-x86 of the release itself.
add_backports() {
    local codename=$1 suite=$1-backports source
    if apt-get indextargets --format '$(CODENAME) $(COMPONENT)' | grep -q "^$suite main$"; then return; fi
    source=$(derived_source "$codename" "$suite" | awk 'NF == 0 || (/^Types:/ && seen++) { exit } { print }')
    [ -n "$source" ] || die "no Debian source for $codename found in /etc/apt: add one for $suite, which has QEMU $QEMU_MAJOR"
    say "adding $suite to apt's sources (/etc/apt/sources.list.d/godwit-backports.sources)"
    printf '%s\n' "$source" >/etc/apt/sources.list.d/godwit-backports.sources
}

install_missing() {
    local codename candidate suite=()
    [ "$(id -u)" = 0 ] || die "missing: ${missing[*]} ${qemu[*]}; run 'make setup' as root"
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    command -v apt-get >/dev/null || die "missing: ${missing[*]} ${qemu[*]}; this is no Debian, install them by hand"
    say "missing: ${missing[*]} ${qemu[*]}"
    apt update
    if [ ${#qemu[@]} -gt 0 ]; then
        candidate=$(apt-cache policy qemu-system-x86 | sed -nE 's/^ *Candidate: (1:)?([0-9]+)\..*/\2/p')
        if [ "${candidate:-0}" -lt "$QEMU_MAJOR" ]; then
            add_backports "$codename"
            apt update
            suite=(-t "$codename-backports")
        fi
        apt install -y --no-install-recommends "${suite[@]}" "${qemu[@]}"
    fi
    if [ ${#missing[@]} -gt 0 ]; then
        # The server is wanted for tests, which start their own: none shall run all the time.
        if [[ " ${missing[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
            mkdir -p /etc/postgresql-common
            echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
        fi
        apt install -y --no-install-recommends "${missing[@]}"
    fi
}

check_rust
if [ ${#missing[@]} -gt 0 ] || [ ${#qemu[@]} -gt 0 ]; then
    install_missing
    say "everything is there (after $SECONDS s)"
fi
major=$(qemu_major qemu-system-x86_64)
[ "${major:-0}" -ge "$QEMU_MAJOR" ] ||
    say "QEMU $major is supported as far as it goes; $QEMU_MAJOR.0 is what Godwit is tested with"
