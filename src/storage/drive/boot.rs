//! What stands in a data directory when a broker starts: its identity, its journals and their checkpoints.
//!
//! ```text
//! DATA/coretide.meta            format version and UUID of the directory
//! DATA/metadata/<id>/           the metadata journal: files and two checkpoints
//! DATA/journals/<id>/           one journal per core (or below --journal-dir)
//! DATA/topics/<topic>/<partition>-<log id>/   segments
//! ```
//!
//! Journals have ids, not core numbers. A journal that was closed by a clean stop is used again; one that was not is read, drained and
//! removed, and fresh files take its place: nothing is ever written to a file that a dead process may still have open. A directory that is
//! on its way out is called `<id>.retired`: what is left of it after a crash is never read.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::journal::{JournalFiles, file_number};
use crate::base::{Incarnation, JournalId, LogId};
use crate::io::Io;
use crate::storage::checkpoint::{self, Checkpoint, CheckpointFault};
use crate::storage::journal::block::Owner;
use crate::storage::journal::recover::{self, Damage, Scanned, Verdict};
use crate::storage::journal::{Committed, Opened, Tail};
use crate::storage::{Fault, StorageError};

/// The format of the data directory that this build reads and writes.
pub const FORMAT: u32 = 1;
/// The file that names the directory.
pub const META_FILE: &str = "coretide.meta";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A later Coretide wrote it.
    #[error("{} was written by a newer Coretide (format {found}; this build knows {FORMAT}). Start that version.", dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The directory holds other things, or the file that names it is damaged.
    #[error("{} is not a data directory of Coretide: {found}. Name an empty directory, or restore {META_FILE}.", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        found: &'static str,
    },
    /// Acknowledged data in a journal is damaged.
    #[error("the journal {} is damaged at block {}: data up to block {} was acknowledged. {}", dir.display(), damage.sequence, damage.committed, holes(damage))]
    Damaged {
        /// The journal's directory.
        dir: PathBuf,
        /// What is damaged.
        damage: Damage,
    },
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn holes(damage: &Damage) -> String {
    if damage.holes.is_empty() {
        return "Which partitions are touched cannot be told. Restore the journal from a copy.".into();
    }
    let list: Vec<_> =
        damage.holes.iter().map(|(log, first, last)| format!("log {log} offsets {first} to {last}")).collect();
    format!("Touched: {}. Restore the journal from a copy.", list.join(", "))
}

/// Reads the identity of a data directory, or makes it a new one.
pub async fn open_directory(io: &Io, dir: &Path) -> Result<[u8; 16], DirectoryError> {
    let path = dir.join(META_FILE);
    let foreign = |found| DirectoryError::Foreign { dir: dir.to_owned(), found };
    match io.read_file(&path).await {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| foreign("its name file is not text"))?;
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            let format = field("format").and_then(|text| text.parse().ok()).ok_or(foreign("it names no format"))?;
            if format > FORMAT {
                return Err(DirectoryError::Newer { dir: dir.to_owned(), found: format });
            }
            field("uuid").and_then(parse_uuid).ok_or(foreign("it names no UUID"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let entries = io.list_dir(dir).await.map_err(StorageError::read(dir))?;
            if entries.iter().any(|name| ["metadata", "journals", "topics"].contains(&name.as_str())) {
                return Err(foreign("there is data, but no name file"));
            }
            flush_names(io, dir).await?;
            let mut uuid = [0; 16];
            uuid[..8].copy_from_slice(&io.random_u64().to_be_bytes());
            uuid[8..].copy_from_slice(&io.random_u64().to_be_bytes());
            let text = format!("format={FORMAT}\nuuid={}\n", print_uuid(&uuid));
            io.write_file_durably(&path, text.as_bytes()).await.map_err(StorageError::write(&path))?;
            Ok(uuid)
        }
        Err(error) => Err(StorageError::read(&path)(error).into()),
    }
}

