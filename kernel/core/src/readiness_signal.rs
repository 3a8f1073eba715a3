//! Signals for readiness (`O_ASYNC`): the fourth way to wait, in which a file calls its owner.
//!
//! A place in the file's queues tells of changes, from wherever they are made; a coroutine sends the signals, as whoever
//! made the change may have locks that sending takes. It runs as long as somebody wants to be told, and knows the file
//! only for moments: to be told does not keep a file open.

use crate::calls::watching::{FileQueue, Places};
use crate::executor;
use crate::process::{self, TABLE};
use crate::signals;
use ::process::credentials::Credentials;
use ::process::signal::information::{POLL_HUP, POLL_IN, POLL_OUT};
use ::process::signal::{SigInfo, Signal};
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use base::sync::atomic::{AtomicU32, Ordering};
use base::sync::{SpinLock, WaitQueue};
use base::task::Priority;
use base::{Error, Result};
use core::task::Waker;
use vfs::open_file::Dependant;
use vfs::{FileKind, OpenFile, Readiness};

/// Who is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    #[default]
    Nobody,
    /// One thread.
    Thread(u32),
    /// A process.
    Process(u32),
    /// A process group.
    Group(u32),
}

/// What an open description knows of whom it tells, from the first `F_SETOWN` or its kind on.
pub struct ReadinessSignal {
    setting: SpinLock<Setting>,
    /// Counts changes of the file, and of the setting.
    changes: AtomicU32,
    changed: WaitQueue,
    places: SpinLock<Option<Places>>,
}

#[derive(Clone)]
struct Setting {
    owner: Owner,
    /// Who said so: the owner must be one that he may signal.
    asked_by: Option<Credentials>,
    /// `None`: `SIGIO` without details.
    signal: Option<Signal>,
    /// The descriptor to be told of, while somebody is to be told.
    descriptor: Option<u32>,
    /// There is a coroutine that sends.
    attended: bool,
}

impl ReadinessSignal {
    /// Of an open description; made at the first use.
    pub fn of(file: &OpenFile) -> Arc<Self> {
        let fresh = || {
            let setting = Setting {
                owner: Owner::Nobody,
                asked_by: None,
                signal: None,
                descriptor: None,
                attended: false,
            };
            Arc::new(Self {
                setting: SpinLock::new(setting),
                changes: AtomicU32::new(0),
                changed: WaitQueue::new(),
                places: SpinLock::new(None),
            })
        };
        if let Some(known) = Self::known(file) {
            return known;
        }
        let made = file.attach(fresh());
        // Only this is ever attached.
        made.downcast().unwrap_or_else(|_| fresh())
    }

    fn known(file: &OpenFile) -> Option<Arc<Self>> {
        file.attached()?.downcast().ok()
    }

    /// Who is told of what happens to a file.
    pub fn owner(file: &OpenFile) -> Owner {
        Self::known(file).map_or(Owner::Nobody, |known| known.setting.lock().owner)
    }

    /// The signal that was asked for.
    pub fn signal(file: &OpenFile) -> Option<Signal> {
        Self::known(file).and_then(|known| known.setting.lock().signal)
    }

    /// Says who is to be told, on whose behalf.
    pub fn set_owner(&self, owner: Owner, asked_by: Credentials) {
        let mut setting = self.setting.lock();
        let former = setting.asked_by.replace(asked_by);
        setting.owner = owner;
        drop(setting);
        drop(former);
    }

    /// Says by which signal.
    pub fn set_signal(&self, signal: Option<Signal>) {
        self.setting.lock().signal = signal;
    }

