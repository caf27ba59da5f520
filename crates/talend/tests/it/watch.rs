//! Real folders, zips as they come, and restarts.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    io::Write,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, SystemTime},
};

use ocicore::Cx;
use talend::{
    Error,
    watch::{Candidate, Event, Fault, Notice, Outcome, Summary, Until, Watch, WatchSpec, records},
};

use crate::fixture;

const SOON: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(100_000);

/// A folder, and what is remembered of it elsewhere.
struct Place {
    folder: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn state(&self) -> PathBuf {
        self.state.path().join("state.json")
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Ends when there is nothing to do.
    fn spec(&self) -> WatchSpec {
        WatchSpec::new(self.folder.path())
            .with_state(self.state())
            .with_notice(Notice::Poll)
            .with_poll(SOON)
            .with_settle(SOON)
            .with_patience(SOON)
            .with_retries(2, SOON)
            .with_until(Until::Idle)
    }

    /// Watches until there is nothing to do. What was processed, in order, and how it ended.
    fn once(&self) -> (Vec<String>, Summary) {
        let done = Mutex::new(Vec::new());
        let watch = Watch::open(self.spec()).unwrap();
        let process = |_: &Cx, zip: &Candidate| {
            done.lock().unwrap().push(zip.name.clone());
            Ok::<_, Fault>(())
        };
        let summary = watch.run(&Cx::default(), process, |_| {}).unwrap();
        let mut done = done.into_inner().unwrap();
        done.sort();
        (done, summary)
    }
}

/// A whole zip that is like no other.
fn zip(name: &str) -> Vec<u8> {
    fixture::jar(&[("what", name.as_bytes())]).to_vec()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn what_is_there_is_processed_once() {
    let place = Place::new();
    place.write("b_0.1.zip", &zip("b"));
    place.write("team/a_0.1.zip", &zip("a"));
    place.write("team/readme.txt", b"x");
    let (done, summary) = place.once();
    assert_eq!(done, ["b_0.1.zip", "team/a_0.1.zip"]);
    assert_eq!((summary.done, summary.failed.len()), (2, 0));

    let (again, _) = place.once();
    assert!(again.is_empty(), "a restart does nothing twice: {again:?}");

    // Touched, moved, copied into another directory: the content is the same.
    let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    let touched = File::options().write(true).open(place.at("b_0.1.zip"));
    touched.unwrap().set_times(old).unwrap();
    fs::create_dir(place.at("archive")).unwrap();
    fs::rename(place.at("team/a_0.1.zip"), place.at("archive/a_0.1.zip")).unwrap();
    place.write("copy/b_0.1.zip", &zip("b"));
    let (again, _) = place.once();
    assert!(again.is_empty(), "{again:?}");

    // New content, and the same content as another job.
    place.write("b_0.1.zip", &zip("b, better"));
    place.write("b_0.2.zip", &zip("b"));
    let (again, _) = place.once();
    assert_eq!(again, ["b_0.1.zip", "b_0.2.zip"]);
    // Back to what it was: that is a change, too.
    fs::remove_dir_all(place.at("copy")).unwrap();
    fs::remove_file(place.state()).unwrap();
    assert_eq!(place.once().0.len(), 3, "without a memory all is new");
}

#[test]
fn a_zip_that_grows_is_taken_when_it_is_whole() {
    let place = Place::new();
    let content = zip(&"a long text that no compression makes short".repeat(1000));
    let mut file = File::create(place.at("slow_0.1.zip")).unwrap();
    let (watching, started) = mpsc::channel();
    let processed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let watch = Watch::open(place.spec().with_patience(NEVER)).unwrap();
        let processed = &processed;
        scope.spawn(move || {
            let process = |_: &Cx, zip: &Candidate| {
                processed.lock().unwrap().push(length(&zip.path));
                Ok::<_, Fault>(())
            };
            let observe = |event| {
                if matches!(event, Event::Watching { .. }) {
                    watching.send(()).unwrap();
                }
            };
            watch.run(&Cx::default(), process, observe).unwrap();
        });
        started.recv().unwrap();
        for piece in content.chunks(content.len() / 10) {
            file.write_all(piece).unwrap();
            file.sync_all().unwrap();
            // However long the writer pauses, a part is no zip.
            thread::yield_now();
        }
    });
    assert_eq!(*processed.lock().unwrap(), [content.len() as u64]);
}

