//! The bytes below the database: a file, and memory over it for what the file cannot take.
//!
//! Writes go to the file until one fails; from then on they go to memory, and the file stays as it was. The database
//! never notices, so a full disk costs durability and nothing else. A file that may not be written, and none at all,
//! are the same case from the start. What memory takes is limited.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::checked::CheckedFile;

/// The unit in which memory lies over the file.
const BLOCK: usize = 4096;
/// What memory may take before it is full like a disk.
const MOST_BLOCKS: usize = (64 << 20) / BLOCK;

/// A file with memory over it.
#[derive(Debug)]
pub(super) struct Backend {
    file: Option<CheckedFile>,
    memory: Arc<Mutex<Memory>>,
}

/// Tells whether the file is still written. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Diversion(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    /// `None` while writes reach the file.
    over: Option<Blocks>,
    /// Why they no longer do, until somebody has asked.
    failure: Option<io::Error>,
}

#[derive(Debug)]
struct Blocks {
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
    len: u64,
    /// What of the file shows through: it may have been cut and grown again in memory.
    file_len: u64,
}

impl Backend {
    /// Over a file that is written.
    pub(super) fn on(file: CheckedFile) -> Self {
        Self { file: Some(file), memory: Arc::default() }
    }

    /// Over a file that stays as it is, or over none; `failure` says why, where that is news.
    pub(super) fn in_memory(file: Option<CheckedFile>, failure: Option<io::Error>) -> io::Result<Self> {
        let len = file.as_ref().map_or(Ok(0), StorageBackend::len)?;
        let over = Some(Blocks { blocks: BTreeMap::new(), len, file_len: len });
        Ok(Self { file, memory: Arc::new(Mutex::new(Memory { over, failure })) })
    }

    pub(super) fn diversion(&self) -> Diversion {
        Diversion(Arc::clone(&self.memory))
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the file or, once that fails, with memory.
    fn change(
        &self,
        on_file: impl FnOnce(&CheckedFile) -> io::Result<()>,
        in_memory: impl FnOnce(&mut Blocks, Option<&CheckedFile>) -> io::Result<()>,
    ) -> io::Result<()> {
        // Not locked while the file works: readers must not wait for the disk.
        if self.lock().over.is_none()
            && let Some(file) = &self.file
        {
            let Err(error) = on_file(file) else { return Ok(()) };
            let len = file.len()?;
            let mut memory = self.lock();
            if memory.over.is_none() {
                memory.over = Some(Blocks { blocks: BTreeMap::new(), len, file_len: len });
                memory.failure = Some(error);
            }
        }
        let mut memory = self.lock();
        match &mut memory.over {
            Some(blocks) => in_memory(blocks, self.file.as_ref()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Diversion {
    /// Why writes stay in memory from now on: told once.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failure.take()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let memory = self.lock();
        match (&memory.over, &self.file) {
            (Some(blocks), _) => Ok(blocks.len),
            (None, Some(file)) => file.len(),
            (None, None) => Ok(0),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        {
            let memory = self.lock();
            if let Some(blocks) = &memory.over {
                return blocks.read(self.file.as_ref(), offset, out);
            }
        }
        match &self.file {
            Some(file) => file.read(offset, out),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(
            |file| file.set_len(len),
            |blocks, _| {
                blocks.set_len(len);
                Ok(())
            },
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|file| file.sync_data(), |_, _| Ok(()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|file| file.write(offset, data), |blocks, file| blocks.write(file, offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.close())
    }
}

impl Blocks {
    fn set_len(&mut self, len: u64) {
        if len < self.len {
            // A block that is cut in the middle must read as zeros when it grows again.
            let kept = len.div_ceil(BLOCK as u64);
            self.blocks.split_off(&kept);
            if let Some(last) = self.blocks.get_mut(&(len / BLOCK as u64)) {
                let from = usize::try_from(len % BLOCK as u64).unwrap_or_default();
                last.iter_mut().skip(from).for_each(|byte| *byte = 0);
            }
            self.file_len = self.file_len.min(len);
        }
        self.len = len;
    }

    fn read(&self, file: Option<&CheckedFile>, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.len);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, part) in pieces(offset, out.len()) {
            let Some(out) = out.get_mut(part) else { continue };
            match self.blocks.get(&number) {
                Some(block) => out.copy_from_slice(block.get(within).unwrap_or_default()),
                None => self.read_file(file, number * BLOCK as u64 + within.start as u64, out)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, file: Option<&CheckedFile>, offset: u64, data: &[u8]) -> io::Result<()> {
        for (number, within, part) in pieces(offset, data.len()) {
            if !self.blocks.contains_key(&number) {
                if self.blocks.len() >= MOST_BLOCKS {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let mut block = Box::new([0; BLOCK]);
                // What is there of a block that is written whole may be half of an earlier try.
                if within.len() < BLOCK {
                    self.read_file(file, number * BLOCK as u64, block.as_mut_slice())?;
                }
                self.blocks.insert(number, block);
            }
            let block = self.blocks.get_mut(&number).and_then(|block| block.get_mut(within));
            if let (Some(block), Some(part)) = (block, data.get(part)) {
                block.copy_from_slice(part);
            }
        }
        self.len = self.len.max(offset + data.len() as u64);
        Ok(())
    }

    /// What shows through of the file, and zeros after it.
    fn read_file(&self, file: Option<&CheckedFile>, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.file_len.saturating_sub(offset).min(out.len() as u64);
        let (there, beyond) = out.split_at_mut(usize::try_from(there).unwrap_or_default());
        beyond.fill(0);
        match file {
            Some(file) if !there.is_empty() => file.read(offset, there),
            _ => {
                there.fill(0);
                Ok(())
            }
        }
    }
}

/// Cuts a range into blocks: the block's number, the range within it and the range of the data.
fn pieces(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % BLOCK as u64).unwrap_or_default();
        let piece = (BLOCK - within).min(len - done);
        let part = done..done + piece;
        done += piece;
        (piece > 0).then_some((at / BLOCK as u64, within..within + piece, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_reads_back_what_was_written() {
        let backend = Backend::in_memory(None, None).unwrap();
        backend.set_len(10_000).unwrap();
        backend.write(4_090, &[7; 20]).unwrap();
        let mut out = [1; 24];
        backend.read(4_088, &mut out).unwrap();
        assert_eq!(out.first_chunk(), Some(&[0, 0, 7]));
        assert_eq!(out.last_chunk(), Some(&[7, 0, 0]));
        assert!(backend.read(9_990, &mut out).is_err());
    }

    #[test]
    fn what_was_cut_off_grows_again_as_zeros() {
        let backend = Backend::in_memory(None, None).unwrap();
        backend.set_len(8_192).unwrap();
        backend.write(0, &[9; 8_192]).unwrap();
        backend.set_len(100).unwrap();
        backend.set_len(8_192).unwrap();
        let mut out = [1; 8_192];
        backend.read(0, &mut out).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == 9).count(), 100);
        assert_eq!(out.iter().filter(|byte| **byte == 0).count(), 8_092);
    }

    #[test]
    fn memory_has_an_end() {
        let backend = Backend::in_memory(None, None).unwrap();
        let error = backend.write(0, &vec![1; MOST_BLOCKS * BLOCK + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
