//! Who a process is: user and group ids, what they may become, and what they allow.
//!
//! Capabilities follow the ids, as they do on a Linux where no program has file capabilities, unless they are given up
//! ([`CapabilitySets`]).

use crate::capabilities::CapabilitySets;
use abi::Error;
use alloc::vec::Vec;
use base::Result;

/// The id that means "leave as it is" in the calls that set several.
pub const UNCHANGED: u32 = u32::MAX;
/// How many supplementary groups there may be (`NGROUPS_MAX`).
pub const GROUPS_MAX: usize = 65_536;

/// A right to do what ordinary processes may not; the numbers are Linux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Change owners of files.
    ChangeOwner = 0,
    /// Pass over permissions of files.
    OverrideAccess = 1,
    /// Pass over permissions for reading and searching.
    ReadSearch = 2,
    /// Do with files what only their owner may.
    FileOwner = 3,
    /// Keep set-id bits.
    KeepSetId = 4,
    /// Signal anybody.
    Kill = 5,
    /// Become any group.
    SetGroup = 6,
    /// Become any user.
    SetUser = 7,
    /// Bind to ports below 1024.
    BindService = 10,
    /// Configure the network.
    NetworkAdministration = 12,
    /// Use raw sockets.
    RawNetwork = 13,
    /// Lock memory beyond the limit.
    LockMemory = 14,
    /// Load kernel modules.
    Module = 16,
    /// Access devices' memory and ports.
    RawInputOutput = 17,
    /// Change the root directory.
    ChangeRoot = 18,
    /// Trace any process.
    Trace = 19,
    /// Mount, set the host's name, and much else.
    SystemAdministration = 21,
    /// Reboot.
    Boot = 22,
    /// Raise priorities.
    Nice = 23,
    /// Pass over resource limits.
    Resource = 24,
    /// Set the clock.
    Time = 25,
    /// Configure terminals.
    Terminal = 26,
    /// Make device nodes.
    MakeNode = 27,
}

/// Every capability that Linux 6.17 numbers, 0 to 40, as a set.
pub const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

/// One kind of id in its four roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Who started the process.
    pub real: u32,
    /// As whom it acts.
    pub effective: u32,
    /// Whom it may become again.
    pub saved: u32,
    /// As whom it accesses files; follows the effective id.
    pub filesystem: u32,
}

/// Whether a process may take any id (`CAP_SETUID`, `CAP_SETGID`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Any,
    Own,
}

impl Identity {
    /// All four the same.
    pub const fn all(id: u32) -> Identity {
        Identity { real: id, effective: id, saved: id, filesystem: id }
    }

    /// Whether it is user 0 in any role that counts for rights.
    pub(crate) fn is_anyhow_root(&self) -> bool {
        self.owns(0)
    }

    fn owns(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    fn set(&mut self, id: u32, power: Power) -> Result<()> {
        if id == UNCHANGED {
            return Err(Error::InvalidArgument);
        }
        match power {
            Power::Any => *self = Identity::all(id),
            Power::Own if id == self.real || id == self.saved => (self.effective, self.filesystem) = (id, id),
            Power::Own => return Err(Error::NotPermitted),
        }
        Ok(())
    }

    fn set_real_effective(&mut self, real: u32, effective: u32, power: Power) -> Result<()> {
        let may_be_real = [UNCHANGED, self.real, self.effective].contains(&real);
        let may_be_effective = effective == UNCHANGED || self.owns(effective);
        if power == Power::Own && !(may_be_real && may_be_effective) {
            return Err(Error::NotPermitted);
        }
        let old_real = self.real;
        if real != UNCHANGED {
            self.real = real;
        }
        if effective != UNCHANGED {
            self.effective = effective;
        }
        if real != UNCHANGED || (effective != UNCHANGED && effective != old_real) {
            self.saved = self.effective;
        }
        self.filesystem = self.effective;
        Ok(())
    }

    fn set_all(&mut self, [real, effective, saved]: [u32; 3], power: Power) -> Result<()> {
        let permitted = |id: u32| id == UNCHANGED || self.owns(id);
        if power == Power::Own && ![real, effective, saved].into_iter().all(permitted) {
            return Err(Error::NotPermitted);
        }
        let choose = |new: u32, old: u32| if new == UNCHANGED { old } else { new };
        let effective = choose(effective, self.effective);
        *self = Identity {
            real: choose(real, self.real),
            effective,
            saved: choose(saved, self.saved),
            filesystem: effective,
        };
        Ok(())
    }

    fn set_filesystem(&mut self, id: u32, power: Power) -> u32 {
        let old = self.filesystem;
        if id != UNCHANGED && (power == Power::Any || id == old || self.owns(id)) {
            self.filesystem = id;
        }
        old
    }
}

/// Everything that says who a process is. Shared by copying: a change makes new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User ids.
    pub user: Identity,
    /// Group ids.
    pub group: Identity,
    /// What it may do beside what its ids allow.
    pub capabilities: CapabilitySets,
    groups: Vec<u32>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self::root()
    }
}

