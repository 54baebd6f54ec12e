#!/bin/bash
# Figures for people: how long the golden image takes to its first answer and what it costs idle,
# then what moving a VM costs by stock QEMU and by Godwit (by its plan about 45 minutes; `QUICK=1` for the short form).
# Whatever happens, the farm is taken down at the end.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

OUT=out/bench
# A lab of its own: one that somebody uses is neither disturbed nor taken down.
LAB=/var/lib/godwit/bench

step() { say "[$((SECONDS / 60)):$(printf %02d $((SECONDS % 60)))] $*"; }

image=$("$GODWIT" image build --output json | jq -r .path)
for _ in 1 2 3; do
    "$GODWIT" image boot --orders 20 "$image"
done

# The paper's VMs had 1 GB of data each: more than their memory, so that it is in use.
image=$("$GODWIT" image build --size 1GB --output json | jq -r .path)

[ "$(id -u)" = 0 ] || die "the lab needs root: run 'make bench' as root"

take_down() {
    trap '' INT TERM
    "$GODWIT" lab down --dir "$LAB" --purge >&2 || say "the lab did not come down whole: run 'make clean'"
}
rm -f "$OUT"/migration.{json,svg,html}
trap take_down EXIT
trap 'exit 130' INT TERM

# A farm of two blades with the template; options go to `lab up`.
build_lab() {
    "$GODWIT" lab up --dir "$LAB" "$@" >&2
    local status
    status=$("$GODWIT" lab status --dir "$LAB" --output json)
    GODWIT_MANAGER=$(jq -r .manager.address <<<"$status")
    GODWIT_CA=$(jq -r .manager.ca <<<"$status")
    GODWIT_TOKEN_FILE=$(jq -r .manager.token <<<"$status")
    export GODWIT_MANAGER GODWIT_CA GODWIT_TOKEN_FILE
    "$GODWIT" template create golden --image "$image" >&2
}

quick=()
[ -z "${QUICK:-}" ] || quick=(--quick)
files=(--json "$OUT/migration.json" --svg "$OUT/migration.svg" --html "$OUT/migration.html")

step "a farm of two blades with 1 Gb/s cards"
build_lab
step "moves over 1 Gb/s"
# A move that failed makes the bench fail in the end; the others are worth knowing all the same.
failed=0
"$GODWIT" bench migration --lab "$LAB" "${quick[@]}" "${files[@]}" >&2 || failed=1
[ -e "$OUT/migration.json" ] || die "nothing was measured"

step "the same farm with cards as fast as the machine"
"$GODWIT" lab down --dir "$LAB" --purge >&2
build_lab --unshaped
step "moves over unshaped cards"
"$GODWIT" bench migration --lab "$LAB" "${quick[@]}" --engines plain,multifd-zstd,godwit \
    --append-to "$OUT/migration.json" "${files[@]}" || failed=1

step "done"
echo "the chart: $PWD/$OUT/migration.html"
exit "$failed"
