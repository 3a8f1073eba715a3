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
        Self { used: Vec::new(), last: 0, max }
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
        let in_use = self.processes.contains_key(&id) || self.groups.contains_key(&id) || self.sessions.contains_key(&id);
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
        let Some(group) = self.groups.get_mut(&group_id) else { return };
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
        let Some(process) = self.processes.get_mut(&pid) else { return Vec::new() };
        process.life = Life::Zombie;
        let (parent, group, session) = (process.parent, process.group, process.session);
        let mut candidates = Vec::new();
        if self.is_job_link(parent, group, session) {
            candidates.push(group);
        }
        for child in children {
            let Some(process) = self.processes.get_mut(child) else { continue };
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
        let Some(process) = self.processes.get(&parent) else { return false };
        parent != 1 && process.group != group && process.session == session
    }

    /// Whether nobody is there to continue the group when it stops: no living member has a parent in another group of the
    /// same session. True of a group that does not exist.
    pub fn is_orphaned(&self, group: u32) -> bool {
        !self.members(group).iter().any(|pid| {
            let process = self.processes.get(pid);
            process.is_some_and(|process| {
                process.life == Life::Alive && self.is_job_link(process.parent, process.group, process.session)
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
