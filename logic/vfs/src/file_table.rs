//! Descriptors: small numbers for open descriptions.

use crate::locks;
use crate::open_file::OpenFile;
use crate::{Error, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::sync::SpinLock;
use core::ops::RangeInclusive;

/// What a descriptor keeps for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExec {
    /// It stays open in the new program.
    Keep,
    /// It is closed (`FD_CLOEXEC`).
    Close,
}

const WORD: usize = u64::BITS as usize;

/// The descriptors of a process, shared by its threads.
pub struct FileTable {
    slots: SpinLock<Slots>,
}

#[derive(Clone, Default)]
struct Slots {
    files: Vec<Option<Arc<OpenFile>>>,
    /// A bit for each descriptor in use.
    used: Vec<u64>,
    /// A bit for each descriptor that is closed on exec.
    close_on_exec: Vec<u64>,
    /// No descriptor below it is free.
    lowest_free: usize,
}

impl Slots {
    #[inline]
    fn is_used(&self, descriptor: usize) -> bool {
        self.used.get(descriptor / WORD).is_some_and(|word| word >> (descriptor % WORD) & 1 != 0)
    }

    /// The lowest free descriptor from `minimum` on.
    fn find_free(&self, minimum: usize) -> usize {
        let start = minimum.max(self.lowest_free);
        let mut index = start / WORD;
        let mut mask = !0 << (start % WORD);
        while let Some(word) = self.used.get(index) {
            let free = !word & mask;
            if free != 0 {
                return index * WORD + free.trailing_zeros() as usize;
            }
            (index, mask) = (index + 1, !0);
        }
        (index * WORD).max(start)
    }

    fn grow(&mut self, descriptor: usize) {
        let words = descriptor / WORD + 1;
        if self.used.len() < words {
            self.used.resize(words, 0);
            self.close_on_exec.resize(words, 0);
        }
        if self.files.len() <= descriptor {
            self.files.resize(descriptor + 1, None);
        }
    }

    fn set(&mut self, descriptor: usize, file: Arc<OpenFile>, on_exec: OnExec) -> Option<Arc<OpenFile>> {
        self.grow(descriptor);
        let (word, bit) = (descriptor / WORD, 1 << (descriptor % WORD));
        self.used[word] |= bit;
        match on_exec {
            OnExec::Close => self.close_on_exec[word] |= bit,
            OnExec::Keep => self.close_on_exec[word] &= !bit,
        }
        if descriptor == self.lowest_free {
            self.lowest_free += 1;
        }
        self.files[descriptor].replace(file)
    }

    fn take(&mut self, descriptor: usize) -> Option<Arc<OpenFile>> {
        let file = self.files.get_mut(descriptor)?.take()?;
        let (word, bit) = (descriptor / WORD, 1 << (descriptor % WORD));
        self.used[word] &= !bit;
        self.close_on_exec[word] &= !bit;
        self.lowest_free = self.lowest_free.min(descriptor);
        Some(file)
    }
}

impl Default for FileTable {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FileTable {
    fn drop(&mut self) {
        locks::table_gone(self.identity());
    }
}

impl FileTable {
    /// A table without descriptors.
    pub const fn new() -> Self {
        Self {
            slots: SpinLock::new(Slots {
                files: Vec::new(),
                used: Vec::new(),
                close_on_exec: Vec::new(),
                lowest_free: 0,
            }),
        }
    }

    /// A copy of the table for a child process: the same open descriptions under the same numbers.
    pub fn duplicate(&self) -> Self {
        let slots = self.slots.lock().clone();
        Self { slots: SpinLock::new(slots) }
    }