    /// Begins to tell of a file by its descriptor, if it is of a kind that does; says whether it is.
    ///
    /// # Errors
    /// `OutOfMemory`
    pub fn begin(self: &Arc<Self>, file: &Arc<OpenFile>, descriptor: u32) -> Result<bool> {
        let kind = file.location().kind();
        let everything = Readiness::READABLE | Readiness::WRITABLE;
        if !matches!(kind, FileKind::Fifo | FileKind::Socket | FileKind::CharacterDevice)
            || file.wait_queues(everything).first.is_none()
        {
            return Ok(false);
        }
        let begins = {
            let mut setting = self.setting.lock();
            setting.descriptor = Some(descriptor);
            !core::mem::replace(&mut setting.attended, true)
        };
        let mut places = Places::new(FileQueue::of(file.file(), everything));
        places.register(&Waker::from(self.clone()));
        let former = self.places.lock().replace(places);
        drop(former);
        let this = Arc::downgrade(self);
        let dependant: Weak<dyn Dependant> = this;
        file.tell_when_closed(dependant);
        if begins
            && let Err(error) = executor::spawn(Priority::HIGHEST, run(self.clone(), Arc::downgrade(file)))
        {
            self.setting.lock().attended = false;
            self.end();
            return Err(error);
        }
        Ok(true)
    }

    /// Tells nobody any more.
    pub fn end(&self) {
        self.setting.lock().descriptor = None;
        let places = self.places.lock().take();
        drop(places);
        self.note_change();
    }

    fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        self.changed.wake_all();
    }

    /// Sends what there is to tell of a file that is ready for this.
    fn tell(&self, ready: Readiness) {
        let setting = self.setting.lock().clone();
        let (Some(descriptor), Some(asked_by)) = (setting.descriptor, &setting.asked_by) else { return };
        // As on Linux: what kind of event it is, and which of `poll`'s bits go with it.
        let (code, band) = if ready.intersects(Readiness::READABLE) {
            (POLL_IN, Readiness::READABLE)
        } else if ready.intersects(Readiness::WRITABLE) {
            (POLL_OUT, Readiness::WRITABLE | Readiness::WRITE_BAND)
        } else {
            (POLL_HUP, Readiness::ALWAYS)
        };
        let detailed = |signal| SigInfo::readiness(signal, code, band.bits().into(), descriptor);
        let table = TABLE.lock();
        let send = |process: &Arc<process::Process>, thread: Option<&Arc<crate::thread::Thread>>| {
            if !asked_by.may_signal(&process.identity().credentials) {
                return;
            }
            let send = |information| match thread {
                Some(thread) => signals::send_to_thread(thread, information),
                None => signals::queue_to_process(process, information),
            };
            let told = setting.signal.map_or(Err(Error::WouldBlock), |signal| send(detailed(signal)));
            // That there was no room for details is told by the plain signal, which needs none.
            if told.is_err() {
                let _ = send(SigInfo::kernel(Signal::IO));
            }
        };
        match setting.owner {
            Owner::Nobody => {}
            Owner::Thread(id) => {
                if let Some(thread) = table.threads.get(&id) {
                    send(&thread.process, Some(thread));
                }
            }
            Owner::Process(id) => {
                if let Some(process) = table.processes.get(&id) {
                    send(process, None);
                }
            }
            Owner::Group(id) => {
                let members = table.identifiers.members(id).iter().filter_map(|id| table.processes.get(id));
                members.for_each(|process| send(process, None));
            }
        }
    }
}

impl Wake for ReadinessSignal {
    fn wake(self: Arc<Self>) {
        self.note_change();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note_change();
    }
}

impl Dependant for ReadinessSignal {
    fn closed(&self, _: usize) {
        self.end();
    }
}

/// Tells of each change of a file while somebody wants to be told.
async fn run(signal: Arc<ReadinessSignal>, file: Weak<OpenFile>) {
    let mut seen = 0;
    loop {
        signal
            .changed
            .wait_until(|| {
                let now = signal.changes.load(Ordering::Acquire);
                (core::mem::replace(&mut seen, now) != now).then_some(())
            })
            .await;
        {
            let mut setting = signal.setting.lock();
            if setting.descriptor.is_none() {
                setting.attended = false;
                return;
            }
        }
        // First the place, then the look: what changes in between is told as another change.
        if let Some(places) = signal.places.lock().as_mut() {
            places.register(&Waker::from(signal.clone()));
        }
        let Some(file) = file.upgrade() else { continue };
        let ready = file.readiness();
        drop(file);
        if !ready.is_empty() {
            signal.tell(ready);
        }
    }
}
