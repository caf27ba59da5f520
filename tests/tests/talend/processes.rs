//! Jobs that start jobs: in one process, as child jobs are, and in processes of their own.

use e2e::peer;
use ocicore::Cx;
use repack::Content;
use talend::{
    ConvertOptions, Layout,
    application::{JobInput, MergeSpec, merge},
};

use crate::{engine::Engine, jobs};

/// A job whose child is started as an independent process, with the class path that is compiled
/// into the parent. Its routines say `hello`; its child ends with `exit`.
fn job(javac: &str, name: &str, hello: &str, exit: u8) -> JobInput {
    let text = include_str!("java/Text.java").replace("HELLO", hello);
    let routines = jobs::classes(javac, &[("Text.java", &text)], &[]);
    let named = |source: &str| source.replace("NAME", name);
    let compiled = |file: &str, source: &str| {
        let source = named(source);
        jobs::classes(javac, &[(file, &source)], &[&routines])
    };
    let parent = compiled(&format!("{name}.java"), include_str!("java/Parent.java"));
    let child = compiled(
        &format!("{name}child.java"),
        include_str!("java/Child.java"),
    );
    let launcher = format!(
        "#!/bin/sh\ncd `dirname $0`\nROOT_PATH=`pwd`\njava -Xms16M -cp \
         .:$ROOT_PATH:$ROOT_PATH/../lib/routines.jar:$ROOT_PATH/{name}_0_1.jar: \
         demo.{name}_0_1.{name}  --context=Default \"$@\" "
    );
    let context = format!("greeting=the context of {name}\nexit={exit}\n");
    let jar = |files| Content::from(jobs::jar(files, "", ""));
    jobs::job(
        name,
        launcher.as_bytes(),
        &[
            ("lib/routines.jar", jar(&routines)),
            (&format!("{name}/{name}_0_1.jar"), jar(&parent)),
            (&format!("{name}/{name}child_0_1.jar"), jar(&child)),
            (
                &format!("{name}/demo/{name}child_0_1/contexts/Default.properties"),
                context.into(),
            ),
        ],
    )
}

#[test]
fn a_job_finds_its_own_routines_and_those_of_the_job_that_it_starts() {
    let (Some(engine), Some(javac)) = (Engine::find(), peer("JAVAC")) else {
        return;
    };
    let jobs = vec![
        job(&javac, "load", "hello from the old routines", 0),
        job(&javac, "export", "hello from the new routines", 3),
    ];
    let merged = |layout| {
        let convert = ConvertOptions::default().with_layout(layout);
        let spec = MergeSpec::new("orders")
            .with_default("load")
            .with_convert(convert);
        merge(&Cx::default(), jobs.clone(), &spec).unwrap()
    };
    let application = merged(Layout::Plain);
    let roots = application.plan.jobs.iter().map(|job| job.root.to_string());
    assert_eq!(roots.collect::<Vec<_>>(), ["orders", "orders/jobs/export"]);
    let image = engine.load("processes", application);
    let ran = |args: &[&str]| {
        let container = engine.start(args);
        let code = container.exit_code();
        let logs = container.logs();
        (code, logs.stdout + &logs.stderr)
    };
    assert_eq!(
        ran(&[&image.name]),
        (
            0,
            "load says hello from the old routines\n\
             loadchild says hello from the old routines, the context of load\n\
             load saw its child end with 0\n"
                .to_owned()
        )
    );
    assert_eq!(
        ran(&["--entrypoint", "/talend/bin/export", &image.name]),
        (
            3,
            "export says hello from the new routines\n\
             exportchild says hello from the new routines, the context of export\n\
             export saw its child end with 3\n"
                .to_owned()
        )
    );

    // The original's layout renames the routines, of which such a job knows nothing: it is told.
    let application = merged(Layout::Job2docker);
    for job in &application.plan.jobs {
        let name = &job.job.name;
        assert_eq!(
            job.report.warnings,
            [format!(
                "`{name}/{name}_0_1.jar` starts a job with `lib/routines.jar` on its class path, \
                 which has another name now"
            )]
        );
    }
    let image = engine.load("processes-renamed", application);
    let (code, printed) = ran(&[&image.name]);
    assert_eq!(code, 1, "{printed}");
    assert!(
        printed.contains("load says hello from the old routines"),
        "{printed}"
    );
    assert!(
        printed.contains("NoClassDefFoundError: routines/Text"),
        "{printed}"
    );
}
