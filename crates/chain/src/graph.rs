//! Orders images by what they need.

use std::collections::BTreeSet;

/// The numbers of all nodes, each after its parents, otherwise in ascending order.
///
/// `parents[n]` are the nodes that node `n` needs.
///
/// # Errors
/// Cycles that have no node in common, at least one: each node is a parent of the next, the last
/// one of the first.
pub(crate) fn order(parents: &[BTreeSet<usize>]) -> Result<Vec<usize>, Vec<Vec<usize>>> {
    let mut order = Vec::new();
    let mut cycles = Vec::new();
    let mut children = vec![Vec::new(); parents.len()];
    for (child, parents) in parents.iter().enumerate() {
        for &parent in parents {
            children[parent].push(child);
        }
    }
    let mut missing: Vec<usize> = parents.iter().map(BTreeSet::len).collect();
    let mut left: BTreeSet<usize> = (0..parents.len()).collect();
    let mut ready: BTreeSet<usize> = left
        .iter()
        .copied()
        .filter(|&node| missing[node] == 0)
        .collect();
    loop {
        while let Some(node) = ready.pop_first() {
            left.remove(&node);
            order.push(node);
            for &child in &children[node] {
                missing[child] = missing[child].saturating_sub(1);
                if missing[child] == 0 && left.contains(&child) {
                    ready.insert(child);
                }
            }
        }
        let Some(&start) = left.first() else {
            break;
        };
        // Every node that is left has a parent that is left, so that going up leads into a cycle.
        let cycle = cycle(start, parents, &left);
        // Without it, the search goes on for others.
        for &node in &cycle {
            missing[node] = 0;
            ready.insert(node);
        }
        cycles.push(cycle);
    }
    match cycles.is_empty() {
        true => Ok(order),
        false => Err(cycles),
    }
}

/// The cycle that is found going up from a node, from parent to child, its smallest node first.
fn cycle(start: usize, parents: &[BTreeSet<usize>], left: &BTreeSet<usize>) -> Vec<usize> {
    let mut path = vec![start];
    let mut seen = BTreeSet::from([start]);
    let mut node = start;
    while let Some(&parent) = parents[node].intersection(left).next() {
        if !seen.insert(parent) {
            let begin = path.iter().position(|&node| node == parent).unwrap_or(0);
            path.drain(..begin);
            break;
        }
        path.push(parent);
        node = parent;
    }
    path.reverse();
    let smallest = path.iter().enumerate().min_by_key(|(_, node)| **node);
    let at = smallest.map_or(0, |(at, _)| at);
    path.rotate_left(at);
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(edges: &[(usize, usize)], count: usize, expected: Result<&[usize], &[&[usize]]>) {
        let mut parents = vec![BTreeSet::new(); count];
        for &(child, parent) in edges {
            parents[child].insert(parent);
        }
        let expected = match expected {
            Ok(order) => Ok(order.to_vec()),
            Err(cycles) => Err(cycles.iter().map(|cycle| cycle.to_vec()).collect()),
        };
        assert_eq!(order(&parents), expected, "{edges:?}");
    }

    #[test]
    fn file_order_breaks_ties() {
        check(&[], 3, Ok(&[0, 1, 2]));
        check(&[(0, 2)], 3, Ok(&[1, 2, 0]));
        check(&[(0, 3), (1, 0), (2, 0)], 4, Ok(&[3, 0, 1, 2]));
    }

    #[test]
    fn cycles_are_found() {
        check(&[(0, 0)], 1, Err(&[&[0]]));
        check(&[(0, 1), (1, 2), (2, 1)], 3, Err(&[&[1, 2]]));
        check(
            &[(0, 1), (1, 2), (2, 0), (3, 4), (4, 3), (5, 3)],
            6,
            Err(&[&[0, 2, 1], &[3, 4]]),
        );
    }

    proptest! {
        #[test]
        fn parents_come_first(edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..30)) {
            let mut parents = vec![BTreeSet::new(); 12];
            for (child, parent) in edges {
                parents[child].insert(parent);
            }
            match order(&parents) {
                Ok(order) => {
                    prop_assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 12);
                    let at = |node| order.iter().position(|&other| other == node);
                    for (child, parents) in parents.iter().enumerate() {
                        for &parent in parents {
                            prop_assert!(at(parent) < at(child));
                        }
                    }
                }
                Err(cycles) => {
                    for cycle in cycles {
                        for (at, &node) in cycle.iter().enumerate() {
                            let next = cycle[(at + 1) % cycle.len()];
                            prop_assert!(parents[next].contains(&node));
                        }
                    }
                }
            }
        }
    }
}