/// What a new program's file does to the ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetIds {
    /// The file's owner, if it has the set-user-id bit and that is honoured.
    pub user: Option<u32>,
    /// The file's group, if it has the set-group-id bit (with group execution) and that is honoured.
    pub group: Option<u32>,
}

impl Credentials {
    /// User 0, group 0, no further groups.
    pub const fn root() -> Credentials {
        let (user, group) = (Identity::all(0), Identity::all(0));
        Credentials { user, group, capabilities: CapabilitySets::ALL, groups: Vec::new() }
    }

    /// Whether it may use `capability`.
    #[inline]
    pub const fn has(&self, capability: Capability) -> bool {
        self.capabilities.effective & (1 << capability as u8) != 0
    }

    /// Changes the user ids, and the capabilities with them.
    fn change_user(&mut self, change: impl FnOnce(&mut Identity, Power) -> Result<()>) -> Result<()> {
        let (old, power) = (self.user, self.power(Capability::SetUser));
        change(&mut self.user, power)?;
        self.capabilities.follow(&old, &self.user);
        Ok(())
    }

    fn power(&self, capability: Capability) -> Power {
        if self.has(capability) { Power::Any } else { Power::Own }
    }

    /// `setuid`.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], or [`Error::InvalidArgument`] for an id that does not exist.
    pub fn set_user(&mut self, id: u32) -> Result<()> {
        self.change_user(|user, power| user.set(id, power))
    }

    /// `setgid`.
    ///
    /// # Errors
    /// As [`Credentials::set_user`].
    pub fn set_group(&mut self, id: u32) -> Result<()> {
        let power = self.power(Capability::SetGroup);
        self.group.set(id, power)
    }

