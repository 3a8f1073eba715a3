//! What each user has running: threads, and signals that wait, as far as its limits count them.

use ::process::signal::SignalQuota;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use base::sync::SpinLock;
use base::sync::atomic::{AtomicUsize, Ordering};

/// A real user for as long as it has processes.
#[derive(Debug)]
pub struct User {
    /// The user's id.
    pub id: u32,
    threads: AtomicUsize,
    /// Signals that wait for its processes.
    pub signals: Arc<SignalQuota>,
}

static USERS: SpinLock<BTreeMap<u32, Weak<User>>> = SpinLock::new(BTreeMap::new());

impl User {
    /// The user with this id.
    pub fn of(id: u32) -> Arc<User> {
        let mut users = USERS.lock();
        if let Some(user) = users.get(&id).and_then(Weak::upgrade) {
            return user;
        }
        let user = Arc::new(User { id, threads: AtomicUsize::new(0), signals: Arc::new(SignalQuota::new()) });
        users.insert(id, Arc::downgrade(&user));
        user
    }

    /// How many threads its processes have.
    pub fn threads(&self) -> u64 {
        self.threads.load(Ordering::Relaxed) as u64
    }

    /// Counts `count` threads more.
    pub fn add_threads(&self, count: usize) {
        self.threads.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts `count` threads less.
    pub fn remove_threads(&self, count: usize) {
        self.threads.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut users = USERS.lock();
        // Somebody may have made the user anew since the last reference went.
        if users.get(&self.id).is_some_and(|user| user.strong_count() == 0) {
            users.remove(&self.id);
        }
    }
}
