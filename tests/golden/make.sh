#!/bin/sh
# Makes wire.txt, schemas.txt, consumer_offsets.txt, groups.txt and consumers.txt anew from a directory that holds the jars of kafka-clients and kafka-group-coordinator
# 4.3.1, and those that they need (jackson, kafka-coordinator-common, kafka-server-common and so on).
#   tests/golden/make.sh JARS
set -eu
jars=${1:?the directory of the jars}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck disable=SC2046 # names of messages have no spaces
set -- $(sed -n 's/^ *\([A-Z][A-Za-z]*\), versions.*/\1/p' "$here"/../../src/protocol/messages/*.rs)
java -cp "$jars/*" "$here/GoldenWire.java" "$@" > "$here/wire.txt.new"
mv "$here/wire.txt.new" "$here/wire.txt"
python3 "$here/schemas.py" "$jars" "$@" > "$here/schemas.txt.new"
mv "$here/schemas.txt.new" "$here/schemas.txt"
java -cp "$jars/*" "$here/GoldenRecords.java" > "$here/consumer_offsets.txt.new"
mv "$here/consumer_offsets.txt.new" "$here/consumer_offsets.txt"
java -cp "$jars/*" "$here/GoldenGroups.java" 320 1 2 3 92 261 422 471 593 2>/dev/null > "$here/groups.txt.new"
mv "$here/groups.txt.new" "$here/groups.txt"
java -cp "$jars/*" "$here/GoldenConsumers.java" 400 1 2 3 4 5 6 2>/dev/null > "$here/consumers.txt.new"
mv "$here/consumers.txt.new" "$here/consumers.txt"
