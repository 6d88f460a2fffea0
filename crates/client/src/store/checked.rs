//! A file that gives back what was written to it or says that it cannot: every block is compared with its checksum when
//! it is read, so damage becomes an error where it is met. redb would panic on some of it, and twice on some, which
//! nothing survives. Not the database, and not what is done about damage.
//!
//! The file has two copies of its head, then groups of blocks, each behind a block with their checksums. What redb
//! writes at the very beginning, where it says which pages are in force, is the content of the head. A new head goes to
//! the copy that is not known to be on the disk, so that a crash leaves one that is whole, and to the other once it is;
//! so damage to one does not bring back an old one. Checksums are written with the next sync: before it redb relies on
//! nothing. The layout is our own.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::Crc;
use redb::StorageBackend;
use redb::backends::FileBackend;

/// The unit of checksums, and of what redb writes.
const BLOCK: usize = 4096;
/// How many checksums a block holds.
const GROUP: u64 = 1024;
/// Two copies of the head, each in its block.
const COPIES: u64 = 2;
/// Names the layout. A file of another one is not touched.
const MAGIC: [u8; 16] = *b"Culvert store 2\n";
/// What redb keeps at the beginning are 320 bytes.
const CONTENT: usize = 512;
/// Magic, number, length, content and checksum.
const HEAD: usize = 16 + 8 + 8 + CONTENT + 4;
/// redb marks a file of its own last when it makes one.
const MARK: usize = 9;

/// A file whose blocks are checked.
#[derive(Debug)]
pub(super) struct CheckedFile {
    raw: FileBackend,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    head: Head,
    /// The copy that has this head.
    copy: u64,
    standing: Standing,
    sums: BTreeMap<u64, Sums>,
}

#[derive(Debug, Clone)]
struct Head {
    number: u64,
    /// The file was at least as long when this was written.
    len: u64,
    content: [u8; CONTENT],
}

/// How far the newest head has come.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// A crash may lose it.
    Written,
    /// It is on the disk, and the other copy has it too.
    Lasting,
}

/// The checksums of a group.
#[derive(Debug)]
struct Sums {
    of: Box<[u32]>,
    changed: bool,
}