/// Makes the names by which `dir` is reached durable, all the way up: whoever made it, or the one above it, may have died before doing so, and a
/// power cut would take everything below. What may not be read was there before, since whoever makes a directory may read it.
///
/// # Errors
/// [`StorageError::WriteFailed`].
pub async fn flush_names(io: &Io, dir: &Path) -> Result<(), StorageError> {
    for parent in dir.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match io.sync_dir(parent).await {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            flushed => flushed.map_err(StorageError::write(parent))?,
        }
    }
    Ok(())
}

/// 32 hexadecimal digits.
pub fn print_uuid(uuid: &[u8; 16]) -> String {
    uuid.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    (text.len() == 32 && text.is_ascii()).then_some(())?;
    for (at, byte) in uuid.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(uuid)
}

/// A journal as it was found.
pub struct Found {
    /// Its directory.
    pub dir: PathBuf,
    /// Its id.
    pub owner: Owner,
    /// Its newest valid checkpoint.
    pub checkpoint: Checkpoint,
    /// The entries that count. Empty after a clean stop.
    pub entries: Vec<Committed>,
    /// The end of its chain.
    pub end: Opened,
    /// It was closed by a clean stop and may be used again.
    pub clean: bool,
    /// The numbers of its files.
    pub files: Vec<u32>,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Blocks behind the frontier of a crash, none of them acknowledged.
    pub discarded: usize,
    /// The files, open and locked while recovery needs them, so that no dead process can still write to them.
    pub held: Option<JournalFiles>,
}

/// How recovery may be wrong on purpose, for the simulation.
#[derive(Clone, Copy, Default, Debug)]
pub struct ReadDefects {
    /// Takes blocks behind the first gap.
    pub behind_frontier: bool,
}

/// Reads every journal below `parent`, in the order of their ids. A directory without any checkpoint and without any block was being
/// made when the broker died, and is removed: nothing was ever acknowledged in it, and its id will be given again.
pub async fn find_journals(
    io: &Io,
    parent: &Path,
    directory: [u8; 16],
    defects: ReadDefects,
) -> Result<Vec<Found>, DirectoryError> {
    let names = match io.list_dir(parent).await {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StorageError::read(parent)(error).into()),
    };
    for name in names.iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == RETIRED)) {
        let dir = parent.join(name);
        io.remove_dir_all(&dir).await.map_err(StorageError::write(&dir))?;
    }
    let mut ids: Vec<_> = names.iter().filter_map(|name| Some((u32::from_str_radix(name, 16).ok()?, name))).collect();
    ids.sort();
    let mut found = Vec::new();
    for (id, name) in ids {
        let dir = parent.join(name);
        match read_journal(io, &dir, Owner { directory, journal: JournalId(id) }, defects).await? {
            Some(journal) => found.push(journal),
            None => {
                io.remove_dir_all(&dir).await.map_err(StorageError::write(&dir))?;
                io.sync_dir(parent).await.map_err(StorageError::write(parent))?;
            }
        }
    }
    Ok(found)
}

/// Removes the directory of a journal that nothing needs any more. Its files go one by one, so it gets another name first: half of a journal would
/// look like a damaged one.
///
/// # Errors
/// [`StorageError::WriteFailed`].
pub async fn remove_journal(io: &Io, dir: &Path) -> Result<(), StorageError> {
    let retired = dir.with_extension(RETIRED);
    let parent = dir.parent().unwrap_or(dir);
    io.rename(dir, &retired).await.map_err(StorageError::write(dir))?;
    io.sync_dir(parent).await.map_err(StorageError::write(parent))?;
    io.remove_dir_all(&retired).await.map_err(StorageError::write(&retired))?;
    io.sync_dir(parent).await.map_err(StorageError::write(parent))
}

/// How the name of a directory ends that is being removed.
const RETIRED: &str = "retired";

