#![no_main]

use repack::{Cx, Entry, Tree};
use talend::{ConvertOptions, Layout, convert, inspect};

// Whatever jobInfo, a context and the files that vouch for a build say: a job in one directory, or an error.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let mut tree = Tree::new();
    for path in ["jobInfo.properties", "META-INF/MANIFEST.MF", "crcMap"] {
        if let Some(part) = parts.next() {
            let entry = Entry::file(part.to_vec());
            tree.insert(path.parse().expect("a path"), entry).expect("it is new");
        }
    }
    let launcher = "#!/bin/sh\ncd `dirname $0`\njava -cp .:../lib/routines.jar a.A \"$@\"\n";
    for (path, text) in [
        ("a/a_run.sh", launcher),
        ("META-INF/A.SF", ""),
        ("lib/routines.jar", "x"),
        ("a/p/a_0_1/contexts/Default.properties", "k=v\n"),
    ] {
        let entry = Entry::file(text);
        tree.insert(path.parse().expect("a path"), entry).expect("it is new");
    }
    let cx = Cx::default();
    let options = ConvertOptions::default()
        .with_layout(Layout::Job2docker)
        .with_context_from_env("CONTEXT_");
    // One may find what the other refuses.
    let _ = inspect(&cx, &tree, "a_0.1.zip", &options);
    let Ok(converted) = convert(&cx, tree, "a_0.1.zip", &options) else {
        return;
    };
    let root = converted.plan.job.root();
    assert!(!root.contains('/') && !root.starts_with('.'), "{root}");
    assert!(converted.plan.report.signed.is_some());
    for (path, _) in &converted.tree {
        assert_eq!(path.components().next(), Some(root.as_bytes()));
    }
    let image = converted.into_image_tree().expect("short paths");
    assert!(image.iter().all(|(path, _)| path.components().next() == Some(b"talend")));
});
