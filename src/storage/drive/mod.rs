//! The sequences that wait for a disk. What to do is decided by the pure files of `storage`; here it is carried out over `io`.
