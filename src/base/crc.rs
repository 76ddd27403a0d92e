//! CRC-32C (Castagnoli), the checksum of Kafka's batches and of all our own files. One place, so that its maker can be changed.

use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

/// The checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// The checksum of what `before` is the checksum of, followed by `bytes`.
pub fn extend(before: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!before));
    digest.update(bytes);
    digest.finalize() as u32
}

/// Puts checksums of neighbouring bytes together without looking at the bytes again.
///
/// The checksum of A followed by B is that of A, multiplied by x^(8 |B|) modulo the polynomial, plus that of B. The power is remembered for the
/// next call: batches of one producer tend to have one length.
#[derive(Clone, Copy, Debug)]
pub struct Joiner {
    len: usize,
    power: u32,
}

impl Default for Joiner {
    fn default() -> Self {
        Self { len: 0, power: ONE }
    }
}

impl Joiner {
    /// The checksum of what `first` is the checksum of, followed by `len` bytes with the checksum `second`.
    pub fn join(&mut self, first: u32, second: u32, len: usize) -> u32 {
        if self.len != len {
            *self = Self { len, power: power_of_bytes(len) };
        }
        multiply(self.power, first) ^ second
    }
}

/// The polynomial, its highest power in the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// x^0.
const ONE: u32 = 1 << 31;
/// x^(8 * 2^n) for each n.
const POWERS: [u32; usize::BITS as usize] = {
    let mut powers = [0; usize::BITS as usize];
    let mut power = ONE >> 8;
    let mut n = 0;
    while n < powers.len() {
        powers[n] = power;
        power = multiply(power, power);
        n += 1;
    }
    powers
};

/// a times b modulo the polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// x^(8 * len).
fn power_of_bytes(len: usize) -> u32 {
    let factors = POWERS.iter().enumerate().filter(|(n, _)| len >> n & 1 == 1);
    factors.fold(ONE, |product, (_, power)| multiply(*power, product))
}

#[cfg(test)]
mod tests {
    /// Every length below, in an order that also asks for the same one twice and for none.
    #[test]
    fn joined_checksums_are_those_of_the_joined_bytes() {
        let bytes: Vec<u8> = (0..70_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut joiner = super::Joiner::default();
        for len in [0, 1, 7, 8, 8, 61, 4096, 16_464, 16_464, 65_551, 69_999, 0] {
            let (first, second) = bytes.split_at(bytes.len() - len);
            let joined = joiner.join(super::crc32c(first), super::crc32c(second), len);
            assert_eq!(joined, super::crc32c(&bytes), "{len} bytes joined");
        }
    }

    /// The check value of the CRC catalogue for CRC-32/ISCSI.
    #[test]
    fn the_check_value_holds() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::extend(super::crc32c(b"1234"), b"56789"), 0xe306_9283);
    }
}