#[test]
fn the_kernel_tells_of_what_comes_anywhere() {
    let place = Place::new();
    // Without the kernel nobody would look again.
    let spec = place.spec().with_notice(Notice::Kernel).with_poll(NEVER);
    let watch = Watch::open(spec.with_until(Until::Stopped)).unwrap();
    let stopper = watch.stopper();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let process = |_: &Cx, _: &Candidate| Ok::<_, Fault>(());
            watch
                .run(&Cx::default(), process, |event| tell.send(event).unwrap())
                .unwrap();
        });
        let Event::Watching { by_kernel, .. } = told.recv().unwrap() else {
            panic!("that comes first");
        };
        assert!(by_kernel);
        let next_done = || loop {
            if let Event::Done { path, .. } = told.recv().unwrap() {
                return path;
            }
        };
        place.write("written_0.1.zip", &zip("written"));
        assert_eq!(next_done(), "written_0.1.zip");
        place.write("new/deep/written_0.1.zip", &zip("deep"));
        assert_eq!(next_done(), "new/deep/written_0.1.zip");
        place.write("renamed_0.1.zip.part", &zip("renamed"));
        fs::rename(
            place.at("renamed_0.1.zip.part"),
            place.at("renamed_0.1.zip"),
        )
        .unwrap();
        assert_eq!(next_done(), "renamed_0.1.zip");
        place.write("other.zip.part", &zip("renamed, and better"));
        fs::rename(place.at("other.zip.part"), place.at("renamed_0.1.zip")).unwrap();
        assert_eq!(
            next_done(),
            "renamed_0.1.zip",
            "one in the place of another"
        );
        stopper.stop();
    });
}

#[test]
fn a_bad_zip_fails_alone_and_until_it_changes() {
    let place = Place::new();
    let whole = zip("cut");
    place.write("bad_0.1.zip", b"this is no zip");
    place.write("cut_0.1.zip", &whole[..whole.len() / 2]);
    place.write("good_0.1.zip", &zip("good"));
    let (done, summary) = place.once();
    assert_eq!(done, ["good_0.1.zip"]);
    let failed: Vec<_> = summary.failed.keys().map(String::as_str).collect();
    assert_eq!(failed, ["bad_0.1.zip", "cut_0.1.zip"]);
    let remembered = records(&place.state()).unwrap();
    let outcomes: BTreeMap<_, _> = remembered
        .iter()
        .map(|(path, record)| (path.as_str(), matches!(record.outcome, Outcome::Done)))
        .collect();
    let expected = [
        ("bad_0.1.zip", false),
        ("cut_0.1.zip", false),
        ("good_0.1.zip", true),
    ];
    assert_eq!(outcomes, BTreeMap::from(expected));

    let (done, again) = place.once();
    assert!(done.is_empty());
    assert_eq!(again.failed, summary.failed, "they are there, and failed");
    fs::remove_file(place.folder.path().join("bad_0.1.zip")).unwrap();
    place.write("cut_0.1.zip", &whole);
    let (done, summary) = place.once();
    assert_eq!(done, ["cut_0.1.zip"]);
    assert!(summary.failed.is_empty(), "{summary:?}");
}

#[test]
fn failures_of_the_work_are_told_apart() {
    let place = Place::new();
    for name in ["bad", "broken", "panic", "slow"] {
        place.write(&format!("{name}_0.1.zip"), &zip(name));
    }
    let tries = Mutex::new(BTreeMap::<String, u32>::new());
    let process = |_: &Cx, zip: &Candidate| {
        let mut tries = tries.lock().unwrap();
        let count = tries.entry(zip.name.clone()).or_default();
        *count += 1;
        let count = *count;
        drop(tries);
        match zip.name.as_str() {
            "bad_0.1.zip" => Err(Fault::permanent("no Talend job")),
            "broken_0.1.zip" => Err(Fault::transient("no registry")),
            "panic_0.1.zip" => panic!("on purpose"),
            _ if count == 1 => Err(Fault::transient("not yet")),
            _ => Ok(()),
        }
    };
    let watch = Watch::open(place.spec()).unwrap();
    let summary = watch.run(&Cx::default(), process, |_| {}).unwrap();
    let expected = [
        ("bad_0.1.zip", "no Talend job"),
        ("broken_0.1.zip", "no registry"),
        ("panic_0.1.zip", "the work on it panicked: on purpose"),
    ];
    let expected = expected.map(|(path, error)| (path.to_owned(), error.to_owned()));
    assert_eq!(summary.failed, BTreeMap::from(expected));
    let tried: Vec<_> = tries.into_inner().unwrap().into_values().collect();
    assert_eq!(tried, [1, 3, 1, 2], "bad, broken, panic, slow");
    // After a restart what may pass is tried, and nothing else.
    assert_eq!(place.once().0, ["broken_0.1.zip"]);
}

