#!/bin/bash
# The end-to-end tests on real QEMU. They use the release build, as users do, and the cached
# golden image; both are made beforehand, so that no test waits for them.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

if [ ! -e tests/Cargo.toml ]; then
    say "there are no end-to-end tests in this tree"
    exit 0
fi
cargo build --release --locked -p godwit
"$GODWIT" image build
GODWIT_BIN=$(realpath "$GODWIT")
export GODWIT_BIN
exec cargo test --locked -p godwit-tests
