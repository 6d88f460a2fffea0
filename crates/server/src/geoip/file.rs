//! The bytes of a database, safe from whoever replaces or shortens its file: a mapped file that shrinks ends the program.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use maxminddb::Mmap;

/// More than any database has; what is larger is something else.
const MOST: u64 = 4 << 30;

pub(super) enum Bytes {
    /// Pages that the system may drop and read again.
    Mapped(Mmap),
    Memory(Vec<u8>),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Memory(bytes) => bytes,
        }
    }
}

/// Copies the file to one without a name in `copies` and maps that; where this fails, copies it to memory.
pub(super) fn read(path: &Path, copies: &Path) -> io::Result<Bytes> {
    match mapped_copy(path, copies) {
        Ok(mapped) => Ok(Bytes::Mapped(mapped)),
        // Why does not matter: if it is the database that cannot be read, this says so.
        Err(_) => {
            let mut bytes = Vec::new();
            open(path)?.take(MOST).read_to_end(&mut bytes)?;
            Ok(Bytes::Memory(bytes))
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe by mistake must not hold up the start.
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn mapped_copy(path: &Path, copies: &Path) -> io::Result<Mmap> {
    let mut copy =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(copies)?;
    io::copy(&mut open(path)?.take(MOST), &mut copy)?;
    map(&copy)
}

#[expect(
    unsafe_code,
    reason = "the bytes of a mapped file are only safe to read as long as nobody changes it"
)]
fn map(copy: &File) -> io::Result<Mmap> {
    // SAFETY: the file has no name, and its one descriptor is closed by the caller without a further write.
    unsafe { Mmap::map(copy) }
}
