//! The timer queue against a sorted map, and at size.

use super::TimerQueue;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::task::Waker;
use proptest::prelude::*;

struct Named(u64);

impl Wake for Named {
    fn wake(self: Arc<Self>) {}
}

fn named(name: u64) -> Waker {
    Arc::new(Named(name)).into()
}

fn name(waker: &Waker) -> u64 {
    // SAFETY: every waker of these tests was made by `named`, and the `Arc` lives as long as the waker.
    unsafe { &*waker.data().cast::<Named>() }.0
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u64),
    Remove(usize),
    Expire(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..50_u64).prop_map(Step::Insert),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => (0..50_u64).prop_map(Step::Expire),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn behaves_as_a_sorted_map(steps in steps()) {
        let mut queue = TimerQueue::new();
        let mut model = BTreeMap::new();
        let mut keys = Vec::new();
        for (sequence, step) in steps.into_iter().enumerate() {
            let sequence = sequence as u64;
            match step {
                Step::Insert(deadline) => {
                    keys.push((queue.insert(deadline, named(sequence)).unwrap(), (deadline, sequence)));
                    model.insert((deadline, sequence), ());
                }
                Step::Remove(which) if !keys.is_empty() => {
                    let (key, place) = keys[which % keys.len()];
                    let removed = queue.remove(key).map(|waker| name(&waker));
                    prop_assert_eq!(removed, model.remove(&place).map(|()| place.1));
                }
                Step::Remove(_) => {}
                Step::Expire(now) => loop {
                    let expected = model.first_key_value().map(|(key, ())| *key).filter(|key| key.0 <= now);
                    prop_assert_eq!(queue.pop_expired(now).map(|waker| name(&waker)), expected.map(|key| key.1));
                    let Some(key) = expected else { break };
                    model.remove(&key);
                },
            }
            prop_assert_eq!(queue.len(), model.len());
            prop_assert_eq!(queue.next_deadline(), model.first_key_value().map(|(key, ())| key.0));
        }
    }
}

#[test]
fn a_hundred_thousand_timers() {
    let mut queue = TimerQueue::new();
    let deadline = |index: u64| 1 + (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20);
    let keys: Vec<_> =
        (0..100_000).map(|index| queue.insert(deadline(index), named(index)).unwrap()).collect();
    for key in keys.iter().step_by(2) {
        assert!(queue.remove(*key).is_some());
        assert!(queue.remove(*key).is_none(), "an old key names nothing");
    }
    let slots = queue.slots.len();
    for index in 0..50_000 {
        queue.insert(deadline(index), named(index)).unwrap();
    }
    assert_eq!(queue.slots.len(), slots, "slots are used again");
    assert!(!queue.update_waker(keys[0], &named(1)) && queue.update_waker(keys[1], &named(1)));
    let mut last = 0;
    while let Some(next) = queue.next_deadline() {
        assert!(next >= last && queue.pop_expired(next - 1).is_none());
        queue.pop_expired(next).unwrap();
        last = next;
    }
    assert!(queue.is_empty());
}