impl CheckedFile {
    /// Takes what a file holds; an empty one that may be written becomes one of ours.
    ///
    /// # Errors
    /// `InvalidData` where it is no store, or a damaged one; else what the system says.
    pub(super) fn open(raw: FileBackend) -> io::Result<Self> {
        let raw_len = raw.len()?;
        let (head, copy) = if raw_len == 0 {
            let head = Head { number: 0, len: 0, content: [0; CONTENT] };
            raw.set_len(COPIES * BLOCK as u64)?;
            raw.write(0, &head.encode())?;
            (head, 0)
        } else {
            newest(&raw)?
                .ok_or_else(|| damage("it is no store of this version, or its beginning is damaged"))?
        };
        // The last program may have been killed before it was.
        let standing = Standing::Written;
        let state = State { head, copy, standing, sums: BTreeMap::new() };
        let file = Self { raw, state: Mutex::new(state) };
        if logical_len(raw_len) < file.lock().head.len {
            return Err(damage("it was cut off"));
        }
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole blocks from the `first` on.
    fn read_blocks(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        for (start, run) in runs(first, out.len() / BLOCK) {
            let from = usize::try_from(start - first).unwrap_or_default() * BLOCK;
            let Some(out) = out.get_mut(from..from + run * BLOCK) else { continue };
            self.raw.read(place(start), out)?;
            let mut state = self.lock();
            let state = &mut *state;
            for (block, number) in out.chunks_exact_mut(BLOCK).zip(start..) {
                if number == 0 {
                    block.fill(0);
                    block.iter_mut().zip(&state.head.content).for_each(|(to, from)| *to = *from);
                } else if group(&mut state.sums, &self.raw, number)?.of(number) != Some(sum(number, block)) {
                    return Err(damage(&format!("block {number} is not what was written there")));
                }
            }
        }
        Ok(())
    }

    /// Whole blocks from the `first` on, which is not that of the head.
    fn write_blocks(&self, first: u64, data: &[u8]) -> io::Result<()> {
        for (start, run) in runs(first, data.len() / BLOCK) {
            let from = usize::try_from(start - first).unwrap_or_default() * BLOCK;
            let Some(data) = data.get(from..from + run * BLOCK) else { continue };
            self.raw.write(place(start), data)?;
            let mut state = self.lock();
            for (block, number) in data.chunks_exact(BLOCK).zip(start..) {
                group(&mut state.sums, &self.raw, number)?.set(number, sum(number, block));
            }
        }
        Ok(())
    }

    /// Writes a head to the copy that is not needed after a crash.
    fn write_head(&self, state: &mut State, head: Head) -> io::Result<()> {
        if state.standing == Standing::Written {
            self.write_sums(state)?;
            self.raw.sync_data()?;
        }
        let copy = 1 - state.copy;
        self.raw.write(copy * BLOCK as u64, &head.encode())?;
        (state.head, state.copy, state.standing) = (head, copy, Standing::Written);
        Ok(())
    }

    fn write_sums(&self, state: &mut State) -> io::Result<()> {
        for (number, sums) in &mut state.sums {
            if sums.changed {
                self.raw.write(sums_place(*number), &sums.encode())?;
                sums.changed = false;
            }
        }
        Ok(())
    }

    /// Brings everything to the disk, the checksums included, and the head into both copies.
    fn make_lasting(&self) -> io::Result<()> {
        let written = {
            let mut state = self.lock();
            self.write_sums(&mut state)?;
            state.head.number
        };
        // Not locked: readers must not wait for the disk.
        self.raw.sync_data()?;
        let mut state = self.lock();
        if state.standing == Standing::Written && state.head.number == written {
            self.raw.write((1 - state.copy) * BLOCK as u64, &state.head.encode())?;
            state.standing = Standing::Lasting;
        }
        Ok(())
    }
}

impl StorageBackend for CheckedFile {
    fn len(&self) -> io::Result<u64> {
        // One that redb had not marked as its own when it was stopped is begun again.
        let marked = self.lock().head.content.iter().take(MARK).any(|byte| *byte != 0);
        if marked { self.raw.len().map(logical_len) } else { Ok(0) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset
            .checked_add(out.len() as u64)
            .filter(|end| *end <= logical_len(self.raw.len().unwrap_or(0)));
        let Some(end) = end else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let (first, within) = split(offset);
        if within == 0 && out.len().is_multiple_of(BLOCK) {
            return self.read_blocks(first, out);
        }
        let blocks = usize::try_from(end.div_ceil(BLOCK as u64) - first).unwrap_or_default();
        let mut whole = vec![0; blocks * BLOCK];
        self.read_blocks(first, &mut whole)?;
        out.copy_from_slice(whole.get(within..within + out.len()).unwrap_or_default());
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let shorter = {
            let mut state = self.lock();
            let shorter = len < state.head.len;
            if shorter {
                // Said before it is done, so that a file that was cut off by others is told from this one.
                let head = Head { number: state.head.number + 1, len, content: state.head.content };
                self.write_head(&mut state, head)?;
            }
            shorter
        };
        if shorter {
            self.make_lasting()?;
        }
        self.raw.set_len(raw_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.make_lasting()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (first, within) = split(offset);
        if first > 0 && within == 0 && data.len().is_multiple_of(BLOCK) {
            return self.write_blocks(first, data);
        }
        let mut state = self.lock();
        let len = logical_len(self.raw.len()?);
        let mut head = Head { number: state.head.number + 1, len, content: state.head.content };
        // redb writes pages and its head, and nothing between.
        let into =
            usize::try_from(offset).ok().and_then(|from| head.content.get_mut(from..from + data.len()));
        into.ok_or(io::ErrorKind::Unsupported)?.copy_from_slice(data);
        self.write_head(&mut state, head)
    }

    fn close(&self) -> io::Result<()> {
        self.raw.close()
    }
}

impl Sums {
    fn of(&self, block: u64) -> Option<u32> {
        self.of.get(usize::try_from(block % GROUP).ok()?).copied()
    }

    fn set(&mut self, block: u64, sum: u32) {
        let at = usize::try_from(block % GROUP).ok().and_then(|at| self.of.get_mut(at));
        if let Some(at) = at {
            *at = sum;
            self.changed = true;
        }
    }

    fn encode(&self) -> Vec<u8> {
        self.of.iter().flat_map(|sum| sum.to_le_bytes()).collect()
    }
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD);
        out.extend(MAGIC);
        out.extend(self.number.to_le_bytes());
        out.extend(self.len.to_le_bytes());
        out.extend(self.content);
        out.extend(sum(0, &out).to_le_bytes());
        out
    }

