//! What can be wrong with a disk, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the disk, or of what was found on it.
///
/// The peer is never at fault here. A failed write or flush ends the process (nothing more is acknowledged); damage and failed reads close
/// only the range they stand in.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Bytes that were acknowledged do not pass their checks. The range answers KAFKA_STORAGE_ERROR; nobody exits.
    #[error(
        "{} at byte {position}: {found}; the data was acknowledged and is damaged. Restore this file from a \
         copy; other ranges are served.", file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in it, in bytes.
        position: u64,
        /// What is there.
        found: Fault,
    },
    /// The device did not give back what it holds. The range answers KAFKA_STORAGE_ERROR; nobody exits.
    #[error("{} could not be read: {source}. Other files are served; look at the device.", file.display())]
    ReadFailed {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A write, a flush or a change of a directory failed. Nothing more is acknowledged and the process ends; recovery decides.
    #[error(
        "{} did not take a write: {source}. Nothing more is acknowledged; after the cause is removed, start again.", file.display()
    )]
    WriteFailed {
        /// The file or directory.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The device is full. The journal still has the bytes.
    #[error("no space left for {}. Free space on this device, then start again; acknowledged data is in the journal.", file.display())]
    NoSpace {
        /// The file that could not grow.
        file: PathBuf,
    },
}

impl StorageError {
    /// Damage at `position` of `file`.
    pub fn corrupt(file: &Path, position: u64, found: Fault) -> Self {
        Self::Corrupt { file: file.to_owned(), position, found }
    }

    /// For `map_err` of a read of `file`.
    pub fn read(file: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::ReadFailed { file: file.to_owned(), source }
    }

    /// For `map_err` of a write, flush or directory change of `file`. A full device has its own kind.
    pub fn write(file: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { file: file.to_owned() },
            _ => Self::WriteFailed { file: file.to_owned(), source },
        }
    }

    /// Whether the process must stop acknowledging and end: everything but damage and failed reads.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::WriteFailed { .. } | Self::NoSpace { .. })
    }
}

/// What was found in place of sound bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The checksum that was kept and the one of the bytes differ.
    Checksum {
        /// The one that was kept.
        kept: u32,
        /// The one of the bytes.
        found: u32,
    },
    /// The file ends before its data does.
    Short {
        /// Bytes that must be there.
        wanted: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A file begins with other bytes than its kind does.
    Magic,
    /// A file of a version that this program does not know.
    Version(u32),
    /// The file belongs to another data directory, log or segment.
    Foreign,
    /// Bytes break a rule of their format; the text names it.
    Malformed(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum { kept, found } => write!(f, "checksum {kept:08x} was kept, the bytes have {found:08x}"),
            Self::Short { wanted, found } => write!(f, "{wanted} bytes must be here, there are {found}"),
            Self::Magic => f.write_str("the file begins with the wrong magic bytes"),
            Self::Version(version) => write!(f, "format version {version} is not known"),
            Self::Foreign => f.write_str("the file belongs to another data directory, log or segment"),
            Self::Malformed(rule) => write!(f, "malformed: {rule}"),
        }
    }
}