    /// A number that no other table has while this one exists, wherever it stays.
    #[inline]
    pub fn identity(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// The open description of a descriptor.
    ///
    /// # Errors
    /// [`Error::BadDescriptor`].
    #[inline]
    pub fn get(&self, descriptor: u32) -> Result<Arc<OpenFile>> {
        match self.slots.lock().files.get(descriptor as usize) {
            Some(Some(file)) => Ok(file.clone()),
            _ => Err(Error::BadDescriptor),
        }
    }

    /// Gives `file` the lowest free descriptor. `limit` is `RLIMIT_NOFILE`: one above the highest allowed.
    ///
    /// # Errors
    /// [`Error::TooManyFiles`].
    pub fn insert(&self, file: Arc<OpenFile>, on_exec: OnExec, limit: u32) -> Result<u32> {
        self.insert_from(0, file, on_exec, limit)
    }

    /// Checks that there is a free descriptor below `limit`: what must be known before a file is made.
    ///
    /// # Errors
    /// [`Error::TooManyFiles`].
    pub fn check_room(&self, limit: u32) -> Result<()> {
        let found = self.slots.lock().find_free(0);
        if found < limit as usize { Ok(()) } else { Err(Error::TooManyFiles) }
    }

    fn insert_from(&self, minimum: u32, file: Arc<OpenFile>, on_exec: OnExec, limit: u32) -> Result<u32> {
        let mut slots = self.slots.lock();
        let descriptor = slots.find_free(minimum as usize);
        if descriptor >= limit as usize {
            // The file is dropped behind the lock, with the arguments.
            return Err(Error::TooManyFiles);
        }
        let former = slots.set(descriptor, file, on_exec);
        debug_assert!(former.is_none(), "the descriptor was free");
        Ok(descriptor as u32)
    }

    /// Gives two files the two lowest free descriptors, or neither (`pipe2`, `socketpair`).
    ///
    /// # Errors
    /// [`Error::TooManyFiles`].
    pub fn insert_pair(&self, files: [Arc<OpenFile>; 2], on_exec: OnExec, limit: u32) -> Result<[u32; 2]> {
        let [first_file, second_file] = files;
        let mut slots = self.slots.lock();
        let first = slots.find_free(0);
        let second = slots.find_free(first + 1);
        if second >= limit as usize {
            drop(slots);
            return Err(Error::TooManyFiles);
        }
        let former = (slots.set(first, first_file, on_exec), slots.set(second, second_file, on_exec));
        drop(slots);
        drop(former);
        Ok([first as u32, second as u32])
    }

    /// Frees a descriptor and gives back what it stood for, to be dropped (which closes it if it was the last).
    ///
    /// # Errors
    /// [`Error::BadDescriptor`].
    pub fn remove(&self, descriptor: u32) -> Result<Arc<OpenFile>> {
        let file = self.slots.lock().take(descriptor as usize).ok_or(Error::BadDescriptor)?;
        file.file().flush();
        locks::descriptor_closed(self.identity(), &file);
        Ok(file)
    }

    /// `dup`, `fcntl(F_DUPFD)`: another descriptor of the same description, the lowest free one from `minimum` on.
    ///
    /// # Errors
    /// [`Error::BadDescriptor`], [`Error::TooManyFiles`], [`Error::InvalidArgument`] when `minimum` is not below `limit`.
    pub fn duplicate_from(&self, descriptor: u32, minimum: u32, on_exec: OnExec, limit: u32) -> Result<u32> {
        let file = self.get(descriptor)?;
        if minimum >= limit {
            return Err(Error::InvalidArgument);
        }
        self.insert_from(minimum, file, on_exec, limit)
    }

    /// `dup2` and `dup3` with different numbers: makes `target` stand for what `descriptor` stands for; what it
    /// stood for before is closed. For equal numbers `dup2` only checks and `dup3` fails: the caller's part.
    ///
    /// # Errors
    /// [`Error::BadDescriptor`], also when `target` is not below `limit`.
    pub fn duplicate_to(&self, descriptor: u32, target: u32, on_exec: OnExec, limit: u32) -> Result<u32> {
        let file = self.get(descriptor)?;
        if target >= limit {
            return Err(Error::BadDescriptor);
        }
        let former = self.slots.lock().set(target as usize, file, on_exec);
        if let Some(former) = former {
            former.file().flush();
            locks::descriptor_closed(self.identity(), &former);
        }
        Ok(target)
    }

    /// Whether a descriptor is closed on exec.
    ///
    /// # Errors
    /// [`Error::BadDescriptor`].
    pub fn on_exec(&self, descriptor: u32) -> Result<OnExec> {
        let slots = self.slots.lock();
        let descriptor = descriptor as usize;
        if !slots.is_used(descriptor) {
            return Err(Error::BadDescriptor);
        }
        let closes = slots.close_on_exec[descriptor / WORD] >> (descriptor % WORD) & 1 != 0;
        Ok(if closes { OnExec::Close } else { OnExec::Keep })
    }

    /// Says whether a descriptor is closed on exec (`fcntl(F_SETFD)`).
    ///
    /// # Errors
    /// [`Error::BadDescriptor`].
    pub fn set_on_exec(&self, descriptor: u32, on_exec: OnExec) -> Result<()> {
        let mut slots = self.slots.lock();
        let descriptor = descriptor as usize;
        if !slots.is_used(descriptor) {
            return Err(Error::BadDescriptor);
        }
        let bit = 1 << (descriptor % WORD);
        match on_exec {
            OnExec::Close => slots.close_on_exec[descriptor / WORD] |= bit,
            OnExec::Keep => slots.close_on_exec[descriptor / WORD] &= !bit,
        }
        Ok(())
    }

    /// Closes every descriptor in `range` (`close_range`).
    pub fn remove_range(&self, range: RangeInclusive<u32>) {
        let mut next = *range.start() as usize;
        while let Some(descriptor) = self.next_used(next).filter(|found| range.contains(found)) {
            // Another thread may have closed it meanwhile.
            let _ = self.remove(descriptor);
            next = descriptor as usize + 1;
        }
    }

    /// Marks every descriptor in `range` to be closed on exec (`CLOSE_RANGE_CLOEXEC`).
    pub fn close_range_on_exec(&self, range: RangeInclusive<u32>) {
        let mut slots = self.slots.lock();
        for descriptor in
            *range.start() as usize..slots.files.len().min((*range.end() as usize).saturating_add(1))
        {
            if slots.is_used(descriptor) {
                slots.close_on_exec[descriptor / WORD] |= 1 << (descriptor % WORD);
            }
        }
    }

    /// Closes what is to be closed when the process executes a new program.
    pub fn sweep_on_exec(&self) {
        loop {
            let marked = {
                let slots = self.slots.lock();
                let word = slots.close_on_exec.iter().position(|word| *word != 0);
                word.map(|index| (index * WORD) as u32 + slots.close_on_exec[index].trailing_zeros())
            };
            let Some(descriptor) = marked else { return };
            let _ = self.remove(descriptor);
        }
    }

    /// Closes everything.
    pub fn clear(&self) {
        self.remove_range(0..=u32::MAX);
    }

    /// A number that is above every descriptor in use.
    pub fn bound(&self) -> u32 {
        self.slots.lock().files.len() as u32
    }

    /// The lowest descriptor in use from `start` on: how /proc/PID/fd lists them.
    pub fn next_used(&self, start: usize) -> Option<u32> {
        let slots = self.slots.lock();
        let found = slots.files.get(start..)?.iter().position(Option::is_some)?;
        Some((start + found) as u32)
    }

    /// How many descriptors are in use.
    pub fn count(&self) -> usize {
        self.slots.lock().used.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::OpenFlags;
    use crate::testing::World;

    const LIMIT: u32 = 1024;

    fn table_with(world: &World, count: u32) -> (FileTable, Arc<OpenFile>) {
        let file = world.open("/", OpenFlags::empty()).unwrap();
        let table = FileTable::new();
        for expected in 0..count {
            assert_eq!(table.insert(file.clone(), OnExec::Keep, LIMIT), Ok(expected));
        }
        (table, file)
    }

    #[test]
    fn the_lowest_free_descriptor_comes_first() {
        let world = World::new();
        let (table, file) = table_with(&world, 200);
        for descriptor in [150, 3, 64] {
            table.remove(descriptor).unwrap();
        }
        assert_eq!(table.remove(3).err(), Some(Error::BadDescriptor));
        assert_eq!(table.get(64).err(), Some(Error::BadDescriptor));
        assert_eq!(table.get(u32::MAX).err(), Some(Error::BadDescriptor));
        assert_eq!(table.duplicate_from(0, 4, OnExec::Keep, LIMIT), Ok(64));
        assert_eq!(table.duplicate_from(0, 500, OnExec::Close, LIMIT), Ok(500));
        assert_eq!(table.insert_pair([file.clone(), file.clone()], OnExec::Keep, LIMIT), Ok([3, 150]));
        assert_eq!(table.insert(file.clone(), OnExec::Keep, LIMIT), Ok(200));
        assert_eq!(table.insert(file.clone(), OnExec::Keep, 201).err(), Some(Error::TooManyFiles));
        assert_eq!(
            table.insert_pair([file.clone(), file.clone()], OnExec::Keep, 202).err(),
            Some(Error::TooManyFiles)
        );
        assert_eq!(table.duplicate_from(0, LIMIT, OnExec::Keep, LIMIT).err(), Some(Error::InvalidArgument));
        assert_eq!(table.duplicate_from(900, 0, OnExec::Keep, LIMIT).err(), Some(Error::BadDescriptor));
        assert_eq!(table.count(), 202);
        table.clear();
        assert_eq!((table.count(), Arc::strong_count(&file)), (0, 1));
    }

    #[test]
    fn duplicates_to_a_number_replace_it() {
        let world = World::new();
        let (table, file) = table_with(&world, 3);
        let other = world.open("/", OpenFlags::empty()).unwrap();
        let descriptor = table.insert(other.clone(), OnExec::Keep, LIMIT).unwrap();
        assert_eq!(table.duplicate_to(descriptor, 1, OnExec::Close, LIMIT), Ok(1));
        assert!(Arc::ptr_eq(&table.get(1).unwrap(), &other));
        assert_eq!(table.on_exec(1), Ok(OnExec::Close));
        assert_eq!(table.duplicate_to(0, 70, OnExec::Keep, LIMIT), Ok(70));
        assert_eq!(table.duplicate_to(0, LIMIT, OnExec::Keep, LIMIT).err(), Some(Error::BadDescriptor));
        assert_eq!(table.duplicate_to(9, 1, OnExec::Keep, LIMIT).err(), Some(Error::BadDescriptor));
        assert_eq!(table.insert(file, OnExec::Keep, LIMIT), Ok(4));
    }

    #[test]
    fn exec_and_ranges_close_what_they_should() {
        let world = World::new();
        let (table, _) = table_with(&world, 130);
        for descriptor in [1, 64, 129] {
            table.set_on_exec(descriptor, OnExec::Close).unwrap();
        }
        table.close_range_on_exec(70..=72);
        table.close_range_on_exec(5000..=u32::MAX);
        table.set_on_exec(71, OnExec::Keep).unwrap();
        let child = table.duplicate();
        child.sweep_on_exec();
        assert_eq!((table.count(), child.count()), (130, 125));
        assert!(child.get(71).is_ok() && child.get(70).is_err() && child.get(129).is_err());
        table.remove_range(3..=u32::MAX);
        assert_eq!((table.count(), table.next_used(0), table.next_used(3)), (3, Some(0), None));
        assert_eq!(table.set_on_exec(64, OnExec::Keep).err(), Some(Error::BadDescriptor));
    }

    #[test]
    fn behaves_like_a_set() {
        let world = World::new();
        let (table, file) = table_with(&world, 0);
        let mut model = std::collections::BTreeSet::new();
        let mut seed = 7u32;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = seed >> 16 & 0xff;
            if seed >> 30 == 0 {
                assert_eq!(table.remove(number).is_ok(), model.remove(&number));
            } else if seed >> 29 == 7 {
                model.insert(number);
                table.duplicate_to(*model.first().unwrap(), number, OnExec::Keep, LIMIT).ok();
                if table.get(number).is_err() {
                    model.remove(&number);
                }
            } else if model.len() < 200 {
                let free = (0..).find(|candidate| !model.contains(candidate)).unwrap();
                assert_eq!(table.insert(file.clone(), OnExec::Keep, LIMIT), Ok(free));
                model.insert(free);
            }
        }
        assert_eq!(table.count(), model.len());
    }
}
