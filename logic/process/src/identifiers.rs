//! Numbers of processes and threads, and the groups and sessions that processes form.
//!
//! An id belongs to whoever allocated it until the thread is gone, no process group has it and no session has it: only
//! then can it be given out again, and not before every other free one was.

use abi::Error;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::Result;

/// `pid_max` unless it is set (`/proc/sys/kernel/pid_max`): ids are below it.
pub const DEFAULT_MAX: u32 = 32_768;
/// The greatest `pid_max`.
pub const GREATEST_MAX: u32 = 1 << 22;
/// The least `pid_max`.
pub const LEAST_MAX: u32 = 301;
/// The first id to be given out after the greatest one was.
const FIRST_AFTER_WRAP: u32 = 300;
const WORD_BITS: u32 = u64::BITS;

/// Gives out numbers in ascending order, starting over when there are no greater ones.
#[derive(Debug)]
struct Allocator {
    used: Vec<u64>,
    last: u32,
    max: u32,
}

impl Allocator {
    fn new(max: u32) -> Self {
        // All of it at once (4 KiB by default): growing later would look like a leak to who counts.
        let words = max.div_ceil(WORD_BITS) as usize;
        Self { used: alloc::vec![0; words], last: 0, max }
    }

    /// The first free number in `[start, end)`. Looks at 64 numbers at a time.
    fn first_free(&self, start: u32, end: u32) -> Option<u32> {
        let mut candidate = start;
        while candidate < end {
            let (index, bit) = (candidate / WORD_BITS, candidate % WORD_BITS);
            let word = self.used.get(index as usize).copied().unwrap_or(0);
            let free = !word >> bit;
            if free != 0 {
                candidate += free.trailing_zeros();
                return (candidate < end).then_some(candidate);
            }
            candidate = (index + 1) * WORD_BITS;
        }
        None
    }

    fn allocate(&mut self) -> Option<u32> {
        let next = self.last + 1;
        let found = self.first_free(next, self.max).or_else(|| {
            let wrapped = FIRST_AFTER_WRAP.min(next);
            self.first_free(wrapped, next.min(self.max))
        })?;
        let (index, bit) = ((found / WORD_BITS) as usize, found % WORD_BITS);
        if index >= self.used.len() {
            self.used.resize(index + 1, 0);
        }
        self.used[index] |= 1 << bit;
        self.last = found;
        Some(found)
    }

    fn release(&mut self, id: u32) {
        if let Some(word) = self.used.get_mut((id / WORD_BITS) as usize) {
            *word &= !(1 << (id % WORD_BITS));
        }
    }
}

/// Whether a process has started a program since it was forked; its parent may move it between groups only before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Inherited,
    Started,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    Zombie,
}

#[derive(Debug)]
struct Process {
    parent: u32,
    group: u32,
    session: u32,
    program: Program,
    life: Life,
}

#[derive(Debug)]
struct Group {
    session: u32,
    members: Vec<u32>,
}

/// Every id in use, and which processes belong together.
#[derive(Debug)]
pub struct Identifiers {
    allocator: Allocator,
    processes: BTreeMap<u32, Process>,
    groups: BTreeMap<u32, Group>,
    /// How many groups each session has.
    sessions: BTreeMap<u32, usize>,
}

impl Default for Identifiers {
    fn default() -> Self {
        Self::new(DEFAULT_MAX)
    }
}

