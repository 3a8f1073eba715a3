//! Interior mutability that loom can watch: each access to the pointer is an access to the data.

/// A cell whose exclusion comes from the protocol around it.
pub(crate) struct DataCell<T: ?Sized> {
    #[cfg(not(loom))]
    data: core::cell::UnsafeCell<T>,
    #[cfg(loom)]
    data: loom::cell::UnsafeCell<T>,
}

impl<T> DataCell<T> {
    const_unless_loom! {
        /// A cell with this value.
        pub fn new(value: T) -> Self {
            #[cfg(not(loom))]
            let data = core::cell::UnsafeCell::new(value);
            #[cfg(loom)]
            let data = loom::cell::UnsafeCell::new(value);
            Self { data }
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> DataCell<T> {
    /// The pointer, for one who holds the data alone now. Loom reports a race with any unordered access.
    #[inline(always)]
    pub fn pointer_exclusive(&self) -> *mut T {
        #[cfg(not(loom))]
        return self.data.get();
        #[cfg(loom)]
        return self.data.with_mut(|pointer| pointer);
    }

    /// The pointer, for one of several readers. Loom reports a race with any unordered writer.
    #[inline(always)]
    pub fn pointer_shared(&self) -> *const T {
        #[cfg(not(loom))]
        return self.data.get();
        #[cfg(loom)]
        return self.data.with(|pointer| pointer);
    }

    /// The value, for who has the cell to itself.
    #[inline(always)]
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` is exclusive.
        unsafe { &mut *self.pointer_exclusive() }
    }
}
