//! Removes the files of segments and of logs that are gone.
//!
//! Always true: the journal entry that lets them go is durable before anything is called here. Every step may be done again after a crash; what is gone
//! already is fine. A log is deleted by the task that drains it, or when no drain is under way.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Drive;
use crate::base::{LogId, Offset};
use crate::storage::StorageError;
use crate::storage::segment::{Kind, deleted_path, file_path};

impl Drive {
    /// Puts `.deleted` behind the names of the files of segments that a log has let go. Reads that have them open go on.
    ///
    /// # Errors
    /// [`StorageError::WriteFailed`].
    pub async fn retire_segments(&self, log: LogId, directory: &Path, bases: &[Offset]) -> Result<(), StorageError> {
        let _permit = self.inner.removals.take(1, 1).await;
        for base in bases {
            for kind in Kind::ALL {
                let (path, deleted) = (file_path(directory, *base, kind), deleted_path(directory, *base, kind));
                gone_is_fine(self.inner.io.rename(&path, &deleted).await).map_err(StorageError::write(&path))?;
            }
            self.inner.files.forget_segment(log, *base);
        }
        Ok(())
    }

    /// Removes what [`Drive::retire_segments`] renamed. When this returns no crash brings it back.
    ///
    /// # Errors
    /// [`StorageError::WriteFailed`].
    pub async fn remove_segments(&self, log: LogId, directory: &Path, bases: &[Offset]) -> Result<(), StorageError> {
        let _permit = self.inner.removals.take(1, 1).await;
        for base in bases {
            // A read that began before the rename may have opened a file since.
            self.inner.files.forget_segment(log, *base);
            for kind in Kind::ALL {
                let path = deleted_path(directory, *base, kind);
                gone_is_fine(self.inner.io.remove_file(&path).await).map_err(StorageError::write(&path))?;
            }
        }
        gone_is_fine(self.inner.io.sync_dir(directory).await).map_err(StorageError::write(directory))
    }

    /// Removes the directory of a log whose deletion is durable and that the host no longer has. One that is gone already is fine. The directory of
    /// the topic stays until the next start: another core may be making a partition in it. It is given back if [`Drive::sync_removed`] is due for it.
    ///
    /// # Errors
    /// [`StorageError::WriteFailed`].
    pub async fn delete(&self, log: LogId, directory: &Path) -> Result<Option<PathBuf>, StorageError> {
        let _permit = self.inner.removals.take(1, 1).await;
        self.inner.files.forget(log);
        let removed = self.inner.io.remove_dir_all(directory).await;
        // Reads that were under way may have opened some again.
        self.inner.files.forget(log);
        self.inner.gathered.forget(log);
        match removed {
            Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(None),
            result => result.map_err(StorageError::write(directory))?,
        }
        Ok(Some(directory.parent().unwrap_or(directory).to_owned()))
    }

    /// Sees to it that directories removed from that of a topic do not come back.
    ///
    /// # Errors
    /// [`StorageError::WriteFailed`].
    pub async fn sync_removed(&self, topic: &Path) -> Result<(), StorageError> {
        gone_is_fine(self.inner.io.sync_dir(topic).await).map_err(StorageError::write(topic))
    }
}

fn gone_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
