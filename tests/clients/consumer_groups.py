"""Two members of a group of the consumer protocol (KIP-848), with librdkafka: consumer_groups.py HOST:PORT

The second one comes while the first one reads, and leaves again; meanwhile records go on coming. Each record must be read once, and all of them must be
committed in the end. The group is described and listed as one of its type. Ends with 0 if all of that is so.
"""

import sys
import threading
import time
import uuid

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, ConsumerGroupType, Producer
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 6
RECORDS = 5400


class Member(threading.Thread):
    """Reads and commits each record, until it is told to leave."""

    def __init__(self, bootstrap, group, topic):
        super().__init__()
        self.config = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
        self.topic, self.read, self.faults = topic, [], []
        self.leave = threading.Event()

    def run(self):
        consumer = Consumer(self.config)
        consumer.subscribe([self.topic])
        while not self.leave.is_set():
            message = consumer.poll(0.1)
            if message is None:
                continue
            if message.error():
                self.faults.append(message.error())
                continue
            self.read.append((message.partition(), message.offset()))
            consumer.commit(message, asynchronous=False)
        consumer.close()


def until(what, happens, seconds=60):
    """Waits for it."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def produce(bootstrap, topic, count):
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for number in range(count):
        producer.produce(topic, str(number).encode(), partition=number % PARTITIONS)
    assert producer.flush(60) == 0, "not all records were sent"


def main(bootstrap):
    name = f"members-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
    describe = lambda: admin.describe_consumer_groups([name])[name].result(30)
    first, second = Member(bootstrap, name, name), Member(bootstrap, name, name)
    members = [first, second]
    try:
        produce(bootstrap, name, RECORDS // 3)
        first.start()
        until("the first one reads", lambda: first.read)
        second.start()
        shares = lambda: sorted(len(member.assignment.topic_partitions) for member in describe().members)
        until("the two share", lambda: shares() == [PARTITIONS // 2, PARTITIONS // 2])
        assert describe().type == ConsumerGroupType.CONSUMER, describe().type
        produce(bootstrap, name, RECORDS // 3)
        until("the second one reads", lambda: second.read)
        second.leave.set()
        second.join(30)
        produce(bootstrap, name, RECORDS // 3)
        until("all is read", lambda: len(first.read) + len(second.read) >= RECORDS)
    finally:
        for member in members:
            member.leave.set()
        for member in members:
            if member.is_alive():
                member.join(30)
    places = first.read + second.read
    assert not first.faults + second.faults, first.faults + second.faults
    assert len(places) == len(set(places)) == RECORDS, f"{len(places)} read, {len(set(places))} of them once"
    asked = ConsumerGroupTopicPartitions(name)
    offsets = admin.list_consumer_group_offsets([asked])[name].result(30).topic_partitions
    assert [place.offset for place in offsets] == [RECORDS // PARTITIONS] * PARTITIONS, offsets
    listed = {group.group_id: group.type for group in admin.list_consumer_groups().result(30).valid}
    assert listed[name] == ConsumerGroupType.CONSUMER, listed
    admin.delete_consumer_groups([name])[name].result(30)
    admin.delete_topics([name])[name].result(30)
    print(f"ok: {len(first.read)} and {len(second.read)} records, each read once and committed")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