async fn read_journal(
    io: &Io,
    dir: &Path,
    owner: Owner,
    defects: ReadDefects,
) -> Result<Option<Found>, DirectoryError> {
    let names = io.list_dir(dir).await.map_err(StorageError::read(dir))?;
    let mut files: Vec<u32> = names.iter().filter_map(|name| file_number(name)).collect();
    files.sort();
    let checkpoint = newest_checkpoint(io, dir, &owner).await?;
    if let Some(checkpoint) = checkpoint.clone().filter(|checkpoint| checkpoint.clean) {
        let (end, dir) = (checkpoint.end, dir.to_owned());
        let (entries, bytes_read) = (Vec::new(), 0);
        let clean = true;
        return Ok(Some(Found {
            dir,
            owner,
            checkpoint,
            entries,
            end,
            clean,
            files,
            bytes_read,
            discarded: 0,
            held: None,
        }));
    }
    let held = JournalFiles::new(dir.to_owned());
    let (mut scanned, mut bytes_read) = (Vec::<Scanned>::new(), 0);
    for number in &files {
        held.open(io, *number).await?;
        let bytes = held.read_whole(*number).await?;
        bytes_read += bytes.len() as u64;
        scanned.extend(recover::scan(&owner, *number, &bytes));
    }
    let Some(checkpoint) = checkpoint else {
        if scanned.is_empty() {
            return Ok(None);
        }
        let path = dir.join(checkpoint::FILE_NAMES[0]);
        let fault = Fault::Malformed("neither checkpoint of this journal is whole, and the journal holds blocks");
        return Err(StorageError::corrupt(&path, 0, fault).into());
    };
    let mut committed = checkpoint.committed;
    if defects.behind_frontier {
        recover::pretend_no_gap(&mut scanned, checkpoint.tail);
        committed = 0;
    }
    match recover::judge(checkpoint.tail, committed, scanned) {
        Verdict::Damaged(damage) => Err(DirectoryError::Damaged { dir: dir.to_owned(), damage }),
        Verdict::Clean { blocks, end, discarded } => {
            // A journal that was made but never written to ends where its checkpoint says.
            let end = if blocks.is_empty() { checkpoint.end } else { end };
            let entries = recover::entries(&blocks);
            let (dir, clean) = (dir.to_owned(), false);
            let held = Some(held);
            Ok(Some(Found { dir, owner, checkpoint, entries, end, clean, files, bytes_read, discarded, held }))
        }
    }
}

async fn newest_checkpoint(io: &Io, dir: &Path, owner: &Owner) -> Result<Option<Checkpoint>, DirectoryError> {
    let mut newest: Option<Checkpoint> = None;
    for name in checkpoint::FILE_NAMES {
        let path = dir.join(name);
        let bytes = match io.read_file(&path).await {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StorageError::read(&path)(error).into()),
        };
        match Checkpoint::decode(&bytes) {
            Ok(checkpoint) if checkpoint.owner != *owner => {
                return Err(StorageError::corrupt(&path, 8, Fault::Foreign).into());
            }
            Ok(checkpoint) => {
                if newest.as_ref().is_none_or(|newest| newest.generation < checkpoint.generation) {
                    newest = Some(checkpoint);
                }
            }
            Err(CheckpointFault::Newer(found)) => {
                return Err(DirectoryError::Newer { dir: dir.to_owned(), found: u32::from(found) });
            }
            Err(CheckpointFault::Broken(_)) => {}
        }
    }
    Ok(newest)
}

/// What changes from one checkpoint of a journal to the next.
#[derive(Debug)]
pub struct Seal {
    /// The first block that counts; `None`: nothing in the journal counts any more (a clean stop).
    pub tail: Option<Tail>,
    /// The highest sequence known durable.
    pub committed: u64,
    /// The end of the chain.
    pub end: Opened,
    /// The state of each log.
    pub logs: Vec<(LogId, Bytes)>,
    /// The metadata image, or nothing.
    pub snapshot: Bytes,
}

/// Writes a journal's checkpoints, the two files in turn.
#[derive(Clone, Debug)]
pub struct CheckpointWriter {
    dir: PathBuf,
    owner: Owner,
    incarnation: Incarnation,
    file_bytes: u64,
    generation: u64,
}

impl CheckpointWriter {
    /// Writes after generation `generation`, in the name of `incarnation`.
    pub fn new(dir: &Path, owner: Owner, incarnation: Incarnation, file_bytes: u64, generation: u64) -> Self {
        Self { dir: dir.to_owned(), owner, incarnation, file_bytes, generation }
    }

