#!/bin/bash
# Takes down the labs that are left and removes what was built. Reports and images stay.
set -uo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

failed=0
# A tree without a build can only have labs of another one, which that one takes down.
if [ -x "$GODWIT" ]; then
    for lab in /var/lib/godwit/lab /var/lib/godwit/demo /var/lib/godwit/test*; do
        [ -e "$lab/lab.json" ] || continue
        say "taking down the lab in $lab"
        "$GODWIT" lab down --dir "$lab" --purge || failed=1
    done
fi
if [ "$failed" != 0 ]; then
    die "a lab did not come down whole, so the program that can do it stays: see above"
fi
cargo clean --quiet
kept=$(du -csh /var/cache/godwit out 2>/dev/null | tail -n 1 | cut -f1)
say "removed $TARGET; kept: reports in out/, golden images in /var/cache/godwit (${kept:-nothing} together)"
