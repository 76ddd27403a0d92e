//! Carries out what a journal decides: makes its files, writes its blocks, and says when they are durable.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use crate::base::Map;
use crate::io::{AlignedBuf, File, Io, Open};
use crate::storage::StorageError;
use crate::storage::drive::Notify;
use crate::storage::journal::Write;

/// Bytes of one write of zeros.
const ZERO_BYTES: usize = 1 << 20;

/// Who owns the journal that is driven. Every method is synchronous: nobody holds state over an await.
pub trait JournalHost: Clone + 'static {
    /// What to write now, if anything.
    fn next_write(&self) -> Option<Write>;
    /// The device has what is to be written, and the open block may take more.
    fn go_on(&self) {}
    /// A block to write because the journal has been idle for a while, if one is wanted.
    fn publish(&self) -> Option<Write>;
    /// The block with this sequence is on disk.
    fn written(&self, sequence: u64);
    /// The device refused: nothing may be acknowledged any more, and the process ends.
    fn failed(&self, error: StorageError);
}

/// The open files of one journal, each written with zeros once and never resized.
#[derive(Clone)]
pub struct JournalFiles {
    dir: Rc<PathBuf>,
    files: Rc<RefCell<Map<u32, File>>>,
    flushed: bool,
}

impl JournalFiles {
    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// No files yet, in `dir`, which exists.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir: Rc::new(dir), files: Rc::default(), flushed: true }
    }

    /// As [`JournalFiles::new`], but completed writes are not durable: a defect for the simulation.
    pub fn unflushed(dir: PathBuf) -> Self {
        Self { flushed: false, ..Self::new(dir) }
    }

    /// Writes file `number` with zeros, flushes it and its directory, and opens it for blocks. On an error nothing is left of it.
    pub async fn create(&self, io: &Io, number: u32, bytes: u64) -> Result<(), StorageError> {
        let made = self.make(io, number, bytes).await;
        if made.is_err() {
            // Others need the space. A file that cannot be removed either is removed by the next start.
            let _ = io.remove_file(&self.dir.join(file_name(number))).await;
        }
        made
    }

    async fn make(&self, io: &Io, number: u32, bytes: u64) -> Result<(), StorageError> {
        let path = self.dir.join(file_name(number));
        let failed = || StorageError::write(&path);
        let how = Open { write: true, create: true, direct: true, ..Open::default() };
        let raw = io.open(&path, how).await.map_err(failed())?;
        let zeros = AlignedBuf::zeroed(ZERO_BYTES.min(bytes as usize)).freeze();
        let mut at = 0;
        while at < bytes {
            let len = (bytes - at).min(ZERO_BYTES as u64) as usize;
            raw.write_at(at, zeros.slice(..len)).await.map_err(failed())?;
            at += len as u64;
        }
        raw.sync_all().await.map_err(failed())?;
        io.sync_dir(&self.dir).await.map_err(StorageError::write(&self.dir))?;
        drop(raw);
        self.open(io, number).await
    }

    /// Opens file `number` for blocks, once whoever held it before has let it go.
    pub async fn open(&self, io: &Io, number: u32) -> Result<(), StorageError> {
        let path = self.dir.join(file_name(number));
        let how = Open { write: true, direct: true, dsync: self.flushed, lock: true, ..Open::default() };
        let file = io.open(&path, how).await.map_err(StorageError::write(&path))?;
        self.files.borrow_mut().insert(number, file);
        Ok(())
    }

    /// As [`JournalFiles::open`]; a file that was still being made when its broker stopped is removed instead, and `false` given.
    pub async fn open_whole(&self, io: &Io, number: u32, bytes: u64) -> Result<bool, StorageError> {
        let path = self.dir.join(file_name(number));
        if io.file_len(&path).await.map_err(StorageError::read(&path))? == bytes {
            return self.open(io, number).await.map(|()| true);
        }
        io.remove_file(&path).await.map_err(StorageError::write(&path))?;
        Ok(false)
    }

    /// The bytes of file `number`, for recovery. They are flushed first: a drive may have shown more than it keeps.
    pub async fn read_whole(&self, number: u32) -> Result<Bytes, StorageError> {
        let path = self.dir.join(file_name(number));
        let file = self.file(number);
        file.sync_data().await.map_err(StorageError::write(&path))?;
        let len = file.len().await.map_err(StorageError::read(&path))?;
        file.read_at(0, len as usize).await.map_err(StorageError::read(&path))
    }

    /// Where the files stand.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The highest number of a file that is open.
    pub fn highest(&self) -> u32 {
        self.files.borrow().keys().copied().max().unwrap_or(0)
    }

    fn file(&self, number: u32) -> File {
        self.files.borrow().get(&number).expect("the journal knows only files that were opened").clone()
    }
}

/// The name of a journal's file.
pub fn file_name(number: u32) -> String {
    format!("{number:08}.journal")
}

/// The number in a journal file's name, if it is one.
pub fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".journal")?;
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Writes blocks as long as the broker runs: woken by `wake` after an append, and by each finished write.
pub async fn run(io: Io, files: JournalFiles, host: impl JournalHost, wake: Notify) {
    loop {
        let mut writes = false;
        while let Some(write) = host.next_write() {
            io.spawn(carry_out(files.clone(), host.clone(), wake.clone(), write));
            writes = true;
        }
        if writes {
            // The writes are begun first.
            io.yield_now().await;
            host.go_on();
        }
        wake.notified().await;
    }
}

/// Writes one block that the journal asked for outside its loop (an empty one, when it went idle).
pub async fn publish(files: &JournalFiles, host: &impl JournalHost, wake: &Notify) {
    if let Some(write) = host.publish() {
        carry_out(files.clone(), host.clone(), wake.clone(), write).await;
    }
}

async fn carry_out(files: JournalFiles, host: impl JournalHost, wake: Notify, write: Write) {
    let Write { file, position, bytes, sequence } = write;
    match files.file(file).write_at(position, bytes).await {
        Ok(()) => {
            tracing::trace!(dir = %files.dir.display(), file, position, sequence, "block written");
            host.written(sequence);
        }
        Err(source) => host.failed(StorageError::write(&files.dir.join(file_name(file)))(source)),
    }
    wake.notify();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{DiskOptions, World, WorldOptions};

    /// A journal file that found no space stayed where it was, too short for anything and in the way of the rest.
    #[test]
    fn a_file_that_finds_no_space_is_not_left_behind() {
        let world = World::new(1, WorldOptions::default());
        let process = world.process("broker");
        world.set_disk(process, DiskOptions { capacity: 5 << 20, ..DiskOptions::default() });
        world.run(process, async |io| {
            let dir = Path::new("/journal");
            io.create_dir_all(dir).await.expect("a directory");
            let files = JournalFiles::new(dir.to_owned());
            files.create(&io, 0, 3 << 20).await.expect("there is space");
            let full = files.create(&io, 1, 3 << 20).await;
            assert!(matches!(full, Err(StorageError::NoSpace { .. })), "{full:?}");
            assert_eq!(io.list_dir(dir).await.expect("the names"), [file_name(0)]);
            files.create(&io, 1, 2 << 20).await.expect("there is space for this one");
        });
    }
}
