#![no_main]

use talend::{
    exec_form,
    report::Outcome,
    rewrite::{self, PathQuoting, Rename, RewriteOptions},
};

// Whatever a launcher is: a report; and what was rewritten once needs no more.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let rename = Rename::new("routines.jar", "routines_a.jar");
    let plain = RewriteOptions::default();
    for options in [
        plain.clone(),
        plain.with_rename(rename).with_paths(PathQuoting::Repair),
    ] {
        let once = rewrite::shell("a/a_run.sh", bytes, &options);
        let twice = rewrite::shell("a/a_run.sh", &once.bytes, &options);
        assert_eq!(twice.bytes, once.bytes);
        assert_eq!(twice.report.edits, []);
        if let Outcome::Rewritten { .. } = once.report.outcome {
            assert!(matches!(twice.report.outcome, Outcome::AlreadyExec { .. }));
        }
        assert_eq!(once.report.diff.is_empty(), only_repairs(&once.report.edits));
        if let Ok(form) = exec_form(&once.bytes, "/talend/a") {
            assert!(!form.argv.is_empty());
        }
        let windows = rewrite::windows("a/a_run.bat", bytes, &options);
        assert!(matches!(windows.report.outcome, Outcome::NotALauncher { .. }));
    }
});

/// Line ends and the byte order mark are in no diff.
fn only_repairs(edits: &[talend::report::Edit]) -> bool {
    use talend::report::EditKind;
    edits
        .iter()
        .all(|edit| matches!(edit.kind, EditKind::ByteOrderMark | EditKind::LineEndings))
}
