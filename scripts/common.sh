# Sourced by the other scripts: where things are, and how to speak.
# shellcheck shell=bash
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Cargo may have been installed for this user only.
[ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
# Administrators' programs, which a root shell may come without.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

TARGET=${CARGO_TARGET_DIR:-target}
# shellcheck disable=SC2034
GODWIT=$TARGET/release/godwit

say() { echo "$(basename "$0" .sh): $*" >&2; }
die() {
    say "$*"
    exit 1
}
# shellcheck disable=SC2034
SECONDS=0