    /// `None` for anything but a whole one.
    fn decode(bytes: &[u8; HEAD]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        let (magic, rest) = body.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (len, content) = rest.split_first_chunk::<8>()?;
        let whole = *magic == MAGIC && sum(0, body) == u32::from_le_bytes(*checksum);
        let (number, len) = (u64::from_le_bytes(*number), u64::from_le_bytes(*len));
        whole.then_some(())?;
        Some(Self { number, len, content: content.try_into().ok()? })
    }
}

/// The head in force and where it is.
fn newest(raw: &FileBackend) -> io::Result<Option<(Head, u64)>> {
    let mut newest: Option<(Head, u64)> = None;
    for copy in 0..COPIES {
        let mut bytes = [0; HEAD];
        match raw.read(copy * BLOCK as u64, &mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        let head = Head::decode(&bytes);
        let number = newest.as_ref().map(|(head, _)| head.number);
        if let Some(head) = head.filter(|head| number.is_none_or(|number| head.number > number)) {
            newest = Some((head, copy));
        }
    }
    Ok(newest)
}

/// The checksums of the group of a block, read where they are not known yet.
fn group<'a>(known: &'a mut BTreeMap<u64, Sums>, raw: &FileBackend, block: u64) -> io::Result<&'a mut Sums> {
    match known.entry(block / GROUP) {
        std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
        std::collections::btree_map::Entry::Vacant(unknown) => {
            let mut bytes = vec![0; BLOCK];
            raw.read(sums_place(*unknown.key()), &mut bytes)?;
            let (sums, _) = bytes.as_chunks::<4>();
            let of = sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
            Ok(unknown.insert(Sums { of, changed: false }))
        }
    }
}

/// With the block's number, so that a block in another's place is damage too.
fn sum(block: u64, data: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(&block.to_le_bytes());
    crc.update(data);
    crc.sum()
}

/// Where a block is in the file.
fn place(block: u64) -> u64 {
    sums_place(block / GROUP) + (1 + block % GROUP) * BLOCK as u64
}

/// Where the checksums of a group are.
fn sums_place(group: u64) -> u64 {
    (COPIES + group * (GROUP + 1)) * BLOCK as u64
}

/// The length of a file for so much content.
fn raw_len(len: u64) -> u64 {
    let blocks = len.div_ceil(BLOCK as u64);
    (COPIES + blocks + blocks.div_ceil(GROUP)) * BLOCK as u64
}

/// How much content a file of that length has.
fn logical_len(raw_len: u64) -> u64 {
    let blocks = (raw_len / BLOCK as u64).saturating_sub(COPIES);
    (blocks - blocks.div_ceil(GROUP + 1)) * BLOCK as u64
}

fn split(offset: u64) -> (u64, usize) {
    (offset / BLOCK as u64, usize::try_from(offset % BLOCK as u64).unwrap_or_default())
}

/// Cuts blocks into runs that lie side by side in the file: the first block and how many.
fn runs(first: u64, blocks: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let start = first + done as u64;
        let run = usize::try_from(GROUP - start % GROUP).unwrap_or_default().min(blocks - done);
        done += run;
        (run > 0).then_some((start, run))
    })
}

fn damage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_survive_the_way_there_and_back() {
        for blocks in (0..3_000).chain([1 << 20, (1 << 20) + 1]) {
            let len = blocks * BLOCK as u64;
            assert_eq!(logical_len(raw_len(len)), len, "{blocks} blocks");
            if blocks > 0 {
                assert_eq!(place(blocks - 1) + BLOCK as u64, raw_len(len), "{blocks} blocks");
            }
        }
    }

    #[test]
    fn runs_end_where_checksums_lie_between() {
        assert_eq!(runs(1_020, 2_000).collect::<Vec<_>>(), [(1_020, 4), (1_024, 1_024), (2_048, 972)]);
        assert_eq!(runs(5, 0).count(), 0);
    }

    #[test]
    fn a_head_is_one_of_ours_or_nothing() {
        let head = Head { number: 7, len: 4096, content: [3; CONTENT] };
        let bytes: [u8; HEAD] = head.encode().try_into().unwrap();
        assert_eq!(Head::decode(&bytes).unwrap().number, 7);
        for at in 0..HEAD {
            let mut bytes = bytes;
            bytes[at] ^= 1;
            assert!(Head::decode(&bytes).is_none(), "byte {at}");
        }
    }
}
