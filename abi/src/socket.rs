//! The structures of the calls about sockets, as Linux lays them out on riscv64.

use crate::linux::net as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct msghdr` as user programs have it (`struct user_msghdr`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct MessageHeader {
    /// Where the address is; 0 for nowhere.
    pub name: usize,
    /// Its length in bytes.
    pub name_length: i32,
    /// Nothing.
    pub padding_1: u32,
    /// Where the array of areas is.
    pub areas: usize,
    /// How many areas.
    pub area_count: usize,
    /// Where the control messages are; 0 for nowhere.
    pub control: usize,
    /// Bytes of them.
    pub control_length: usize,
    /// What came of receiving (`MSG_*`).
    pub flags: u32,
    /// Nothing.
    pub padding_2: u32,
}
const _: () =
    assert!(size_of::<MessageHeader>() == size_of::<linux::msghdr>() && size_of::<MessageHeader>() == 56);

/// `struct mmsghdr`
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct ManyMessageHeader {
    /// The message.
    pub header: MessageHeader,
    /// How many bytes were moved.
    pub length: u32,
    /// Nothing.
    pub padding: u32,
}
const _: () = assert!(size_of::<ManyMessageHeader>() == 64);

/// `struct cmsghdr`: what stands before each control message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct ControlHeader {
    /// Bytes of the message, this header included.
    pub length: usize,
    /// Whose it is (`SOL_SOCKET`).
    pub level: u32,
    /// What it is (`SCM_*`).
    pub kind: u32,
}
const _: () = assert!(size_of::<ControlHeader>() == size_of::<linux::cmsghdr>());

/// `struct ucred`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct UserCredentials {
    /// The process.
    pub process: u32,
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
}
const _: () = assert!(size_of::<UserCredentials>() == 12);
