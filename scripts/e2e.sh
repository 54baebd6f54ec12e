#!/bin/bash
# The end-to-end tests on real QEMU. They use what `make unit` has built, so that nothing is
# compiled twice, and the cached golden image, made beforehand, so that no test waits for it.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

cargo test --workspace --locked --test e2e --no-run
GODWIT_BIN=$(realpath "$TARGET/debug/godwit")
export GODWIT_BIN
"$GODWIT_BIN" image build
exec cargo test --workspace --locked --test e2e
