#!/usr/bin/env bash
# The full check: kill -9 in the middle of a saturating idempotent produce, 50 times, with the release build.
# Arguments go to the test program. What is checked stands at the top of tests/kill9.rs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CORETIDE_KILL9_ROUNDS=${CORETIDE_KILL9_ROUNDS:-50}
exec cargo test --release --locked --package coretide --test kill9 -- --nocapture "$@"
