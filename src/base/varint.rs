//! Variable-length integers: unsigned base 128 as in flexible messages (KIP-482), zigzag as in records (KIP-98).

/// Bytes of the longest `u32`.
pub const U32_BYTES_MAX: usize = 5;
/// Bytes of the longest `u64`.
pub const U64_BYTES_MAX: usize = 10;

/// Reads an unsigned 32-bit number: its value and how many bytes it took. `None`: the bytes end early or the number is overlong.
pub fn read_u32(bytes: &[u8]) -> Option<(u32, usize)> {
    let (value, taken) = read_u64(bytes.get(..bytes.len().min(U32_BYTES_MAX))?)?;
    Some((u32::try_from(value).ok()?, taken))
}

/// Reads an unsigned 64-bit number: its value and how many bytes it took. `None`: the bytes end early or the number is overlong.
pub fn read_u64(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (place, byte) in bytes.iter().take(U64_BYTES_MAX).enumerate() {
        if place == U64_BYTES_MAX - 1 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

/// Reads a zigzag 64-bit number. `None` as in [`read_u64`].
pub fn read_i64(bytes: &[u8]) -> Option<(i64, usize)> {
    let (raw, taken) = read_u64(bytes)?;
    Some(((raw >> 1) as i64 ^ -((raw & 1) as i64), taken))
}

/// Reads a zigzag 32-bit number. `None` as in [`read_u32`].
pub fn read_i32(bytes: &[u8]) -> Option<(i32, usize)> {
    let (raw, taken) = read_u32(bytes)?;
    Some(((raw >> 1) as i32 ^ -((raw & 1) as i32), taken))
}

/// Appends an unsigned number.
pub fn write_u64(out: &mut impl Extend<u8>, mut value: u64) {
    while value >= 0x80 {
        out.extend([value as u8 | 0x80]);
        value >>= 7;
    }
    out.extend([value as u8]);
}

/// Appends an unsigned 32-bit number.
pub fn write_u32(out: &mut impl Extend<u8>, value: u32) {
    write_u64(out, u64::from(value));
}

/// Appends a zigzag number.
pub fn write_i64(out: &mut impl Extend<u8>, value: i64) {
    write_u64(out, (value << 1 ^ value >> 63) as u64);
}

/// Appends a zigzag 32-bit number.
pub fn write_i32(out: &mut impl Extend<u8>, value: i32) {
    write_u32(out, (value << 1 ^ value >> 31) as u32);
}

/// How many bytes [`write_u64`] writes.
pub fn len_u64(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, -1, 63, 64, -64, -65, 300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            write_i64(&mut bytes, value);
            assert_eq!(read_i64(&bytes), Some((value, bytes.len())));
            assert_eq!(read_i64(&bytes[..bytes.len() - 1]), None);
            if let Ok(value) = i32::try_from(value) {
                bytes.clear();
                write_i32(&mut bytes, value);
                assert_eq!(read_i32(&bytes), Some((value, bytes.len())));
            }
        }
        for value in [0, 127, 128, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            write_u64(&mut bytes, value);
            assert_eq!((read_u64(&bytes), len_u64(value)), (Some((value, bytes.len())), bytes.len()));
        }
    }

    #[test]
    fn an_overlong_number_is_refused() {
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(read_u32(&[0x80; 6]), None);
        assert_eq!(read_u64(&[0xff; 11]), None);
    }
}
