//! The ready queue against plain vectors, with indices for names, as user mode uses offsets.

extern crate std;

use super::{Links, ReadyQueue};
use base::task::Priority;
use core::cell::RefCell;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec::Vec;

const TASKS: u32 = 24;

/// Links in a table, by index.
struct Table {
    next: RefCell<Vec<Option<u32>>>,
    previous: RefCell<Vec<Option<u32>>>,
}

impl Table {
    fn new() -> Self {
        let empty = || RefCell::new(std::vec![None; TASKS as usize]);
        Self { next: empty(), previous: empty() }
    }
}

impl Links for Table {
    type Id = u32;

    fn next(&self, id: u32) -> Option<u32> {
        self.next.borrow()[id as usize]
    }

    fn set_next(&self, id: u32, next: Option<u32>) {
        self.next.borrow_mut()[id as usize] = next;
    }

    fn previous(&self, id: u32) -> Option<u32> {
        self.previous.borrow()[id as usize]
    }

    fn set_previous(&self, id: u32, previous: Option<u32>) {
        self.previous.borrow_mut()[id as usize] = previous;
    }
}

#[derive(Debug, Clone)]
enum Step {
    PushBack(u32, u8),
    PushFront(u32, u8),
    PopBest,
    PopAbove(u8),
    Remove(u32),
    Change(u32, u8),
    Steal(usize, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (task, level) = (0..TASKS, prop_oneof![0..64_u8, 30..33_u8]);
    let step = prop_oneof![
        4 => (task.clone(), level.clone()).prop_map(|(id, level)| Step::PushBack(id, level)),
        2 => (task.clone(), level.clone()).prop_map(|(id, level)| Step::PushFront(id, level)),
        2 => Just(Step::PopBest),
        1 => level.clone().prop_map(Step::PopAbove),
        1 => task.clone().prop_map(Step::Remove),
        1 => (task, level).prop_map(|(id, level)| Step::Change(id, level)),
        1 => (0..5_usize, 2..4_u32).prop_map(|(limit, divisor)| Step::Steal(limit, divisor)),
    ];
    prop::collection::vec(step, 0..200)
}

/// What the queue should be: a list for each priority.
#[derive(Default)]
struct Model {
    lists: std::collections::BTreeMap<u8, VecDeque<u32>>,
}

impl Model {
    fn level_of(&self, id: u32) -> Option<u8> {
        self.lists.iter().find(|(_, list)| list.contains(&id)).map(|(level, _)| *level)
    }

    fn remove(&mut self, id: u32) -> Option<u8> {
        let level = self.level_of(id)?;
        let list = self.lists.get_mut(&level)?;
        list.retain(|other| *other != id);
        if list.is_empty() {
            self.lists.remove(&level);
        }
        Some(level)
    }

    fn in_order(&self) -> Vec<(u32, u8)> {
        self.lists.iter().flat_map(|(level, list)| list.iter().map(|id| (*id, *level))).collect()
    }
}

fn priority(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

fn apply(
    step: Step,
    queue: &mut ReadyQueue<u32>,
    links: &Table,
    model: &mut Model,
) -> Result<(), TestCaseError> {
    let plain = |taken: Option<(u32, Priority)>| taken.map(|(id, priority)| (id, priority.number()));
    match step {
        Step::PushBack(id, level) if model.level_of(id).is_none() => {
            queue.push_back(links, id, priority(level));
            model.lists.entry(level).or_default().push_back(id);
        }
        Step::PushFront(id, level) if model.level_of(id).is_none() => {
            queue.push_front(links, id, priority(level));
            model.lists.entry(level).or_default().push_front(id);
        }
        Step::PushBack(..) | Step::PushFront(..) => {}
        Step::PopBest | Step::PopAbove(_) => {
            let limit = if let Step::PopAbove(limit) = step { Some(limit) } else { None };
            let expected = model
                .in_order()
                .first()
                .copied()
                .filter(|(_, level)| limit.is_none_or(|limit| *level < limit));
            let popped = match limit {
                Some(limit) => queue.pop_above(links, priority(limit)),
                None => queue.pop_best(links),
            };
            prop_assert_eq!(plain(popped), expected);
            expected.and_then(|(id, _)| model.remove(id));
        }
        Step::Remove(id) => {
            if let Some(level) = model.remove(id) {
                queue.remove(links, id, priority(level));
            }
        }
        Step::Change(id, level) => {
            if let Some(from) = model.remove(id) {
                queue.change_priority(links, id, priority(from), priority(level));
                model.lists.entry(level).or_default().push_back(id);
            }
        }
        Step::Steal(limit, divisor) => {
            let order = model.in_order();
            let expected = order.iter().take(limit).find(|(id, _)| id % divisor == 0).copied();
            prop_assert_eq!(plain(queue.steal_best(links, limit, |id| id % divisor == 0)), expected);
            expected.and_then(|(id, _)| model.remove(id));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn behaves_as_a_list_for_each_priority(steps in steps()) {
        let (mut queue, links, mut model) = (ReadyQueue::new(), Table::new(), Model::default());
        for step in steps {
            apply(step, &mut queue, &links, &mut model)?;
            let order = model.in_order();
            prop_assert_eq!(queue.len(), order.len());
            prop_assert_eq!(queue.best_priority().map(Priority::number), order.first().map(|(_, level)| *level));
            let levels: Vec<u8> = queue.occupied().map(Priority::number).collect();
            prop_assert_eq!(levels, model.lists.keys().copied().collect::<Vec<_>>());
        }
        let mut rest = Vec::new();
        while let Some((id, priority)) = queue.pop_best(&links) {
            rest.push((id, priority.number()));
        }
        prop_assert_eq!(rest, model.in_order());
        prop_assert!(queue.is_empty());
    }

    /// Links that a process wrote at random: every operation still ends.
    #[test]
    fn nonsense_links_end(random in prop::collection::vec(prop::option::of(0..TASKS), 2 * TASKS as usize)) {
        let (mut queue, links) = (ReadyQueue::new(), Table::new());
        (0..TASKS).for_each(|id| queue.push_back(&links, id, priority((id % 3) as u8)));
        *links.next.borrow_mut() = random[..TASKS as usize].to_vec();
        *links.previous.borrow_mut() = random[TASKS as usize..].to_vec();
        prop_assert_eq!(queue.steal_best(&links, 100, |_| false), None);
        for _ in 0..100 {
            let _ = queue.pop_best(&links);
            let _ = queue.pop_above(&links, Priority::NORMAL);
        }
    }
}
