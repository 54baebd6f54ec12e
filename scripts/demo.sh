#!/bin/bash
# The whole story once: golden image, a farm of two blades, the paper's test in the profile
# `demo`, the report. Whatever happens, the farm is taken down at the end.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

OUT=out/demo
# A lab of its own: one that somebody uses is neither disturbed nor taken down.
LAB=/var/lib/godwit/demo

[ "$(id -u)" = 0 ] || die "the lab needs root: run 'make demo' as root"

take_down() {
    trap '' INT TERM
    "$GODWIT" lab down --dir "$LAB" --purge >&2 || say "the lab did not come down whole: run 'make clean'"
}
step() { say "[$((SECONDS / 60)):$(printf %02d $((SECONDS % 60)))] $*"; }

step "golden image"
image=$("$GODWIT" image build --output json | jq -r .path)

trap take_down EXIT
trap 'exit 130' INT TERM
step "a farm of two blades"
"$GODWIT" lab up --dir "$LAB"
status=$("$GODWIT" lab status --dir "$LAB" --output json)
GODWIT_MANAGER=$(jq -r .manager.address <<<"$status")
GODWIT_CA=$(jq -r .manager.ca <<<"$status")
GODWIT_TOKEN_FILE=$(jq -r .manager.token <<<"$status")
export GODWIT_MANAGER GODWIT_CA GODWIT_TOKEN_FILE

step "template"
"$GODWIT" template create golden --image "$image"

step "the test: orders without migrations, then the same orders with them"
"$GODWIT" experiment run --profile demo --template golden --out "$OUT"

step "done"
echo
cat "$OUT/table5.md"
echo
jq -r '"kept \(.kept_percent) % of the orders per minute; valid: \(.valid)"' "$OUT/report.json"
echo "the report: $PWD/$OUT/report.html"
