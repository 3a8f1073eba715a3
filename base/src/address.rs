//! Physical and virtual addresses, which must never be mistaken for one another.

/// Bytes in a page, the smallest unit of translation.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: usize = 12;
/// Bytes in a large page: one leaf of the second level of the page table.
pub const LARGE_PAGE_SIZE: usize = 1 << LARGE_PAGE_SHIFT;
/// log2 of [`LARGE_PAGE_SIZE`].
pub const LARGE_PAGE_SHIFT: usize = 21;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(usize);

        impl $name {
            /// The address with this numeric value.
            pub const fn new(value: usize) -> Self {
                Self(value)
            }

            /// The numeric value.
            pub const fn value(self) -> usize {
                self.0
            }

            /// The number of the page that holds this address.
            pub const fn page_number(self) -> usize {
                self.0 >> PAGE_SHIFT
            }

            /// The first address of the page with this number.
            pub const fn from_page_number(number: usize) -> Self {
                Self(number << PAGE_SHIFT)
            }

            /// Bytes from the start of the page, below [`PAGE_SIZE`].
            pub const fn page_offset(self) -> usize {
                self.0 & (PAGE_SIZE - 1)
            }

            /// The greatest multiple of `alignment` (a power of two, in bytes) that is not above this address.
            pub const fn align_down(self, alignment: usize) -> Self {
                Self(self.0 & !(alignment - 1))
            }

            /// The least multiple of `alignment` (a power of two, in bytes) that is not below this address;
            /// `None` when there is none.
            pub const fn align_up(self, alignment: usize) -> Option<Self> {
                match self.0.checked_add(alignment - 1) {
                    Some(sum) => Some(Self(sum & !(alignment - 1))),
                    None => None,
                }
            }

            /// Whether this is a multiple of `alignment` (a power of two, in bytes).
            pub const fn is_aligned(self, alignment: usize) -> bool {
                self.0 & (alignment - 1) == 0
            }

            /// The address `bytes` further on; `None` when the sum overflows.
            pub const fn checked_add(self, bytes: usize) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl core::ops::Add<usize> for $name {
            type Output = Self;
            fn add(self, bytes: usize) -> Self {
                Self(self.0 + bytes)
            }
        }

        impl core::ops::Sub<usize> for $name {
            type Output = Self;
            fn sub(self, bytes: usize) -> Self {
                Self(self.0 - bytes)
            }
        }

        impl core::ops::Sub for $name {
            type Output = usize;
            fn sub(self, other: Self) -> usize {
                self.0 - other.0
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl core::fmt::LowerHex for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// Where something is in the machine's memory map. Reached through [`crate::hal::direct_map`].
    PhysicalAddress
}
address! {
    /// Where something is in an address space. Says nothing about which.
    VirtualAddress
}
