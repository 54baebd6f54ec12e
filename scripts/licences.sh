#!/bin/bash
# The dependency and licence check, from deny.toml: every dependency's licence must be allowed,
# every dependency must come from the registry, the banned ones must not come at all.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

# The strings of a list in deny.toml, as JSON.
list() {
    sed -n "/^$1 = \[/,/^\]/p" deny.toml | grep -v '^ *#' | grep -oE '"[^"]+"' | jq -s .
}

cargo metadata --locked --format-version 1 | jq -re --argjson allow "$(list allow)" --argjson deny "$(list deny)" '
    def allowed: . as $licence | $allow | index($licence) != null;
    # `A OR B` needs one, `A AND B` both; the old `/` means OR.
    def fits: gsub(" */ *"; " OR ") | split(" AND ") | all(
        gsub("[()]"; "") | split(" OR ") | any(allowed));
    [.packages[] | select(.source != null)
     | "\(.name) \(.version)" as $name
     | if (.name as $n | $deny | index($n)) then "\($name): banned in deny.toml"
       elif (.source | startswith("registry+") | not) then "\($name): comes from \(.source), not from the registry"
       elif ((.license // "") | fits | not) then "\($name): licence \(.license // "not named") is not in deny.toml"
       else empty end] as $faults
    | if $faults == [] then "licences: \([.packages[] | select(.source != null)] | length) dependencies are fine"
      else ($faults | join("\n")) + "\n" | halt_error(1) end'
