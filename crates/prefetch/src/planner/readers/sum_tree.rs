//! An ordered map with a summary of each stretch of its entries.
//!
//! A binary radix tree with skipped levels (Morrison, *PATRICIA*, 1968; Okasaki and Gill, *Fast Mergeable Integer
//! Maps*, 1998) with a summary in every node. Its shape depends only on its keys, so there is nothing to balance, and
//! virtual-time runs are reproducible.

use std::fmt::Debug;

use crate::planner::visits;

/// The summary of neighbouring entries.
pub(crate) trait Summary: Copy + Debug {
    type Value: Copy + Debug;
    /// A parameter of all summaries of a tree.
    type Context: Copy + Debug + PartialEq;

    fn of(key: TreeKey, value: Self::Value) -> Self;

    /// The summary of these entries and the `higher` ones that follow them.
    fn join(self, higher: Self, context: Self::Context) -> Self;
}

/// The key of an entry: an offset, and an id that tells entries at the same offset apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TreeKey(u128);

impl TreeKey {
    /// The key of entry `id` at `offset`. Keys are ordered by offset.
    pub(crate) fn new(offset: u64, name: u64) -> Self {
        Self(u128::from(offset) << u64::BITS | u128::from(name))
    }

    pub(crate) fn offset(self) -> u64 {
        (self.0 >> u64::BITS) as u64
    }
}

#[derive(Debug)]
pub(crate) struct SumTree<S: Summary> {
    root: Option<TreeNode<S>>,
    context: S::Context,
}

#[derive(Debug)]
enum TreeNode<S: Summary> {
    Entry(TreeKey, S::Value),
    Fork(TreeFork<S>),
}

#[derive(Debug)]
struct TreeFork<S: Summary> {
    /// The common high bits of all keys below, followed by zeros: the lowest possible key.
    lowest: u128,
    /// The highest bit in which keys below differ. It is set in keys on the `high` side.
    bit: u128,
    sum: S,
    low: Box<TreeNode<S>>,
    high: Box<TreeNode<S>>,
}

impl<S: Summary> SumTree<S> {
    pub(crate) fn new(context: S::Context) -> Self {
        Self { root: None, context }
    }

    /// Sets the value of the entry `key`, new or not.
    pub(crate) fn insert(&mut self, key: TreeKey, value: S::Value) {
        match &mut self.root {
            Some(root) => root.insert(key, value, self.context),
            None => self.root = Some(TreeNode::Entry(key, value)),
        }
    }

    pub(crate) fn remove(&mut self, key: TreeKey) {
        match &mut self.root {
            Some(TreeNode::Entry(own, _)) if *own == key => self.root = None,
            Some(root) => root.remove(key, self.context),
            None => {}
        }
    }

    /// The summary of all entries; `None` where there are none.
    pub(crate) fn sum(&self) -> Option<S> {
        self.root.as_ref().map(TreeNode::sum)
    }

    /// The summary of the entries at offsets up to `offset`; `None` where there are none.
    pub(crate) fn sum_up_to(&self, offset: u64) -> Option<S> {
        let last = TreeKey::new(offset, u64::MAX).0;
        let mut sum = None::<S>;
        let mut rest = self.root.as_ref();
        while let Some(node) = rest.take() {
            let part = match node {
                TreeNode::Entry(key, _) => (key.0 <= last).then(|| node.sum()),
                TreeNode::Fork(fork) if fork.lowest > last => None,
                TreeNode::Fork(fork) if fork.highest() <= last => Some(fork.sum),
                TreeNode::Fork(fork) if fork.lowest | fork.bit > last => {
                    rest = Some(&fork.low);
                    continue;
                }
                TreeNode::Fork(fork) => {
                    rest = Some(&fork.high);
                    Some(fork.low.sum())
                }
            };
            sum = match (sum, part) {
                (Some(sum), Some(part)) => Some(sum.join(part, self.context)),
                (sum, part) => sum.or(part),
            };
        }
        sum
    }

    /// Changes the parameter of the summaries. Visits every entry where it differs.
    pub(crate) fn set_context(&mut self, context: S::Context) {
        if std::mem::replace(&mut self.context, context) != context
            && let Some(root) = &mut self.root
        {
            root.sum_anew(context);
        }
    }
}

impl<S: Summary> TreeNode<S> {
    fn sum(&self) -> S {
        match self {
            Self::Entry(key, value) => S::of(*key, *value),
            Self::Fork(fork) => fork.sum,
        }
    }

