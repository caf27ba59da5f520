//! A job's zip, edited as a caller would.

use repack::{Mtime, Pattern};

use crate::support::{
    entries, gunzip, gzip, index_zip, path, text,
    zip::{Member, build},
};

#[test]
fn an_edited_tree_is_what_is_written() {
    let zip = build(&[
        Member::stored("Job/", b"").with(|member| member.st_mode = 0o40_755),
        Member::deflated("Job/Job_run.sh", b"#!/bin/sh\njava -cp . Job\n"),
        Member::deflated("Job/Job_run.bat", b"java\r\n"),
        Member::deflated("lib/routines.jar", &text(30_000, 1)),
        Member::stored("jobInfo.properties", b"job=Job\n"),
    ]);
    let mut tree = index_zip(zip).unwrap();
    tree.edit(&path("Job/Job_run.sh"), 1 << 20, |script| {
        let script = String::from_utf8(script.to_vec())?;
        Ok::<_, std::string::FromUtf8Error>(script.replace("\njava", "\nexec java").into())
    })
    .unwrap();
    tree.set_mode(&"**/*.sh".parse().unwrap(), 0o755);
    tree.remove_matching(&"**/*.bat".parse().unwrap());
    tree.rename(&path("lib/routines.jar"), &path("lib/routines_Job.jar"))
        .unwrap();
    tree.prefix(&path("talend")).unwrap();
    tree.set_owner(&Pattern::all(), 10, 20);
    tree.set_mtime(&Pattern::all(), Mtime::from_seconds(1_700_000_000));
    let lines: Vec<_> = entries(&gunzip(&gzip(&tree)))
        .into_iter()
        .map(|entry| {
            assert_eq!((entry.owner, entry.mtime), ((10, 20), 1_700_000_000));
            format!("{:04o} {} {}", entry.mode, entry.name, entry.content.len())
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
