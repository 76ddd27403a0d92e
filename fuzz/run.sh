#!/bin/sh
# Fuzzes the decoder for a number of seconds, starting from Kafka's own bytes in tests/golden/wire.txt. Needs the nightly compiler, no cargo-fuzz.
#   fuzz/run.sh SECONDS
set -eu
seconds=${1:?how many seconds}
cd "$(dirname "$0")"
mkdir -p corpus/wire artifacts/wire
python3 - <<'SEEDS'
import hashlib
apis, lines = {}, []
for line in open("../tests/golden/wire.txt"):
    words = line.split()
    if words[0] == "api":
        apis[words[2]] = int(words[1])
    elif len(words) == 5:
        lines.append(words)
for name, version, _, header, body in lines:
    body = bytes.fromhex(body.replace("-", ""))
    if name.endswith("Request"):
        seed = bytes.fromhex(header) + body
    elif name.removesuffix("Response") not in apis:
        continue  # what clients send each other within other messages
    else:
        key = apis[name.removesuffix("Response")] | 0x8000
        seed = key.to_bytes(2, "big") + int(version).to_bytes(2, "big") + body
    open("corpus/wire/" + hashlib.sha1(seed).hexdigest(), "wb").write(seed)
SEEDS
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
 -Ccodegen-units=1" cargo +nightly build --release --bin wire --target "$target" ${CARGO_JOBS:+-j "$CARGO_JOBS"}
# One input is at most 8 KiB; an allocation of 16 MiB would mean that something was sized from the wire.
exec "${CARGO_TARGET_DIR:-target}/$target/release/wire" -max_total_time="$seconds" -max_len=8192 -malloc_limit_mb=16 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix=artifacts/wire/ corpus/wire
