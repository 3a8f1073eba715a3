//! Fork: a second space with the same contents, of which nothing is copied before somebody writes.

use super::area::{Area, Attributes, Sharing};
use super::{AddressSpace, BATCH, Layout};
use crate::page_table::{Copying, PageTable};
use alloc::sync::Arc;
use base::Result;
use base::address::VirtualAddress;

impl AddressSpace {
    /// A space with the same areas and contents: private pages are copied when either writes, shared ones are shared.
    ///
    /// # Errors
    /// `OutOfMemory`; this space is as before (but for pages that it may fault on once more).
    pub async fn fork(&self) -> Result<Arc<AddressSpace>> {
        let layout = self.layout.lock().await;
        let mut areas = layout.areas.try_clone(|area| !area.attributes.contains(Attributes::DONT_FORK))?;
        // Locks are not inherited.
        areas.change_all(|area| area.attributes.remove(Attributes::LOCKED));
        let mut tables = PageTable::new(Some(self.environment.kernel_root))?;
        let mut changed = None;
        let mut result = Ok(());
        for area in layout.areas.iter() {
            if area.attributes.intersects(Attributes::DONT_FORK | Attributes::WIPE_ON_FORK) {
                continue;
            }
            match self.copy_area(area, &mut tables) {
                Ok(false) => {}
                Ok(true) => changed = Some(area.end),
                // Some leaves may have lost their right to write already.
                Err(error) => {
                    changed = Some(area.end);
                    result = Err(error);
                    break;
                }
            }
        }
        if let Some(end) = changed {
            self.flush(0..end);
        }
        result?;
        let layout = Layout {
            areas,
            limits: layout.limits,
            bases: layout.bases,
            heap: layout.heap.clone(),
            lock_future: None,
        };
        Ok(Arc::new(Self::assemble(self.environment, layout, tables)))
    }

    /// Gives `tables` what this space has in `area`; whether a leaf of ours lost its right to write.
    fn copy_area(&self, area: &Area, tables: &mut PageTable) -> Result<bool> {
        let copying = match area.sharing {
            Sharing::Private => Copying::CopyOnWrite,
            Sharing::Shared => Copying::Share,
        };
        let (mut at, end) = (VirtualAddress::new(area.start), VirtualAddress::new(area.end));
        let mut lost = false;
        while at < end {
            let (next, changed) = self.tables.lock().copy_range(tables, at..end, copying, BATCH)?;
            lost |= changed;
            at = next;
        }
        Ok(lost)
    }
}
