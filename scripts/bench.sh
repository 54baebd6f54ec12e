#!/bin/bash
# Figures for people: how long the golden image takes to its first answer, and what it costs idle.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

image=$("$GODWIT" image build --output json | jq -r .path)
for _ in 1 2 3; do
    "$GODWIT" image boot --orders 20 "$image"
done
