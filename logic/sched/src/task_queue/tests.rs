//! The kernel's queue with real coroutines: order, change of priority while queued, stealing.

extern crate std;

use super::TaskQueue;
use base::task::{Priority, Runnable, Task, TaskPointer, TaskRef};
use std::vec::Vec;

fn priority(number: u8) -> Priority {
    Priority::new(number).unwrap()
}

/// A coroutine that never ends, in the queue, and never freed: these tests only ever look at its header.
fn queued(queue: &mut TaskQueue, number: u8) -> (TaskPointer, TaskRef) {
    let (runnable, task) = Task::new(core::future::pending(), priority(number), |_: Runnable| ());
    let pointer = runnable.into_pointer();
    assert_eq!(queue.push_back(pointer), priority(number));
    (pointer, task)
}

fn drain(queue: &mut TaskQueue) -> Vec<TaskPointer> {
    core::iter::from_fn(|| queue.pop_best()).collect()
}

#[test]
fn best_first_and_equals_in_order() {
    let mut queue = TaskQueue::new(0);
    let [a, b, c, d] = [9, 3, 9, 3].map(|number| queued(&mut queue, number).0);
    assert_eq!((queue.best_priority(), queue.len()), (Some(priority(3)), 4));
    assert_eq!(drain(&mut queue), [b, d, a, c]);
    assert!(queue.is_empty() && a.queue().is_none());
    queue.push_back(a);
    queue.push_front(c);
    assert_eq!(queue.pop_above(priority(9)), None);
    assert_eq!(queue.pop_above(priority(10)), Some(c));
}

#[test]
fn change_of_priority_moves_a_queued_one() {
    let mut queue = TaskQueue::new(2);
    let (a, _) = queued(&mut queue, 10);
    let (b, task) = queued(&mut queue, 20);
    assert_eq!(task.set_priority(priority(5)), Some(2));
    assert_eq!(queue.best_priority(), Some(priority(10)), "until it is moved");
    assert!(queue.requeue(b));
    assert_eq!(queue.best_priority(), Some(priority(5)));
    assert!(!TaskQueue::new(1).requeue(b), "it is on another queue");
    assert_eq!(task.set_priority(priority(15)), Some(2));
    assert_eq!(task.set_priority(priority(12)), Some(2));
    assert!(queue.requeue(b) && queue.requeue(b));
    assert_eq!(drain(&mut queue), [a, b]);
    assert_eq!(task.set_priority(priority(1)), None, "on no queue");
    assert!(!queue.requeue(b));
    assert_eq!(queue.push_back(b), priority(1));
    assert!(queue.remove(b) && !queue.remove(b));
}

#[test]
fn thief_gets_the_best_that_may_move() {
    let mut queue = TaskQueue::new(0);
    let (a, bound) = queued(&mut queue, 1);
    let (b, _) = queued(&mut queue, 7);
    bound.set_allowed_harts(0b01);
    assert_eq!(queue.steal_best(1), Some(b));
    assert_eq!(queue.steal_best(1), None);
    assert_eq!(queue.pop_best(), Some(a));
}
