//! Which partition of `__consumer_offsets` a group belongs to.

use crate::base::PartitionIndex;

/// The partition that holds `group`, as Kafka and its tools reckon it: Java's hash of the name, without its sign, modulo the partitions.
///
/// Panics if there are no partitions.
pub fn partition_for(group: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "{partitions} partitions");
    // Java hashes UTF-16 code units. Its smallest number has no absolute value; Kafka takes 0.
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex(hash.checked_abs().unwrap_or(0) % partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_live_where_kafka_puts_them() {
        let mut checked = 0;
        for line in include_str!("../../tests/golden/consumer_offsets.txt").lines() {
            let ["hash", name, partitions, partition] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
            let hex = if name == "-" { "" } else { name };
            let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
            let name = String::from_utf8((0..hex.len()).step_by(2).map(digits).collect()).expect("UTF-8");
            let (partitions, partition) = (partitions.parse().unwrap(), PartitionIndex(partition.parse().unwrap()));
            assert_eq!(partition_for(&name, partitions), partition, "{name} of {partitions}");
            checked += 1;
        }
        assert_eq!(checked, 21);
    }
}
