#!/bin/bash
# Holds the arrows between crates that ARCHITECTURE.md draws: a dependency that is not in this
# table does not pass. Dependencies for tests alone (dev) may go anywhere but to a crate above.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

declare -A ALLOWED=(
    [model]=""
    [tls]=""
    [api]="model tls"
    [lease]="model"
    [net]="model"
    [qemu]="model"
    [stream]="model tls"
    [agent]="api lease model net qemu stream tls"
    [manager]="api model tls"
    [dvdstore]=""
    [vim]="api model tls"
    [lab]="api dvdstore model net"
    [experiment]="api dvdstore model net"
    [bench]="api dvdstore lab model net qemu"
)
# The binary and the end-to-end tests bring everything together.
FREE="godwit tests fuzz"

failed=0
while read -r crate uses; do
    [[ " $FREE " == *" $crate "* ]] && continue
    if [ -z "${ALLOWED[$crate]+known}" ]; then
        say "crate $crate is not in the table: draw its arrows in ARCHITECTURE.md and here"
        failed=1
        continue
    fi
    for used in $uses; do
        [[ " ${ALLOWED[$crate]} " == *" $used "* ]] && continue
        say "forbidden: $crate -> $used"
        failed=1
    done
done < <(cargo metadata --no-deps --locked --format-version 1 | jq -r '
    .packages[] | (.name | ltrimstr("godwit-")) as $crate
    | [.dependencies[] | select(.path != null and .kind != "dev") | .name | ltrimstr("godwit-")] | unique
    | "\($crate) \(join(" "))"')
[ "$failed" = 0 ] && say "the crates keep to their arrows"
exit "$failed"
