//! CRC-32C (Castagnoli), the checksum of Kafka's batches and of all our own files. One function, so that its maker can be changed.

/// The checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// The checksum of what `before` is the checksum of, followed by `bytes`.
pub fn extend(before: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(before, bytes)
}

#[cfg(test)]
mod tests {
    /// The check value of the CRC catalogue for CRC-32/ISCSI.
    #[test]
    fn the_check_value_holds() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::extend(super::crc32c(b"1234"), b"56789"), 0xe306_9283);
    }
}