    fn insert(&mut self, key: TreeKey, value: S::Value, context: S::Context) {
        let lowest = match self {
            Self::Entry(own, held) if *own == key => {
                *held = value;
                return;
            }
            Self::Fork(fork) if fork.holds(key) => {
                fork.side(key).insert(key, value, context);
                fork.sum = fork.low.sum().join(fork.high.sum(), context);
                return;
            }
            Self::Entry(own, _) => own.0,
            Self::Fork(fork) => fork.lowest,
        };
        let bit = 1 << (lowest ^ key.0).ilog2();
        let (old, new) = (std::mem::replace(self, Self::Entry(key, value)), Self::Entry(key, value));
        let (low, high) = if key.0 & bit == 0 { (new, old) } else { (old, new) };
        let sum = low.sum().join(high.sum(), context);
        let lowest = lowest & !(bit | (bit - 1));
        *self = Self::Fork(TreeFork { lowest, bit, sum, low: Box::new(low), high: Box::new(high) });
    }

    fn remove(&mut self, key: TreeKey, context: S::Context) {
        let Self::Fork(fork) = self else { return };
        if !fork.holds(key) {
            return;
        }
        match **fork.side(key) {
            Self::Fork(_) => {
                fork.side(key).remove(key, context);
                fork.sum = fork.low.sum().join(fork.high.sum(), context);
            }
            Self::Entry(own, value) if own == key => {
                // The sibling takes the place of the fork.
                if let Self::Fork(fork) = std::mem::replace(self, Self::Entry(own, value)) {
                    *self = *if key.0 & fork.bit == 0 { fork.high } else { fork.low };
                }
            }
            Self::Entry(..) => {}
        }
    }

    fn sum_anew(&mut self, context: S::Context) {
        visits::count();
        if let Self::Fork(fork) = self {
            fork.low.sum_anew(context);
            fork.high.sum_anew(context);
            fork.sum = fork.low.sum().join(fork.high.sum(), context);
        }
    }
}

impl<S: Summary> TreeFork<S> {
    /// The highest possible key below.
    fn highest(&self) -> u128 {
        self.lowest | self.bit | (self.bit - 1)
    }

    fn holds(&self, key: TreeKey) -> bool {
        (self.lowest..=self.highest()).contains(&key.0)
    }

    fn side(&mut self, key: TreeKey) -> &mut Box<TreeNode<S>> {
        if key.0 & self.bit == 0 { &mut self.low } else { &mut self.high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The digits of up to eight entries, so that a wrong order shows, and the number of entries.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Digits(u128, u32);

    impl Summary for Digits {
        type Value = u8;
        type Context = u128;

        fn of(key: TreeKey, value: u8) -> Self {
            Self(u128::from(key.offset()) * 1000 + u128::from(value), 1)
        }

        fn join(self, higher: Self, factor: u128) -> Self {
            let shift = (0..higher.1).fold(1_u128, |product, _| product.wrapping_mul(factor));
            Self(self.0.wrapping_mul(shift).wrapping_add(higher.0), self.1 + higher.1)
        }
    }

    fn naive(entries: &BTreeMap<(u64, u64), u8>, up_to: u64, factor: u128) -> Option<Digits> {
        let entries = entries.iter().filter(|((offset, _), _)| *offset <= up_to);
        entries
            .map(|((offset, name), value)| Digits::of(TreeKey::new(*offset, *name), *value))
            .reduce(|a, b| a.join(b, factor))
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_entries(
            steps in prop::collection::vec(
                (
                    prop_oneof![0_u64..20, u64::MAX - 3..=u64::MAX],
                    prop_oneof![0_u64..3, Just(u64::MAX)],
                    any::<u8>(),
                    0_u8..3,
                ),
                1..80,
            ),
            factors in (3_u128..1_000_003, 3_u128..1_000_003),
            up_to in 0_u64..22,
        ) {
            let mut tree = SumTree::<Digits>::new(factors.0);
            let mut entries = BTreeMap::new();
            for (offset, name, value, what) in steps {
                if what == 0 {
                    tree.remove(TreeKey::new(offset, name));
                    entries.remove(&(offset, name));
                } else {
                    tree.insert(TreeKey::new(offset, name), value);
                    entries.insert((offset, name), value);
                }
                prop_assert_eq!(tree.sum(), naive(&entries, u64::MAX, factors.0));
                for up_to in [0, up_to, u64::MAX] {
                    prop_assert_eq!(tree.sum_up_to(up_to), naive(&entries, up_to, factors.0));
                }
            }
            tree.set_context(factors.1);
            prop_assert_eq!(tree.sum(), naive(&entries, u64::MAX, factors.1));
        }
    }
}
