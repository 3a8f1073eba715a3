//! Extended attributes: small named values that a file carries beside its content.

use crate::name::Name;
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::sync::SpinLock;

/// Bytes of a name at most, its namespace included (`XATTR_NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// Bytes of a value at most (`XATTR_SIZE_MAX`).
pub const VALUE_MAX: usize = 65_536;
/// Bytes that the names and values of one file have at most together.
const TOTAL_MAX: usize = 2 * VALUE_MAX;

/// What `setxattr` does with an attribute that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Whatever it takes.
    Any,
    /// It must not be there.
    Create,
    /// It must be there.
    Replace,
}

/// The attributes of one file. Most have none, and take a pointer.
#[derive(Default)]
pub struct ExtendedAttributes {
    table: SpinLock<Option<Box<Table>>>,
}

#[derive(Default)]
struct Table {
    values: BTreeMap<Name, Box<[u8]>>,
    /// Bytes of all names and values.
    total: usize,
}

impl ExtendedAttributes {
    /// No attributes.
    pub const fn new() -> Self {
        Self { table: SpinLock::new(None) }
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// [`Error::NoData`] when it is not there.
    pub fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        let table = self.table.lock();
        let value = table.as_ref().and_then(|table| table.values.get(name));
        value.map(|value| value.to_vec()).ok_or(Error::NoData)
    }

    /// Sets the value of an attribute.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::NoData`] as `setting` has it; [`Error::NoSpace`].
    pub fn set(&self, name: &[u8], value: Box<[u8]>, setting: Setting) -> Result<()> {
        let former = {
            let mut slot = self.table.lock();
            let table = slot.get_or_insert_default();
            let former = table.values.get(name).map(|value| value.len());
            match (setting, former) {
                (Setting::Create, Some(_)) => return Err(Error::AlreadyExists),
                (Setting::Replace, None) => return Err(Error::NoData),
                _ => {}
            }
            let freed = former.map_or(0, |length| length + name.len());
            let total = table.total - freed + name.len() + value.len();
            if total > TOTAL_MAX {
                return Err(Error::NoSpace);
            }
            table.total = total;
            table.values.insert(Name::from_slice(name), value)
        };
        drop(former);
        Ok(())
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// [`Error::NoData`] when it is not there.
    pub fn remove(&self, name: &[u8]) -> Result<()> {
        let removed = {
            let mut slot = self.table.lock();
            let table = slot.as_mut().ok_or(Error::NoData)?;
            let value = table.values.remove(name).ok_or(Error::NoData)?;
            table.total -= name.len() + value.len();
            value
        };
        drop(removed);
        Ok(())
    }

    /// The names, each with a NUL behind it, of those attributes that `shown` says are to be.
    pub fn list(&self, shown: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut names = Vec::new();
        if let Some(table) = &*self.table.lock() {
            for name in table.values.keys().filter(|name| shown(name)) {
                names.extend_from_slice(name);
                names.push(0);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_and_go() {
        let attributes = ExtendedAttributes::new();
        let value = |text: &[u8]| Box::from(text);
        assert_eq!(attributes.get(b"user.a"), Err(Error::NoData));
        assert_eq!(attributes.set(b"user.a", value(b"1"), Setting::Replace), Err(Error::NoData));
        assert_eq!(attributes.set(b"user.a", value(b"1"), Setting::Create), Ok(()));
        assert_eq!(attributes.set(b"user.a", value(b"2"), Setting::Create), Err(Error::AlreadyExists));
        assert_eq!(attributes.set(b"trusted.b", value(b""), Setting::Any), Ok(()));
        assert_eq!(attributes.set(b"user.a", value(b"three"), Setting::Replace), Ok(()));
        assert_eq!(attributes.get(b"user.a").unwrap(), b"three");
        assert_eq!(attributes.list(|_| true), b"trusted.b\0user.a\0");
        assert_eq!(attributes.list(|name| name.starts_with(b"user.")), b"user.a\0");
        assert_eq!(attributes.remove(b"trusted.b"), Ok(()));
        assert_eq!(attributes.remove(b"trusted.b"), Err(Error::NoData));
        let large = alloc::vec![0; VALUE_MAX];
        assert_eq!(attributes.set(b"user.large", large.clone().into(), Setting::Any), Ok(()));
        assert_eq!(attributes.set(b"user.more", large.clone().into(), Setting::Any), Err(Error::NoSpace));
        assert_eq!(attributes.set(b"user.large", large.into(), Setting::Any), Ok(()));
    }
}
