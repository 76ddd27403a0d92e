"""Produces and consumes with kafka-python, without groups: smoke.py HOST:PORT

For each codec an idempotent producer with acks=all sends records with keys, headers and timestamps to four partitions; a consumer that was assigned
the partitions reads them from the beginning and compares all of it. Then the offsets by time, and a topic's life. Ends with 0 if all is as sent.
"""

import sys
import time
import uuid

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

PARTITIONS = 4
RECORDS = 2000
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


def sent_records(codec):
    """What is sent: (partition, key, value, timestamp in ms, headers), the same in every run but for the time."""
    now = int(time.time() * 1000)
    for number in range(RECORDS):
        value = (f"{codec} {number} " * (1 + number % 50)).encode()
        yield number % PARTITIONS, str(number).encode(), value, now - RECORDS + number, [("number", str(number).encode())]


def produce(bootstrap, topic, codec):
    """Sends all records and returns them by (partition, offset)."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, compression_type=codec, linger_ms=5
    )
    waiting = []
    for partition, key, value, timestamp, headers in sent_records(codec):
        future = producer.send(topic, value, key, headers, partition, timestamp)
        waiting.append((future, (key, value, timestamp, headers)))
    producer.flush(timeout=60)
    sent = {}
    for future, record in waiting:
        metadata = future.get(timeout=60)
        sent[(metadata.partition, metadata.offset)] = record
    producer.close(timeout=10)
    assert len(sent) == RECORDS, f"{len(sent)} places for {RECORDS} records"
    return sent


def consume(bootstrap, topic, count):
    """Reads `count` records from the beginning of all partitions and returns them by (partition, offset)."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, check_crcs=True)
    partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    received = {}
    deadline = time.monotonic() + 60
    while len(received) < count and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=1000).values():
            for record in records:
                headers = [(name, bytes(value)) for name, value in record.headers]
                place = (record.partition, record.offset)
                assert place not in received, f"{place} came twice"
                received[place] = (record.key, record.value, record.timestamp, headers)
    check_offsets(consumer, partitions, received)
    consumer.close()
    return received


def check_offsets(consumer, partitions, received):
    """Beginning, end, and the first record not older than the middle one."""
    beginning = consumer.beginning_offsets(partitions)
    end = consumer.end_offsets(partitions)
    for partition in partitions:
        mine = sorted(offset for number, offset in received if number == partition.partition)
        assert beginning[partition] == 0, beginning
        assert end[partition] == len(mine) == mine[-1] + 1, (end, len(mine))
        middle = received[(partition.partition, mine[len(mine) // 2])][2]
        found = consumer.offsets_for_times({partition: middle})[partition]
        assert found.offset == mine[len(mine) // 2], (found, mine[len(mine) // 2])


def main(bootstrap):
    run = uuid.uuid4().hex[:8]
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    for codec in CODECS:
        topic = f"smoke-{codec or 'none'}-{run}"
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        sent = produce(bootstrap, topic, codec)
        received = consume(bootstrap, topic, RECORDS)
        assert received == sent, f"{codec}: {len(set(sent) ^ set(received))} places differ"
        print(f"ok: {codec or 'none'}: {len(received)} records came back as sent")
        try:
            admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
            raise AssertionError("a topic was created twice")
        except TopicAlreadyExistsError:
            pass
        admin.delete_topics([topic])
        assert topic not in admin.list_topics(), f"{topic} is still there"
    admin.close()
    print("ok: topics were created, refused the second time, and deleted")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
