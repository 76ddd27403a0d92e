//! Record batches as a message carries them: unread, and shared.

use bytes::{Bytes, BytesMut};
use smallvec::{SmallVec, smallvec};

/// Concatenated record batches in one or more slices. Requests are decoded into one slice of their frame; responses are made of as many
/// slices as the log hands out. The bytes are never copied on their way.
#[derive(Clone, Default, Debug)]
pub struct Records(SmallVec<[Bytes; 1]>);

impl Records {
    /// Bytes in all slices together.
    pub fn byte_len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// The slices in order.
    pub fn slices(&self) -> &[Bytes] {
        &self.0
    }

    /// Adds a slice at the end.
    pub fn push(&mut self, slice: Bytes) {
        self.0.push(slice);
    }

    /// All bytes in one piece. Copies only if there are several slices, which a decoded message never has.
    pub fn into_bytes(mut self) -> Bytes {
        match self.0.len() {
            0 => Bytes::new(),
            1 => self.0.remove(0),
            _ => {
                let mut whole = BytesMut::with_capacity(self.byte_len());
                self.0.iter().for_each(|slice| whole.extend_from_slice(slice));
                whole.freeze()
            }
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self(smallvec![bytes])
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(slices: I) -> Self {
        Self(slices.into_iter().collect())
    }
}

/// Equal bytes, however they are cut.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |records: &Self| records.0.clone().into_iter().flatten();
        self.byte_len() == other.byte_len() && bytes(self).eq(bytes(other))
    }
}

impl Eq for Records {}
