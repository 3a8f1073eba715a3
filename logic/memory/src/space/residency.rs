//! Which harts may remember an address space's translations, and who has to forget them when.
//!
//! A hart may have entries of a space in its TLB from its first [`Residency::activate`] on, also while it runs
//! something else, as the entries carry the space's id. So a change must reach the harts that run the space now (they
//! are asked to flush at once) and those that ran it before (they flush when they activate it next). The two cases
//! must not slip past each other:
//!
//! | who changes a mapping | who activates |
//! |---|---|
//! | 1. writes the entries | 1. sets its bit in `cached` and `active` |
//! | 2. fence | 2. fence |
//! | 3. sets `stale` for the harts in `cached` and not in `active` | 3. takes its bit out of `stale`, flushes if it was set |
//! | 4. fence | 4. lets the hardware walk |
//! | 5. reads `active` again and has those flush | |
//!
//! The fences are in one order. If the left's 4 comes before the right's 2, the right's 3 sees the bit; else the left's
//! 5 sees the hart. A hart that is not in `cached` yet when the left looks has its fence behind the left's 2, so that
//! its walk finds the new entries. A change that only adds rights needs nothing of this: at worst it is a fault that
//! finds nothing to do.

use base::sync::atomic::{AtomicU64, Ordering, fence};

/// Whether a hart has to flush a space's id before it uses the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "stale translations lead to memory that is somebody else's by now"]
pub enum NeedsFlush {
    /// What the hart remembers is right.
    No,
    /// Flush everything with the space's id.
    Yes,
}

/// The harts of one space; see the module's page.
pub(super) struct Residency {
    active: AtomicU64,
    cached: AtomicU64,
    stale: AtomicU64,
}

impl Residency {
    pub(super) fn new() -> Self {
        Self { active: AtomicU64::new(0), cached: AtomicU64::new(0), stale: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn activate(&self, hart: usize) -> NeedsFlush {
        let bit = 1 << hart;
        if self.cached.load(Ordering::Relaxed) & bit == 0 {
            self.cached.fetch_or(bit, Ordering::Relaxed);
        }
        self.active.fetch_or(bit, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.stale.load(Ordering::Relaxed) & bit == 0 {
            return NeedsFlush::No;
        }
        self.stale.fetch_and(!bit, Ordering::AcqRel);
        NeedsFlush::Yes
    }

    #[inline]
    pub(super) fn deactivate(&self, hart: usize) {
        self.active.fetch_and(!(1 << hart), Ordering::Release);
    }

    #[cfg_attr(loom, expect(dead_code, reason = "no model asks"))]
    pub(super) fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    /// After entries were changed: the harts that must flush now. The others will.
    pub(super) fn outdated(&self) -> u64 {
        fence(Ordering::SeqCst);
        if self.cached.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let before = self.mark_idle();
        fence(Ordering::SeqCst);
        before | self.active.load(Ordering::Relaxed)
    }

    /// Has the harts that do not use the space flush when they do; gives those that do.
    fn mark_idle(&self) -> u64 {
        let active = self.active.load(Ordering::Relaxed);
        let idle = self.cached.load(Ordering::Relaxed) & !active;
        if idle != 0 {
            self.stale.fetch_or(idle, Ordering::Release);
        }
        active
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    const OLD: usize = 1;
    const NEW: usize = 2;

    /// One entry, and one hart that may remember it.
    struct Scene {
        residency: Residency,
        entry: AtomicUsize,
        remembered: Mutex<Option<usize>>,
    }

    impl Scene {
        /// The hart ran the space before if `remembered` says what it remembers of that.
        fn new(remembered: Option<usize>) -> Arc<Self> {
            let residency = Residency::new();
            if remembered.is_some() {
                assert_eq!(residency.activate(1), NeedsFlush::No);
                residency.deactivate(1);
            }
            Arc::new(Self { residency, entry: AtomicUsize::new(OLD), remembered: Mutex::new(remembered) })
        }

        /// The hart uses the space: it remembers the entry if it does not already.
        fn run(&self) {
            if self.residency.activate(1) == NeedsFlush::Yes {
                *self.remembered.lock().unwrap() = None;
            }
            // The walk is not ordered by the lock that stands for the TLB.
            let walked = self.entry.load(Ordering::Relaxed);
            self.remembered.lock().unwrap().get_or_insert(walked);
        }

        fn flush(&self, harts: u64) {
            if harts & 0b10 != 0 {
                *self.remembered.lock().unwrap() = None;
            }
        }

        /// After the change nobody uses what was there before: it may have another owner by now.
        fn check(remembered: Option<usize>, change: fn(&Residency) -> u64, activations: usize) {
            loom::model(move || {
                let scene = Self::new(remembered);
                let hart = {
                    let scene = scene.clone();
                    thread::spawn(move || {
                        for _ in 1..activations {
                            scene.run();
                            scene.residency.deactivate(1);
                        }
                        scene.run();
                    })
                };
                scene.entry.store(NEW, Ordering::Relaxed);
                let harts = change(&scene.residency);
                // The hardware orders a flush with the walks of the hart that it interrupts; a model of that would be
                // about the hardware. So the flush comes last, if one was asked for.
                hart.join().unwrap();
                scene.flush(harts);
                assert_ne!(*scene.remembered.lock().unwrap(), Some(OLD), "a stale translation stays in use");
            });
        }
    }

    #[test]
    fn a_hart_that_remembers_forgets() {
        Scene::check(Some(OLD), Residency::outdated, 1);
    }

    #[test]
    fn a_hart_that_comes_and_goes_forgets() {
        Scene::check(Some(OLD), Residency::outdated, 2);
    }

    #[test]
    fn a_hart_that_comes_for_the_first_time_sees_the_change() {
        Scene::check(None, Residency::outdated, 1);
        Scene::check(None, Residency::outdated, 2);
    }

    #[test]
    #[should_panic(expected = "a stale translation stays in use")]
    fn the_checker_finds_a_change_that_does_not_look_twice() {
        Scene::check(Some(OLD), Residency::mark_idle, 1);
    }
}