    /// When this returns the checkpoint is durable.
    pub async fn write(&mut self, io: &Io, seal: Seal) -> Result<(), StorageError> {
        self.generation += 1;
        let checkpoint = Checkpoint {
            owner: self.owner,
            incarnation: self.incarnation,
            generation: self.generation,
            clean: seal.tail.is_none(),
            tail: seal.tail.unwrap_or(Tail { file: 0, sequence: seal.end.accepted + 1 }),
            committed: seal.committed,
            end: seal.end,
            file_bytes: self.file_bytes,
            logs: seal.logs,
            snapshot: seal.snapshot,
        };
        let path = self.dir.join(checkpoint::FILE_NAMES[(self.generation % 2) as usize]);
        io.write_file_durably(&path, &checkpoint.encode()).await.map_err(StorageError::write(&path))
    }

    /// The owner of the journal.
    pub fn owner(&self) -> Owner {
        self.owner
    }
}

/// The journal that a core is to write: an old one that was closed cleanly, or one to be made.
#[derive(Clone, Debug)]
pub struct JournalPlan {
    /// Its directory.
    pub dir: PathBuf,
    /// Its id and the data directory's.
    pub owner: Owner,
    /// The end of its chain; zeros for a new one.
    pub end: Opened,
    /// Its checkpoint's generation; 0 for a new one.
    pub generation: u64,
    /// Files that are there already.
    pub files: Vec<u32>,
    /// Bytes of each file.
    pub file_bytes: u64,
}

impl JournalPlan {
    /// A journal to be made in `parent`.
    pub fn make(parent: &Path, owner: Owner, file_bytes: u64) -> Self {
        let dir = parent.join(format!("{:08x}", owner.journal.0));
        Self { dir, owner, end: Opened { accepted: 0, checksum: 0 }, generation: 0, files: Vec::new(), file_bytes }
    }

    /// The same journal again, after a clean stop. `None`: it was not closed, or its files have another size.
    pub fn reuse(found: &Found, file_bytes: u64) -> Option<Self> {
        let fits = found.clean && found.checkpoint.file_bytes == file_bytes && !found.files.is_empty();
        fits.then(|| Self {
            dir: found.dir.clone(),
            owner: found.owner,
            end: found.end,
            generation: found.checkpoint.generation,
            files: found.files.clone(),
            file_bytes,
        })
    }

    /// Makes the journal ready for its first block: directory, a checkpoint that says what stood before it, and its files. The order
    /// makes every crash harmless: a block is written only after the checkpoint that lets it count is durable. `flushed` is always true, but for
    /// the simulation of a defect.
    pub async fn open(
        &self,
        io: &Io,
        incarnation: Incarnation,
        logs: Vec<(LogId, Bytes)>,
        snapshot: Bytes,
        flushed: bool,
    ) -> Result<(JournalFiles, CheckpointWriter, Vec<u32>), StorageError> {
        let parent = self.dir.parent().unwrap_or(&self.dir);
        io.create_dir_all(&self.dir).await.map_err(StorageError::write(&self.dir))?;
        io.sync_dir(parent).await.map_err(StorageError::write(parent))?;
        let files =
            if flushed { JournalFiles::new(self.dir.clone()) } else { JournalFiles::unflushed(self.dir.clone()) };
        let mut numbers = Vec::new();
        for number in &self.files {
            if files.open_whole(io, *number, self.file_bytes).await? {
                numbers.push(*number);
            }
        }
        if numbers.is_empty() {
            files.create(io, 0, self.file_bytes).await?;
            numbers.push(0);
        }
        let mut checkpoints =
            CheckpointWriter::new(&self.dir, self.owner, incarnation, self.file_bytes, self.generation);
        let tail = Tail { file: numbers[0], sequence: self.end.accepted + 1 };
        let seal = Seal { tail: Some(tail), committed: self.end.accepted, end: self.end, logs, snapshot };
        checkpoints.write(io, seal).await?;
        Ok((files, checkpoints, numbers))
    }
}
