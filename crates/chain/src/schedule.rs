use std::collections::{BTreeMap, BTreeSet};

use crate::Plan;

/// Which steps of a plan may begin.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Steps whose parents are built.
    ready: BTreeSet<usize>,
    /// How many parents each step still waits for.
    waits: Vec<usize>,
    children: Vec<Vec<usize>>,
    /// Steps that will never begin.
    blocked: BTreeSet<usize>,
}

impl Schedule {
    pub(crate) fn new(plan: &Plan) -> Self {
        let keys = plan
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| (&*step.key, index));
        let indexes: BTreeMap<&str, usize> = keys.collect();
        let mut children = vec![Vec::new(); plan.steps.len()];
        let mut waits = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let parents = step.needs();
            for parent in parents.iter().filter_map(|key| indexes.get(key)) {
                children[*parent].push(index);
            }
            // A parent that the plan does not have would never be built.
            waits.push(parents.len());
        }
        let ready = (0..waits.len()).filter(|&index| waits[index] == 0);
        Self {
            ready: ready.collect(),
            waits,
            children,
            blocked: BTreeSet::new(),
        }
    }

    /// The first step of those that may begin.
    pub(crate) fn next(&mut self) -> Option<usize> {
        self.ready.pop_first()
    }

    /// A step is built, so that others may begin.
    pub(crate) fn built(&mut self, index: usize) {
        for &child in &self.children[index] {
            self.waits[child] = self.waits[child].saturating_sub(1);
            if self.waits[child] == 0 && !self.blocked.contains(&child) {
                self.ready.insert(child);
            }
        }
    }

    /// A step failed: returns all that need it and were not blocked before, at any distance.
    pub(crate) fn failed(&mut self, index: usize) -> BTreeSet<usize> {
        let mut blocked = BTreeSet::new();
        let mut left = vec![index];
        while let Some(index) = left.pop() {
            for &child in &self.children[index] {
                if self.blocked.insert(child) {
                    blocked.insert(child);
                    left.push(child);
                }
            }
        }
        blocked
    }
}