    /// `setreuid`; [`UNCHANGED`] leaves an id as it is.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    pub fn set_real_effective_user(&mut self, real: u32, effective: u32) -> Result<()> {
        self.change_user(|user, power| user.set_real_effective(real, effective, power))
    }

    /// `setregid`; [`UNCHANGED`] leaves an id as it is.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    pub fn set_real_effective_group(&mut self, real: u32, effective: u32) -> Result<()> {
        let power = self.power(Capability::SetGroup);
        self.group.set_real_effective(real, effective, power)
    }

    /// `setresuid` with real, effective and saved id; [`UNCHANGED`] leaves one as it is.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    pub fn set_all_users(&mut self, ids: [u32; 3]) -> Result<()> {
        self.change_user(|user, power| user.set_all(ids, power))
    }

    /// `setresgid` with real, effective and saved id; [`UNCHANGED`] leaves one as it is.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    pub fn set_all_groups(&mut self, ids: [u32; 3]) -> Result<()> {
        let power = self.power(Capability::SetGroup);
        self.group.set_all(ids, power)
    }

    /// `setfsuid`: returns the id before; that nothing changed shows only when asked again.
    pub fn set_filesystem_user(&mut self, id: u32) -> u32 {
        let power = self.power(Capability::SetUser);
        let old = self.user.set_filesystem(id, power);
        self.capabilities.follow_filesystem(old, self.user.filesystem);
        old
    }

    /// `setfsgid`, as [`Credentials::set_filesystem_user`].
    pub fn set_filesystem_group(&mut self, id: u32) -> u32 {
        let power = self.power(Capability::SetGroup);
        self.group.set_filesystem(id, power)
    }

    /// The supplementary groups, ascending.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// `setgroups`.
    ///
    /// # Errors
    /// [`Error::NotPermitted`]; [`Error::InvalidArgument`] for too many or an id that does not exist.
    pub fn set_groups(&mut self, mut groups: Vec<u32>) -> Result<()> {
        if !self.has(Capability::SetGroup) {
            return Err(Error::NotPermitted);
        }
        if groups.len() > GROUPS_MAX || groups.contains(&UNCHANGED) {
            return Err(Error::InvalidArgument);
        }
        groups.sort_unstable();
        self.groups = groups;
        Ok(())
    }

    /// Whether files of group `id` count as its own group's.
    #[inline]
    pub fn is_in_group(&self, id: u32) -> bool {
        id == self.group.filesystem || self.groups.binary_search(&id).is_ok()
    }

    /// Whether it acts as `id` by its effective group or a supplementary one.
    pub fn acts_in_group(&self, id: u32) -> bool {
        id == self.group.effective || self.groups.binary_search(&id).is_ok()
    }

    /// What starting a program makes of them, with the value of `AT_SECURE`.
    pub fn exec(&mut self, set: SetIds) -> u64 {
        self.user.effective = set.user.unwrap_or(self.user.effective);
        self.group.effective = set.group.unwrap_or(self.group.effective);
        for identity in [&mut self.user, &mut self.group] {
            identity.saved = identity.effective;
            identity.filesystem = identity.effective;
        }
        self.capabilities.exec(&self.user);
        u64::from(self.user.real != self.user.effective || self.group.real != self.group.effective)
    }

    /// Whether it may send signals to a process with `target`'s credentials. (`SIGCONT` within the session is the
    /// caller's to allow.)
    pub fn may_signal(&self, target: &Credentials) -> bool {
        let senders = [self.user.effective, self.user.real];
        senders.iter().any(|id| *id == target.user.saved || *id == target.user.real)
            || self.has(Capability::Kill)
    }

    /// Whether it may change the limits or the scheduling of a process with `target`'s credentials.
    pub fn may_limit(&self, target: &Credentials) -> bool {
        self.is_same_user(target) || self.has(Capability::Resource)
    }

    /// Whether its real user and group are those of `target`, real, effective and saved.
    pub fn is_same_user(&self, target: &Credentials) -> bool {
        let user = [target.user.real, target.user.effective, target.user.saved];
        let group = [target.group.real, target.group.effective, target.group.saved];
        user.iter().all(|id| *id == self.user.real) && group.iter().all(|id| *id == self.group.real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(real: u32, effective: u32, saved: u32) -> Credentials {
        let identity = Identity { real, effective, saved, filesystem: effective };
        Credentials {
            user: identity,
            group: identity,
            capabilities: CapabilitySets::NONE,
            groups: Vec::new(),
        }
    }

    fn ids(credentials: &Credentials) -> [u32; 4] {
        let Identity { real, effective, saved, filesystem } = credentials.user;
        [real, effective, saved, filesystem]
    }

    #[test]
    fn setuid_drops_for_good_as_root_and_switches_otherwise() {
        let mut credentials = Credentials::root();
        credentials.set_user(1000).unwrap();
        assert_eq!(ids(&credentials), [1000; 4]);
        assert_eq!(credentials.set_user(0), Err(Error::NotPermitted));
        let mut credentials = user(1000, 2000, 3000);
        assert_eq!(credentials.set_user(3000), Ok(()));
        assert_eq!(ids(&credentials), [1000, 3000, 3000, 3000]);
        assert_eq!(credentials.set_user(2000), Err(Error::NotPermitted));
        assert_eq!(credentials.set_user(UNCHANGED), Err(Error::InvalidArgument));
    }

    #[test]
    fn setreuid_updates_the_saved_id_as_linux_does() {
        let mut credentials = user(1000, 2000, 2000);
        credentials.set_real_effective_user(UNCHANGED, 1000).unwrap();
        assert_eq!(ids(&credentials), [1000, 1000, 2000, 1000]);
        credentials.set_real_effective_user(UNCHANGED, 2000).unwrap();
        assert_eq!(ids(&credentials), [1000, 2000, 2000, 2000]);
        credentials.set_real_effective_user(2000, 1000).unwrap();
        assert_eq!(ids(&credentials), [2000, 1000, 1000, 1000]);
        assert_eq!(credentials.set_real_effective_user(3000, UNCHANGED), Err(Error::NotPermitted));
        let mut saved_only = user(1000, 1000, 2000);
        assert_eq!(saved_only.set_real_effective_user(2000, UNCHANGED), Err(Error::NotPermitted));
    }

    #[test]
    fn setresuid_takes_any_of_the_three() {
        let mut credentials = user(1, 2, 3);
        credentials.set_all_users([3, 1, 2]).unwrap();
        assert_eq!(ids(&credentials), [3, 1, 2, 1]);
        assert_eq!(credentials.set_all_users([UNCHANGED, 4, UNCHANGED]), Err(Error::NotPermitted));
        let mut root = Credentials::root();
        root.set_all_users([5, 6, 0]).unwrap();
        assert_eq!(ids(&root), [5, 6, 0, 6]);
        assert!(!root.has(Capability::Kill));
        root.set_all_users([UNCHANGED, 0, UNCHANGED]).unwrap();
        assert!(root.has(Capability::Kill));
    }

    #[test]
    fn setfsuid_tells_the_old_id_and_limits_file_rights() {
        let mut root = Credentials::root();
        assert_eq!(root.set_filesystem_user(1000), 0);
        assert_eq!(root.set_filesystem_user(UNCHANGED), 1000);
        assert!(root.has(Capability::Kill) && !root.has(Capability::OverrideAccess));
        let mut other = user(1, 1, 1);
        assert_eq!(other.set_filesystem_user(9), 1);
        assert_eq!(other.user.filesystem, 1);
    }

    #[test]
    fn groups_belong_to_root_to_set() {
        let mut root = Credentials::root();
        root.set_groups(alloc::vec![30, 10, 20]).unwrap();
        assert_eq!(root.groups(), [10, 20, 30]);
        assert!(root.is_in_group(20) && root.is_in_group(0) && !root.is_in_group(15));
        assert_eq!(root.set_groups(alloc::vec![UNCHANGED]), Err(Error::InvalidArgument));
        root.set_user(5).unwrap();
        assert_eq!(root.set_groups(Vec::new()), Err(Error::NotPermitted));
        assert_eq!(root.set_group(77), Err(Error::NotPermitted));
    }

    #[test]
    fn exec_of_set_id_files_is_secure() {
        let mut credentials = user(1000, 1000, 1000);
        assert_eq!(credentials.exec(SetIds::default()), 0);
        assert_eq!(credentials.exec(SetIds { user: Some(0), group: None }), 1);
        assert_eq!(ids(&credentials), [1000, 0, 0, 0]);
    }

    #[test]
    fn signals_need_a_shared_id() {
        assert!(user(1, 2, 9).may_signal(&user(2, 7, 7)));
        assert!(user(1, 2, 9).may_signal(&user(7, 7, 1)));
        assert!(!user(1, 2, 9).may_signal(&user(7, 1, 9)));
        assert!(Credentials::root().may_signal(&user(7, 7, 7)));
        assert!(user(1, 1, 1).may_limit(&user(1, 1, 1)) && !user(1, 1, 1).may_limit(&user(1, 0, 1)));
    }
}
