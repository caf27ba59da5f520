use super::*;

/// One step at a second of the watch.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The folder holds these files, of these sizes.
    Look(&'static [(&'static str, u64)]),
    /// These are settled, and are whole zips.
    Whole(&'static [&'static str]),
    /// These are settled, and are no whole zips.
    Broken(&'static [&'static str]),
    /// These are taken.
    Take(&'static [&'static str]),
    Done(&'static str),
    Changed(&'static str),
    Fails(&'static str),
    FailsForNow(&'static str),
    /// Where all files stand, and when there is something to do next.
    Are(&'static str),
}
use Step::{Are, Broken, Changed, Done, Fails, FailsForNow, Look, Take, Whole};

fn run(steps: &[(u64, Step)]) {
    let mut tracker = Tracker::new(Rules {
        settle: Duration::from_secs(2),
        patience: Duration::from_secs(30),
        retries: 2,
        pause: Duration::from_secs(10),
        parallel: 2,
    });
    for (second, step) in steps {
        let now = Duration::from_secs(*second);
        let at = format!("{second} s, {step:?}");
        match step {
            Look(files) => {
                let seen = files
                    .iter()
                    .map(|(path, size)| ((*path).to_owned(), Stamp::sized(*size)));
                let known = |path: &str, _: &Stamp| (path == "known.zip").then_some(Phase::Done);
                tracker.look(now, &seen.collect(), known);
            }
            Whole(paths) | Broken(paths) => {
                assert_eq!(tracker.settled(now), *paths, "{at}");
                for path in *paths {
                    let result = match step {
                        Whole(_) => Ok(()),
                        _ => Err("cut".to_owned()),
                    };
                    tracker.probed(now, path, result);
                }
            }
            Take(paths) => {
                let taken: Vec<_> = tracker
                    .take(now)
                    .into_iter()
                    .map(|(path, _)| path)
                    .collect();
                assert_eq!(taken, *paths, "{at}");
            }
            Done(path) => {
                tracker.finished(now, path, Verdict::Done);
            }
            Changed(path) => {
                tracker.finished(now, path, Verdict::Changed);
            }
            Fails(path) | FailsForNow(path) => {
                let verdict = Verdict::Failed {
                    error: "bad".to_owned(),
                    transient: matches!(step, FailsForNow(_)),
                };
                tracker.finished(now, path, verdict);
            }
            Are(expected) => assert_eq!(shown(&tracker, now), *expected, "{at}"),
        }
    }
}

fn shown(tracker: &Tracker, now: Moment) -> String {
    let mut words: Vec<String> = Vec::new();
    for (path, tracked) in &tracker.files {
        let name = path.trim_end_matches(".zip");
        words.push(match &tracked.phase {
            Phase::Seen { since, fault: None } => format!("{name} seen {}", since.as_secs()),
            Phase::Seen { since, .. } => format!("{name} cut {}", since.as_secs()),
            Phase::Stable { .. } => format!("{name} stable"),
            Phase::Taken { .. } => format!("{name} taken"),
            Phase::Done => format!("{name} done"),
            Phase::Failed {
                attempts, again, ..
            } => match again {
                Some(at) => format!("{name} failed {attempts}, again at {}", at.as_secs()),
                None => format!("{name} failed {attempts}"),
            },
        });
    }
    if let Some(due) = tracker.due(now) {
        words.push(format!("due {}", due.as_secs()));
    }
    if tracker.is_idle() {
        words.push("idle".to_owned());
    }
    words.join("; ")
}

#[test]
fn a_file_is_taken_once_nobody_writes_to_it() {
    run(&[
        (0, Are("idle")),
        (0, Look(&[("a.zip", 1)])),
        (0, Are("a seen 0; due 2")),
        (1, Look(&[("a.zip", 2)])),
        (2, Whole(&[])),
        (2, Look(&[("a.zip", 2)])),
        (2, Are("a seen 1; due 3")),
        (3, Whole(&["a.zip"])),
        (3, Are("a stable")),
        (3, Take(&["a.zip"])),
        (3, Are("a taken")),
        (9, Done("a.zip")),
        (9, Look(&[("a.zip", 2)])),
        (9, Are("a done; idle")),
        (20, Look(&[("a.zip", 3)])),
        (20, Are("a seen 20; due 22")),
    ]);
}

#[test]
fn what_was_done_before_a_restart_is_done() {
    run(&[
        (0, Look(&[("a.zip", 1), ("known.zip", 1)])),
        (0, Are("a seen 0; known done; due 2")),
        (5, Look(&[("a.zip", 1), ("known.zip", 2)])),
        (5, Are("a seen 0; known seen 5; due 2")),
    ]);
}

#[test]
fn a_part_of_a_zip_is_waited_for_and_then_an_error() {
    run(&[
        (0, Look(&[("a.zip", 1), ("b.zip", 1)])),
        (2, Broken(&["a.zip", "b.zip"])),
        (2, Are("a cut 0; b cut 0; due 4")),
        (4, Broken(&["a.zip", "b.zip"])),
        (10, Look(&[("a.zip", 9), ("b.zip", 1)])),
        (10, Are("a seen 10; b cut 0; due 12")),
        (12, Take(&[])),
        (29, Are("a seen 10; b cut 0; due 12")),
        (30, Broken(&["a.zip", "b.zip"])),
        (30, Are("a cut 10; b failed 1; due 32")),
        (32, Whole(&["a.zip"])),
        (32, Take(&["a.zip"])),
        (40, Done("a.zip")),
        (40, Are("a done; b failed 1; idle")),
        (50, Look(&[("a.zip", 9), ("b.zip", 2)])),
        (50, Are("a done; b seen 50; due 52")),
    ]);
}

#[test]
fn a_file_that_changes_in_work_is_looked_at_again() {
    run(&[
        (0, Look(&[("a.zip", 1), ("b.zip", 1)])),
        (2, Whole(&["a.zip", "b.zip"])),
        (2, Take(&["a.zip", "b.zip"])),
        (3, Look(&[("a.zip", 2), ("b.zip", 1)])),
        (3, Are("a taken; b taken")),
        (5, Done("a.zip")),
        (5, Changed("b.zip")),
        (5, Are("a seen 5; b seen 5; due 7")),
        (7, Whole(&["a.zip", "b.zip"])),
        (7, Take(&["a.zip", "b.zip"])),
        // Even if it looks the same again.
        (8, Look(&[])),
        (9, Look(&[("a.zip", 2)])),
        (9, Fails("a.zip")),
        (9, Done("b.zip")),
        (9, Are("a seen 9; due 11")),
    ]);
}

#[test]
fn no_more_are_taken_than_may_be_in_work() {
    run(&[
        (0, Look(&[("a.zip", 1), ("b.zip", 1), ("c.zip", 1)])),
        (2, Whole(&["a.zip", "b.zip", "c.zip"])),
        (2, Take(&["a.zip", "b.zip"])),
        (2, Take(&[])),
        (3, Fails("a.zip")),
        (3, Take(&["c.zip"])),
        (3, Are("a failed 1; b taken; c taken")),
        // One that is gone is forgotten, but not before its work has ended.
        (4, Look(&[("a.zip", 1), ("c.zip", 1)])),
        (4, Are("a failed 1; b taken; c taken")),
        (4, Take(&[])),
        (5, Done("b.zip")),
        (5, Are("a failed 1; c taken")),
    ]);
}

#[test]
fn what_may_pass_is_tried_again_and_not_for_ever() {
    run(&[
        (0, Look(&[("a.zip", 1)])),
        (2, Whole(&["a.zip"])),
        (2, Take(&["a.zip"])),
        (2, FailsForNow("a.zip")),
        (2, Are("a failed 1, again at 12; due 12")),
        (11, Take(&[])),
        (12, Take(&["a.zip"])),
        (12, FailsForNow("a.zip")),
        (12, Are("a failed 2, again at 32; due 32")),
        (32, Take(&["a.zip"])),
        (32, FailsForNow("a.zip")),
        (32, Are("a failed 3; idle")),
        (40, Look(&[("a.zip", 2)])),
        (42, Whole(&["a.zip"])),
        (42, Take(&["a.zip"])),
        (42, Done("a.zip")),
        (42, Are("a done; idle")),
    ]);
}