impl Identifiers {
    /// None in use; ids will be below `max`.
    pub fn new(max: u32) -> Self {
        Self {
            allocator: Allocator::new(max.clamp(LEAST_MAX, GREATEST_MAX)),
            processes: BTreeMap::new(),
            groups: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// Ids are below this.
    pub fn max(&self) -> u32 {
        self.allocator.max
    }

    /// Ids will be below `max`; greater ones stay in use.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] outside [`LEAST_MAX`] to [`GREATEST_MAX`].
    pub fn set_max(&mut self, max: u32) -> Result<()> {
        if !(LEAST_MAX..=GREATEST_MAX).contains(&max) {
            return Err(Error::InvalidArgument);
        }
        self.allocator.max = max;
        Ok(())
    }

    /// The id that was given out last (`/proc/loadavg`).
    pub fn last(&self) -> u32 {
        self.allocator.last
    }

    /// An id for a new thread or process. The first is 1.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when all are in use.
    pub fn allocate(&mut self) -> Result<u32> {
        self.allocator.allocate().ok_or(Error::WouldBlock)
    }

    /// Gives back the id of a thread that was never a process, or of a process that was never added.
    pub fn release(&mut self, id: u32) {
        let in_use = self.processes.contains_key(&id)
            || self.groups.contains_key(&id)
            || self.sessions.contains_key(&id);
        if !in_use {
            self.allocator.release(id);
        }
    }

    /// Adds the first process, which is in group 0 of session 0 until it makes a session of its own.
    pub fn add_first_process(&mut self, pid: u32) {
        self.insert_process(pid, 0, 0, 0);
    }

    /// Adds a process with an allocated id: a child of `parent`, in the group and session of `creator` (the process that
    /// forked; `CLONE_PARENT` makes the two differ).
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`] when there is no `creator`.
    pub fn add_process(&mut self, pid: u32, parent: u32, creator: u32) -> Result<()> {
        let creator = self.processes.get(&creator).ok_or(Error::NoSuchProcess)?;
        let (group, session) = (creator.group, creator.session);
        self.insert_process(pid, parent, group, session);
        Ok(())
    }

    fn insert_process(&mut self, pid: u32, parent: u32, group: u32, session: u32) {
        let process = Process { parent, group, session, program: Program::Inherited, life: Life::Alive };
        self.processes.insert(pid, process);
        self.join(pid, group, session);
    }

    fn join(&mut self, pid: u32, group: u32, session: u32) {
        let sessions = &mut self.sessions;
        let group = self.groups.entry(group).or_insert_with(|| {
            *sessions.entry(session).or_insert(0) += 1;
            Group { session, members: Vec::new() }
        });
        group.members.push(pid);
    }

    fn leave(&mut self, pid: u32, group_id: u32) {
        let Some(group) = self.groups.get_mut(&group_id) else {
            return;
        };
        if let Some(index) = group.members.iter().position(|member| *member == pid) {
            group.members.swap_remove(index);
        }
        if !group.members.is_empty() {
            return;
        }
        let session = group.session;
        self.groups.remove(&group_id);
        let groups_left = self.sessions.get_mut(&session).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if groups_left == 0 {
            self.sessions.remove(&session);
            self.release(session);
        }
        self.release(group_id);
    }

    /// Removes a process that was waited for; its id may be given out again once no group or session has it.
    pub fn remove_process(&mut self, pid: u32) {
        if let Some(process) = self.processes.remove(&pid) {
            self.leave(pid, process.group);
            self.release(pid);
        }
    }

    /// Notes that `pid` started a program.
    pub fn note_exec(&mut self, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.program = Program::Started;
        }
    }

    /// Notes that `pid` ended (it stays until it is removed), its `children` being given to `new_parent`.
    ///
    /// Returns the process groups that are orphaned by this. If such a group has a stopped member, every member is to
    /// get `SIGHUP` and then `SIGCONT` (POSIX, `_exit`).
    pub fn note_exit(&mut self, pid: u32, children: &[u32], new_parent: u32) -> Vec<u32> {
        let Some(process) = self.processes.get_mut(&pid) else {
            return Vec::new();
        };
        process.life = Life::Zombie;
        let (parent, group, session) = (process.parent, process.group, process.session);
        let mut candidates = Vec::new();
        if self.is_job_link(parent, group, session) {
            candidates.push(group);
        }
        for child in children {
            let Some(process) = self.processes.get_mut(child) else {
                continue;
            };
            process.parent = new_parent;
            let linked = process.group != group && process.session == session;
            if linked && process.life == Life::Alive && !candidates.contains(&process.group) {
                candidates.push(process.group);
            }
        }
        candidates.retain(|candidate| self.is_orphaned(*candidate));
        candidates
    }

    /// Whether `parent` is one who can do job control for a child in `group` of `session`: of another group of the same
    /// session, and not the first process, which does none.
    fn is_job_link(&self, parent: u32, group: u32, session: u32) -> bool {
        let Some(process) = self.processes.get(&parent) else {
            return false;
        };
        parent != 1 && process.group != group && process.session == session
    }

    /// Whether nobody is there to continue the group when it stops: no living member has a parent in another group of the
    /// same session. True of a group that does not exist.
    pub fn is_orphaned(&self, group: u32) -> bool {
        !self.members(group).iter().any(|pid| {
            let process = self.processes.get(pid);
            process.is_some_and(|process| {
                process.life == Life::Alive
                    && self.is_job_link(process.parent, process.group, process.session)
            })
        })
    }

    /// The parent of `pid`.
    pub fn parent(&self, pid: u32) -> Option<u32> {
        self.processes.get(&pid).map(|process| process.parent)
    }

    /// The process group of `pid`.
    pub fn group(&self, pid: u32) -> Option<u32> {
        self.processes.get(&pid).map(|process| process.group)
    }

    /// The session of `pid`.
    pub fn session(&self, pid: u32) -> Option<u32> {
        self.processes.get(&pid).map(|process| process.session)
    }

    /// The session of process group `group`, if there is such a group.
    pub fn session_of_group(&self, group: u32) -> Option<u32> {
        self.groups.get(&group).map(|group| group.session)
    }

    /// Whether `pid` leads its session.
    pub fn is_session_leader(&self, pid: u32) -> bool {
        self.session(pid) == Some(pid)
    }

    /// The processes of `group`, in no particular order; zombies are among them.
    pub fn members(&self, group: u32) -> &[u32] {
        self.groups.get(&group).map_or(&[], |group| &group.members)
    }

    /// The processes of `session`, group by group.
    pub fn session_members(&self, session: u32) -> impl Iterator<Item = u32> {
        let groups = self.groups.values().filter(move |group| group.session == session);
        groups.flat_map(|group| group.members.iter().copied())
    }

    /// Every process in ascending order, from `first` on.
    pub fn processes_from(&self, first: u32) -> impl Iterator<Item = u32> {
        self.processes.range(first..).map(|(pid, _)| *pid)
    }

    /// `setsid`: `pid` becomes the leader of a new session and of a new group in it, without a controlling terminal.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when a group has this id already; [`Error::NoSuchProcess`].
    pub fn create_session(&mut self, pid: u32) -> Result<u32> {
        let process = self.processes.get_mut(&pid).ok_or(Error::NoSuchProcess)?;
        if process.session == pid || self.groups.contains_key(&pid) {
            return Err(Error::NotPermitted);
        }
        let old_group = process.group;
        (process.group, process.session) = (pid, pid);
        self.leave(pid, old_group);
        self.join(pid, pid, pid);
        Ok(pid)
    }

    /// `setpgid` by process `caller`; a `target` of 0 is the caller, a `group` of 0 the target's own.
    ///
    /// # Errors
    /// As POSIX has them: [`Error::InvalidArgument`] for a negative group, [`Error::NoSuchProcess`] when the target is
    /// neither the caller nor a child, [`Error::AccessDenied`] when the child has started a program,
    /// [`Error::NotPermitted`] when it leads a session, or the group does not exist in the caller's session.
    pub fn set_group(&mut self, caller: u32, target: i32, group: i32) -> Result<()> {
        let group = u32::try_from(group).map_err(|_| Error::InvalidArgument)?;
        let target = u32::try_from(target).map_err(|_| Error::NoSuchProcess)?;
        let target = if target == 0 { caller } else { target };
        let group = if group == 0 { target } else { group };
        let session = self.session(caller).ok_or(Error::NoSuchProcess)?;
        let process = self.processes.get(&target).ok_or(Error::NoSuchProcess)?;
        if process.parent == caller {
            if process.session != session {
                return Err(Error::NotPermitted);
            }
            if process.program == Program::Started {
                return Err(Error::AccessDenied);
            }
        } else if target != caller {
            return Err(Error::NoSuchProcess);
        }
        if process.session == target || (group != target && self.session_of_group(group) != Some(session)) {
            return Err(Error::NotPermitted);
        }
        let old_group = process.group;
        if old_group != group {
            // Joined before the old one is left, so that a session never is without a group in between.
            self.join(target, group, session);
            if let Some(process) = self.processes.get_mut(&target) {
                process.group = group;
            }
            self.leave(target, old_group);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Process 1, and shells 2 and 3 that it started, each leading a session.
    fn system() -> Identifiers {
        let mut ids = Identifiers::default();
        let first = ids.allocate().unwrap();
        ids.add_first_process(first);
        for _ in 0..2 {
            let shell = fork(&mut ids, first);
            ids.create_session(shell).unwrap();
        }
        ids
    }

    fn fork(ids: &mut Identifiers, parent: u32) -> u32 {
        let pid = ids.allocate().unwrap();
        ids.add_process(pid, parent, parent).unwrap();
        pid
    }

    #[test]
    fn ids_ascend_and_wrap_above_the_first_ones() {
        let mut ids = Identifiers::new(LEAST_MAX);
        let all: Vec<u32> = core::iter::from_fn(|| ids.allocate().ok()).collect();
        assert!(all.iter().copied().eq(1..LEAST_MAX));
        assert_eq!(ids.allocate(), Err(Error::WouldBlock));
        ids.release(5);
        assert_eq!(ids.allocate(), Err(Error::WouldBlock), "the first 300 are not given out again");
        ids.release(300);
        assert_eq!(ids.allocate(), Ok(300));
        let mut ids = Identifiers::new(1000);
        for _ in 0..10_000 {
            let id = ids.allocate().unwrap();
            ids.release(id);
        }
        let (a, b) = (ids.allocate().unwrap(), ids.allocate().unwrap());
        assert!((300..1000).contains(&a) && b != a);
    }

    #[test]
    fn a_small_limit_stops_what_a_great_one_allowed() {
        let mut ids = Identifiers::new(GREATEST_MAX);
        for expected in 1..=500 {
            assert_eq!(ids.allocate(), Ok(expected));
        }
        assert_eq!(ids.set_max(300), Err(Error::InvalidArgument));
        ids.set_max(400).unwrap();
        assert_eq!(ids.allocate(), Err(Error::WouldBlock));
        ids.release(350);
        assert_eq!(ids.allocate(), Ok(350));
    }

    #[test]
    fn a_group_keeps_the_id_of_its_dead_leader() {
        let mut ids = Identifiers::new(LEAST_MAX);
        let first = ids.allocate().unwrap();
        ids.add_first_process(first);
        let leader = fork(&mut ids, first);
        ids.set_group(leader, 0, 0).unwrap();
        let member = fork(&mut ids, leader);
        assert_eq!(ids.group(member), Some(leader));
        ids.remove_process(leader);
        assert_eq!(ids.members(leader), [member]);
        while ids.allocate().is_ok() {}
        ids.release(299);
        assert!(ids.allocator.used[0] & (1 << leader) != 0, "still the group's");
        ids.remove_process(member);
        assert!(ids.allocator.used[0] & (1 << leader) == 0);
        assert_eq!(ids.session_of_group(leader), None);
    }

    #[test]
    fn sessions_begin_and_end() {
        let mut ids = system();
        assert_eq!((ids.group(1), ids.session(1)), (Some(0), Some(0)));
        assert_eq!((ids.session(2), ids.group(2), ids.is_session_leader(2)), (Some(2), Some(2), true));
        assert_eq!(ids.create_session(2), Err(Error::NotPermitted));
        let child = fork(&mut ids, 2);
        ids.set_group(2, child as i32, 0).unwrap();
        assert_eq!(ids.create_session(child), Err(Error::NotPermitted), "it leads a group");
        let mut members: Vec<u32> = ids.session_members(2).collect();
        members.sort_unstable();
        assert_eq!(members, [2, child]);
        assert!(ids.processes_from(2).eq([2, 3, child]));
        for pid in [2, child] {
            ids.remove_process(pid);
        }
        assert_eq!(ids.session_members(2).count(), 0);
        assert!(!ids.sessions.contains_key(&2));
    }

    #[test]
    fn setpgid_follows_posix() {
        let mut ids = system();
        let (a, b) = (fork(&mut ids, 2), fork(&mut ids, 2));
        let stranger = fork(&mut ids, 3);
        assert_eq!(ids.set_group(2, a as i32, a as i32), Ok(()));
        assert_eq!(ids.set_group(2, b as i32, a as i32), Ok(()));
        assert_eq!(ids.members(a), [a, b]);
        assert_eq!(ids.set_group(2, 0, 0), Err(Error::NotPermitted), "leads its session");
        assert_eq!(ids.set_group(2, a as i32, -1), Err(Error::InvalidArgument));
        assert_eq!(ids.set_group(2, stranger as i32, 0), Err(Error::NoSuchProcess));
        assert_eq!(ids.set_group(2, 9999, 0), Err(Error::NoSuchProcess));
        assert_eq!(ids.set_group(b, 0, stranger as i32), Err(Error::NotPermitted), "no such group");
        assert_eq!(ids.set_group(b, 0, 3), Err(Error::NotPermitted), "another session's");
        ids.note_exec(b);
        assert_eq!(ids.set_group(2, b as i32, 0), Err(Error::AccessDenied));
        assert_eq!(ids.set_group(b, 0, 0), Ok(()));
        let daemon = fork(&mut ids, 2);
        ids.create_session(daemon).unwrap();
        assert_eq!(ids.set_group(2, daemon as i32, 0), Err(Error::NotPermitted), "left the session");
    }

    #[test]
    fn a_job_is_orphaned_when_its_shell_ends() {
        let mut ids = system();
        let job = fork(&mut ids, 2);
        ids.set_group(2, job as i32, 0).unwrap();
        let helper = fork(&mut ids, job);
        assert!(!ids.is_orphaned(job));
        assert!(ids.is_orphaned(2), "a shell's own group has a parent of another session");
        assert_eq!(ids.note_exit(2, &[job], 1), [job]);
        assert_eq!(ids.parent(job), Some(1));
        assert!(ids.is_orphaned(job));
        assert_eq!(ids.note_exit(job, &[helper], 1), vec![], "was orphaned before");
    }

    #[test]
    fn a_job_is_orphaned_when_the_one_with_the_parent_ends() {
        let mut ids = system();
        let job = fork(&mut ids, 2);
        ids.set_group(2, job as i32, 0).unwrap();
        let helper = fork(&mut ids, job);
        assert_eq!(ids.note_exit(job, &[helper], 1), [job], "the helper's new parent is of another session");
        assert_eq!(ids.members(job).len(), 2, "a zombie is a member until it is waited for");
        ids.remove_process(job);
        assert_eq!(ids.members(job), [helper]);
    }
}
