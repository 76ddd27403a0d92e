#!/usr/bin/env python3
"""A power cut for the file system: what is only in the page cache is gone, and every acknowledged record must be there at the next start.

Makes an ext4 in a file under target/, mounts it, starts a broker on it, produces to many partitions (so many that the broker flushes the whole file
system), and shuts the file system down in the middle of it (EXT4_IOC_SHUTDOWN without flushing its log). The broker must end with code 20. Then the
file system is checked, mounted and served again, and each acknowledged record is read at its offset.

Needs root, loop devices, mkfs.ext4 and e2fsck, 14 GB of disk, and confluent-kafka (tests/clients/requirements.txt). Not run by `cargo test` because of that.
It does not lose what the disk itself had in a cache, and without a journal only the data of files: lengths and names are written when the file system is
unmounted. The simulation loses all of that.

    cargo build --release && tests/power_cut.py [--no-journal] [--rounds N] [--partitions N]
"""

import argparse
import fcntl
import os
import random
import struct
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "power_cut"
IMAGE, MOUNT = WORK / "disk", WORK / "mount"
BROKER = ROOT / "target" / "release" / "coretide"
PORT = 24117
ADDRESS = f"127.0.0.1:{PORT}"
TOPIC = "cut"
IMAGE_BYTES = 14 << 30
RECORD_BYTES = 40_000
EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING_THE_LOG = 2
STORAGE_FAILED = 20


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout.strip()


class Disk:
    """The file system, and the loop device that it is mounted from."""

    def __init__(self, journal):
        WORK.mkdir(parents=True, exist_ok=True)
        MOUNT.mkdir(exist_ok=True)
        run("fallocate", "-l", IMAGE_BYTES, IMAGE)
        features = [] if journal else ["-O", "^has_journal"]
        run("mkfs.ext4", "-q", "-F", *features, "-E", "lazy_itable_init=0,lazy_journal_init=0", IMAGE)
        self.mount()

    def mount(self):
        self.device = run("losetup", "--direct-io=on", "--show", "-f", IMAGE)
        run("mount", self.device, MOUNT)

    def unmount(self):
        run("umount", MOUNT)
        run("losetup", "-d", self.device)

    def remove(self):
        self.unmount()
        IMAGE.unlink()

    def checked(self):
        if subprocess.run(["e2fsck", "-fy", str(IMAGE)], capture_output=True).returncode >= 4:
            raise SystemExit("the file system cannot be mended")

    def cut(self):
        fd = os.open(MOUNT, os.O_RDONLY)
        if os.fstat(fd).st_dev != os.stat(self.device).st_rdev:
            raise SystemExit(f"{MOUNT} is not what was mounted there")
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
        os.close(fd)

    def comes_back(self):
        self.unmount()
        self.checked()
        self.mount()


def broker():
    """A broker that answers. Its journals are small, so that their files are soon written again."""
    with open(WORK / "broker.log", "a") as log:
        command = [BROKER, "--listen", ADDRESS, "--data-dir", MOUNT / "data", "--journal-size", "128MiB"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    client = AdminClient({"bootstrap.servers": ADDRESS, "log_level": 0})
    for _ in range(60):
        try:
            client.list_topics(timeout=1)
            return process
        except Exception:
            if process.poll() is not None:
                break
    process.kill()
    process.wait()
    raise SystemExit(f"the broker did not start: see {WORK / 'broker.log'}")


class Load:
    """A producer that goes on until it is told to stop, and what was acknowledged to it: the record at each partition and offset."""

    def __init__(self, name, partitions):
        self.acknowledged, self.stop = {}, threading.Event()
        self.thread = threading.Thread(target=self.produce, args=(name, partitions))
        self.thread.start()

    def produce(self, name, partitions):
        producer = Producer({
            "bootstrap.servers": ADDRESS, "acks": "all", "retries": 0, "message.timeout.ms": 5000, "linger.ms": 2,
            "queue.buffering.max.kbytes": 65536, "log_level": 0,
        })
        padding, number = os.urandom(RECORD_BYTES), 0
        while not self.stop.is_set():
            record = f"{name}-{number}".encode()
            try:
                producer.produce(
                    TOPIC, record + b" " + padding, partition=random.randrange(partitions),
                    on_delivery=lambda error, message, record=record: self.answered(error, message, record),
                )
                number += 1
                producer.poll(0)
            except BufferError:
                producer.poll(0.01)
        producer.flush(6)

    def answered(self, error, message, record):
        if error is None:
            self.acknowledged[message.partition(), message.offset()] = record

    def ended(self):
        self.stop.set()
        self.thread.join()
        return self.acknowledged


def read_all(partitions):
    consumer = Consumer({"bootstrap.servers": ADDRESS, "group.id": "cut", "enable.auto.commit": False, "check.crcs": True, "log_level": 0})
    ranges = [(p, *consumer.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=10)) for p in range(partitions)]
    consumer.assign([TopicPartition(TOPIC, p, low) for p, low, _ in ranges])
    wanted, found, silent = sum(high - low for _, low, high in ranges), {}, 0
    while len(found) < wanted and silent < 10:
        messages = [message for message in consumer.consume(2000, 1) if message.error() is None]
        silent = 0 if messages else silent + 1
        for message in messages:
            found[message.partition(), message.offset()] = message.value().split(b" ", 1)[0]
    consumer.close()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-journal", action="store_true", help="an ext4 without a journal of its own")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--partitions", type=int, default=400)
    options = parser.parse_args()
    for number in range(1, options.rounds + 1):
        with ExitStack() as afterwards:
            tell(number, *story(afterwards, options))


def story(afterwards, options):
    disk = Disk(journal=not options.no_journal)
    afterwards.callback(disk.remove)
    process = broker()
    afterwards.callback(end, process)
    admin = AdminClient({"bootstrap.servers": ADDRESS, "log_level": 0})
    admin.create_topics([NewTopic(TOPIC, options.partitions, 1)])[TOPIC].result()
    loads = [Load(name, options.partitions) for name in "ab"]
    for load in loads:
        afterwards.callback(load.ended)
    time.sleep(random.uniform(2, 7))
    disk.cut()
    code = process.wait(timeout=10)
    acknowledged = {place: record for load in loads for place, record in load.ended().items()}
    disk.comes_back()
    process = broker()
    afterwards.callback(end, process)
    return code, acknowledged, read_all(options.partitions)


def end(process):
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tell(number, code, acknowledged, found):
    lost = [place for place, record in acknowledged.items() if found.get(place) != record]
    print(f"round {number}: the broker ended with {code}; {len(acknowledged)} acknowledged, {len(found)} read, {len(lost)} lost", flush=True)
    if code != STORAGE_FAILED or lost or not acknowledged:
        raise SystemExit(f"lost, by partition and offset: {lost[:10]}")


if __name__ == "__main__":
    main()