#[test]
fn twenty_at_once_are_done_by_a_few_threads() {
    let place = Place::new();
    for at in 0..20 {
        place.write(
            &format!("{}/job{at:02}_0.1.zip", at % 3),
            &zip(&at.to_string()),
        );
    }
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // None ends before four have begun.
    let four = Barrier::new(4);
    let process = |_: &Cx, _: &Candidate| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        four.wait();
        now.fetch_sub(1, Ordering::SeqCst);
        Ok::<_, Fault>(())
    };
    let spec = place.spec().with_parallel(NonZero::new(4).unwrap());
    let summary = Watch::open(spec)
        .unwrap()
        .run(&Cx::default(), process, |_| {});
    assert_eq!(summary.unwrap().done, 20);
    assert_eq!(most.into_inner(), 4);
}

#[test]
fn a_stop_lets_work_end_and_takes_no_more() {
    let place = Place::new();
    place.write("a_0.1.zip", &zip("a"));
    place.write("b_0.1.zip", &zip("b"));
    let spec = place.spec().with_parallel(NonZero::<usize>::MIN);
    let watch = Watch::open(spec).unwrap();
    let stopper = watch.stopper();
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let process = |_: &Cx, _: &Candidate| {
        wait.lock().unwrap().recv().unwrap();
        Ok::<_, Fault>(())
    };
    let mut seen = Vec::new();
    let observe = |event: Event<()>| match event {
        Event::Taken { .. } => stopper.stop(),
        Event::Stopping { in_work } => {
            seen.push(format!("stopping, {in_work} in work"));
            go.send(()).unwrap();
        }
        Event::Done { path, .. } => seen.push(path),
        _ => {}
    };
    let summary = watch.run(&Cx::default(), process, observe).unwrap();
    assert_eq!(
        (summary.done, seen),
        (1, vec!["stopping, 1 in work".into(), "a_0.1.zip".into()])
    );
    assert_eq!(
        place.once().0,
        ["b_0.1.zip"],
        "the next watch does the rest"
    );
}

#[test]
fn a_zip_that_changes_in_work_is_processed_again() {
    let place = Place::new();
    place.write("a_0.1.zip", &zip("old"));
    let sizes = Mutex::new(Vec::new());
    let process = |_: &Cx, zip: &Candidate| {
        let mut sizes = sizes.lock().unwrap();
        sizes.push(length(&zip.path));
        if sizes.len() == 1 {
            fs::write(&zip.path, self::zip("new, and longer")).unwrap();
        }
        Ok::<_, Fault>(())
    };
    let watch = Watch::open(place.spec()).unwrap();
    let summary = watch.run(&Cx::default(), process, |_| {}).unwrap();
    let lengths = [zip("old").len() as u64, zip("new, and longer").len() as u64];
    assert_eq!(
        (summary.done, sizes.into_inner().unwrap()),
        (1, lengths.to_vec())
    );
}

#[test]
fn mistakes_are_errors_and_a_second_watch_is_one() {
    let place = Place::new();
    let nowhere = WatchSpec::new(place.at("nowhere"));
    let error = Watch::open(nowhere).unwrap_err();
    assert!(
        matches!(error, Error::File { action: "read", .. }),
        "{error}"
    );

    let first = Watch::open(place.spec()).unwrap();
    let error = Watch::open(place.spec()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(first);

    fs::write(place.state(), "{\"version\":7}").unwrap();
    let error = Watch::open(place.spec()).unwrap_err();
    let shown = error
        .to_string()
        .replace(&place.state().display().to_string(), "STATE");
    assert_eq!(
        shown,
        "`STATE` is no state of a watch: its version is 7, expected 1"
    );
}
