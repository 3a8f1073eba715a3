//! A sparse array indexed by page numbers: a tree of 64-way nodes, as deep as its highest index needs.

use alloc::boxed::Box;
use core::ops::Range;

const BITS: u32 = 6;
const WIDTH: usize = 1 << BITS;

/// A map from 64-bit indices to values. A single value at index 0, the most common content of a small file,
/// takes no node at all.
pub struct Radix<T> {
    root: Slot<T>,
    /// The root spans `64^height` indices.
    height: u32,
    count: u64,
}

enum Slot<T> {
    Empty,
    Value(T),
    Node(Box<Node<T>>),
}

struct Node<T> {
    used: u8,
    slots: [Slot<T>; WIDTH],
}

impl<T> Node<T> {
    fn new() -> Box<Self> {
        Box::new(Self { used: 0, slots: [const { Slot::Empty }; WIDTH] })
    }
}

/// Which slot of a node at `height` (1 above values) leads to `index`.
#[inline]
fn slot_of(index: u64, height: u32) -> usize {
    (index >> ((height - 1) * BITS)) as usize & (WIDTH - 1)
}

impl<T> Default for Radix<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Radix<T> {
    /// An empty array.
    pub const fn new() -> Self {
        Self { root: Slot::Empty, height: 0, count: 0 }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    #[inline]
    fn spans(&self, index: u64) -> bool {
        let bits = self.height * BITS;
        bits >= u64::BITS || index >> bits == 0
    }

    /// The value at `index`.
    #[inline]
    pub fn get(&self, index: u64) -> Option<&T> {
        if !self.spans(index) {
            return None;
        }
        let (mut slot, mut height) = (&self.root, self.height);
        loop {
            match slot {
                Slot::Empty => return None,
                Slot::Value(value) => return Some(value),
                Slot::Node(node) => {
                    slot = &node.slots[slot_of(index, height)];
                    height -= 1;
                }
            }
        }
    }

    /// Puts a value at `index`; gives back the one that was there.
    pub fn insert(&mut self, index: u64, value: T) -> Option<T> {
        while !self.spans(index) {
            if !matches!(self.root, Slot::Empty) {
                let mut node = Node::new();
                node.used = 1;
                node.slots[0] = core::mem::replace(&mut self.root, Slot::Empty);
                self.root = Slot::Node(node);
            }
            self.height += 1;
        }
        let mut slot = &mut self.root;
        for height in (1..=self.height).rev() {
            if let Slot::Empty = slot {
                *slot = Slot::Node(Node::new());
            }
            let Slot::Node(node) = slot else { unreachable!("values are at height 0 only") };
            slot = &mut node.slots[slot_of(index, height)];
            if let Slot::Empty = slot {
                node.used += 1;
            }
        }
        match core::mem::replace(slot, Slot::Value(value)) {
            Slot::Value(former) => Some(former),
            _ => {
                self.count += 1;
                None
            }
        }
    }

    /// Takes every value whose index is in `range` and gives it to `visitor`, in order.
    pub fn remove_range(&mut self, range: Range<u64>, visitor: &mut dyn FnMut(u64, T)) {
        if range.is_empty() {
            return;
        }
        let mut removed = 0;
        let mut count = |index, value| {
            removed += 1;
            visitor(index, value);
        };
        clear(&mut self.root, self.height, 0, &range, &mut count);
        self.count -= removed;
        if self.count == 0 {
            self.height = 0;
        }
    }

    /// The least index from `index` on that has a value.
    pub fn next_value(&self, index: u64) -> Option<u64> {
        find_value(&self.root, self.height, 0, index)
    }

    /// The least index from `index` on that has none.
    pub fn next_gap(&self, mut index: u64) -> u64 {
        while self.get(index).is_some() {
            index += 1;
        }
        index
    }
}

/// How many indices a slot at `height` spans, less one (so that the whole range fits).
fn last_of_span(height: u32) -> u64 {
    1u64.checked_shl(height * BITS).map_or(u64::MAX, |span| span - 1)
}

fn clear<T>(slot: &mut Slot<T>, height: u32, base: u64, range: &Range<u64>, visitor: &mut dyn FnMut(u64, T)) {
    if base >= range.end || base.saturating_add(last_of_span(height)) < range.start {
        return;
    }
    match slot {
        Slot::Empty => {}
        Slot::Value(_) => {
            if let Slot::Value(value) = core::mem::replace(slot, Slot::Empty) {
                visitor(base, value);
            }
        }
        Slot::Node(node) => {
            let first = range.start.saturating_sub(base) >> ((height - 1) * BITS);
            for index in first..WIDTH as u64 {
                let child_base = base + (index << ((height - 1) * BITS));
                if child_base >= range.end {
                    break;
                }
                let child = &mut node.slots[index as usize];
                let was_empty = matches!(child, Slot::Empty);
                clear(child, height - 1, child_base, range, visitor);
                if !was_empty && matches!(child, Slot::Empty) {
                    node.used -= 1;
                }
                // The highest node of the tallest tree has slots beyond the last index.
                if child_base.checked_add(last_of_span(height - 1)).is_none_or(|last| last == u64::MAX) {
                    break;
                }
            }
            if node.used == 0 {
                *slot = Slot::Empty;
            }
        }
    }
}

fn find_value<T>(slot: &Slot<T>, height: u32, base: u64, from: u64) -> Option<u64> {
    if base.saturating_add(last_of_span(height)) < from {
        return None;
    }
    match slot {
        Slot::Empty => None,
        Slot::Value(_) => Some(base),
        Slot::Node(node) => {
            let first = from.saturating_sub(base) >> ((height - 1) * BITS);
            (first..WIDTH as u64).find_map(|index| match &node.slots[index as usize] {
                Slot::Empty => None,
                child => find_value(child, height - 1, base + (index << ((height - 1) * BITS)), from),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn behaves_like_an_ordered_map() {
        let mut seed = 0x1234_5678_9abc_def1u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut radix = Radix::new();
        let mut model = BTreeMap::new();
        for step in 0..20_000u64 {
            let magnitude = random() % 30;
            let index = random() & ((1 << magnitude) - 1);
            match random() % 4 {
                0 | 1 => assert_eq!(radix.insert(index, step), model.insert(index, step)),
                2 => {
                    let end = index + random() % 100;
                    let (mut removed, mut expected) = (Vec::new(), Vec::new());
                    radix.remove_range(index..end, &mut |index, value| removed.push((index, value)));
                    model.retain(|&key, &mut value| {
                        let inside = (index..end).contains(&key);
                        if inside {
                            expected.push((key, value));
                        }
                        !inside
                    });
                    assert_eq!(removed, expected);
                }
                _ => {
                    assert_eq!(radix.get(index), model.get(&index));
                    assert_eq!(radix.next_value(index), model.range(index..).next().map(|(key, _)| *key));
                    assert_eq!(radix.count(), model.len() as u64);
                }
            }
        }
        radix.remove_range(0..u64::MAX, &mut |index, _| assert!(model.remove(&index).is_some()));
        assert!(model.is_empty() && radix.count() == 0);
    }

    #[test]
    fn reaches_the_last_index() {
        let mut radix = Radix::new();
        radix.insert(u64::MAX, 1);
        radix.insert(0, 2);
        assert_eq!((radix.get(u64::MAX), radix.next_value(1)), (Some(&1), Some(u64::MAX)));
        radix.remove_range(1..u64::MAX, &mut |_, _| panic!("nothing lies between"));
        assert_eq!(radix.count(), 2);
    }
}
