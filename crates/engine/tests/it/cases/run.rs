use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use engine::{
    ContainerState, EngineKind, Error, Temporary,
    log::Log,
    spec::{
        CgroupNamespace, CommitSpec, ContainerSpec, ExecSpec, Mount, Signal, Ulimit, VolumeSpec,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{Class, Cx};

use crate::bench::{Bench, tar, untar};

pub(crate) async fn a_command_runs_to_its_end(bench: Arc<Bench>) {
    let spec = bench.shell("echo out; echo err >&2; printf 'a\\377b'; exit 7");
    let exit = bench.run(&spec).await.unwrap();
    assert_eq!(exit.code(), 7);
    assert_eq!(bench.printed(), "out\na\u{fffd}b");
    assert_eq!(bench.complained(), "err\n");
    let error = exit.success().unwrap_err();
    assert_eq!(error.to_string(), "`sh` ended with exit code 7");
    assert_eq!(error.exit_code(), Some(7));
    assert_eq!(error.tail().len(), 3);
    // It was removed.
    assert_eq!(bench.things().await, [""; 0]);
}

pub(crate) async fn a_container_is_as_its_spec_says(bench: Arc<Bench>) {
    let script = "echo $A; id -u; id -g; pwd; hostname; grep example /etc/hosts";
    let spec = ContainerSpec::new(bench.base.clone())
        .entrypoint(["sh", "-c"])
        .command([script])
        .env("A", "b c=\"d\"")
        .user("123:456")
        .working_dir("/tmp")
        .hostname("here")
        .extra_host("some.example", "10.9.8.7");
    // Podman needs a program for it that may not be installed.
    let spec = if bench.kind == EngineKind::Docker {
        spec.init()
    } else {
        spec
    };
    bench.run(&spec).await.unwrap().success().unwrap();
    let printed = bench.printed();
    let wanted = "b c=\"d\"\n123\n456\n/tmp\nhere\n10.9.8.7\tsome.example\n";
    assert_eq!(printed, wanted);
}

pub(crate) async fn mounts_are_there(bench: Arc<Bench>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "outside\n").unwrap();
    let spec = VolumeSpec::anonymous().label("x", "y");
    let volume = Temporary::volume(&bench.cx, &bench.engine, &spec)
        .await
        .unwrap();
    let found = bench.engine.volumes(&bench.cx, &[]).await.unwrap();
    let found = found.iter().find(|found| found.name == *volume.get());
    assert_eq!(found.unwrap().labels["x"], "y");
    let spec = |script| {
        bench
            .shell(script)
            .bind_read_only(dir.path(), "/bind")
            .volume(volume.get().clone(), "/volume")
            .mount(Mount::Tmpfs {
                target: "/memory".to_owned(),
                size: Some(1 << 20),
            })
    };
    let first = spec(
        "cat /bind/file; touch /bind/x; echo kept > /volume/x; df -k /memory | tail -1 | awk '{print $2}'",
    );
    bench.run(&first).await.unwrap().success().unwrap();
    assert_eq!(bench.printed(), "outside\n1024\n");
    assert!(
        bench.complained().contains("Read-only"),
        "{}",
        bench.complained()
    );
    bench
        .run(&spec("cat /volume/x"))
        .await
        .unwrap()
        .success()
        .unwrap();
    assert!(bench.printed().ends_with("kept\n"));
    let missing = dir.path().join("missing");
    let result = bench.run(&bench.shell("true").bind(&missing, "/x")).await;
    match bench.kind {
        // FIXME: Podman makes a directory of it, as `docker run -v` does.
        EngineKind::Podman => assert!(missing.is_dir()),
        _ => assert!(result.unwrap_err().to_string().contains("missing")),
    }
    volume.remove().await.unwrap();
}

pub(crate) async fn limits_hold(bench: Arc<Bench>) {
    let spec = bench
        .shell("ulimit -n; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null")
        .ulimit(Ulimit::new("nofile", 100, 200))
        // Podman's own default may be more than the machine allows.
        .ulimit(Ulimit::new("nproc", 4096, 4096))
        .memory(64 << 20);
    bench.run(&spec).await.unwrap();
    assert_eq!(bench.printed(), "100\n67108864\n");
}

pub(crate) async fn rights_are_given_and_taken(bench: Arc<Bench>) {
    let capabilities = async |spec: ContainerSpec| {
        let before = bench.printed().len();
        bench.run(&spec).await.unwrap().success().unwrap();
        let text = bench.printed()[before..].to_owned();
        let hex = text.trim().rsplit('\t').next().unwrap();
        u64::from_str_radix(hex, 16).unwrap()
    };
    let show = || bench.shell("grep CapEff /proc/self/status");
    let usual = capabilities(show()).await;
    let chown = 1;
    let net_admin = 1 << 12;
    assert_eq!(usual & (chown | net_admin), chown);
    let changed = capabilities(show().cap_add("NET_ADMIN").cap_drop("CHOWN")).await;
    assert_eq!(changed & (chown | net_admin), net_admin);
    match bench.run(&show().privileged()).await {
        Ok(exit) => {
            exit.success().unwrap();
            let all = capabilities(show().privileged()).await;
            assert!(all.count_ones() > usual.count_ones());
        }
        // On a machine that lacks some itself, the engine cannot give all.
        Err(error) => assert!(
            error.to_string().contains("unable to apply caps"),
            "{error:?}"
        ),
    }
    // What systemd in a container wants.
    let spec = bench
        .shell(
            "grep Seccomp: /proc/self/status; ls -d /sys/fs/cgroup; cat /proc/1/cgroup | head -1",
        )
        .security_option("seccomp=unconfined")
        .cgroup_namespace(CgroupNamespace::Host)
        .bind_read_only("/sys/fs/cgroup", "/sys/fs/cgroup");
    let before = bench.printed().len();
    bench.run(&spec).await.unwrap().success().unwrap();
    let printed = bench.printed()[before..].to_owned();
    assert!(
        printed.contains("Seccomp:\t0\n/sys/fs/cgroup\n"),
        "{printed}"
    );
}

pub(crate) async fn failures_are_told_apart(bench: Arc<Bench>) {
    let none = ContainerSpec::new(bench.base.clone()).command(["no-such-program"]);
    let error = bench.run(&none).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "command `no-such-program` not found in the container"
    );
    assert_eq!(
        (error.exit_code(), error.class()),
        (Some(127), Class::NotFound)
    );
    let directory = ContainerSpec::new(bench.base.clone()).command(["/etc"]);
    let error = bench.run(&directory).await.unwrap_err();
    assert_eq!(error.exit_code(), Some(126), "{error:?}");
    // From within a shell.
    let exit = bench.run(&bench.shell("no-such-program")).await.unwrap();
    let error = exit.success().unwrap_err();
    assert!(matches!(error, Error::CommandNotFound { .. }), "{error:?}");
    let image = bench.reference("none");
    let error = bench
        .run(&ContainerSpec::new(image.clone()))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("no such image: `{image}`"));
    assert_eq!(error.class(), Class::NotFound);
    assert!(error.hint().is_some());
}

pub(crate) async fn too_much_memory_is_told(bench: Arc<Bench>) {
    // Fills memory by one process, the first one.
    let spec = ContainerSpec::new(bench.base.clone())
        .command(["tail", "-c", "200000000", "/dev/zero"])
        .memory(16 << 20)
        .network("none");
    // Ten times, for engines are told of some of these kills only.
    for _ in 0..10 {
        let error = bench.run(&spec).await.unwrap().success().unwrap_err();
        assert_eq!(error.to_string(), "`tail` was killed, out of memory");
        assert_eq!(error.class(), Class::Exhausted);
        assert_eq!(error.exit_code(), Some(137));
    }
    // Killed by somebody, with as little memory.
    let spec = bench.shell("echo ready; sleep 60").memory(16 << 20);
    let (signal, signals) = tokio::sync::oneshot::channel();
    let signals = stream::once(signals).map(|signal| signal.expect("it is sent"));
    let log = bench.log();
    let running = engine::run_with_signals(&bench.cx, &bench.engine, &spec, &log, signals);
    let killing = async {
        bench.wait_for_line("ready\n").await;
        signal.send(Signal::Kill).expect("it still runs");
    };
    let (exit, ()) = tokio::join!(running, killing);
    let error = exit.unwrap().success().unwrap_err();
    assert_eq!(error.to_string(), "`sh` ended with exit code 137");
}

pub(crate) async fn a_time_limit_holds(bench: Arc<Bench>) {
    // A busy engine may need longer to start a container than it then has.
    for seconds in [2, 10, 50] {
        let spec = bench
            .shell("echo begun; sleep 300")
            .time_limit(Duration::from_secs(seconds));
        let error = bench.run(&spec).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("`sh` did not end within {seconds}s and was killed")
        );
        if error.tail() == ["begun"] {
            return;
        }
    }
    panic!("the last lines are not in the error");
}

pub(crate) async fn signals_are_passed_on(bench: Arc<Bench>) {
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let spec = bench.shell(script);
    let (signal, signals) = tokio::sync::oneshot::channel();
    let signals = stream::once(signals).map(|signal| signal.expect("it is sent"));
    let log = bench.log();
    let running = engine::run_with_signals(&bench.cx, &bench.engine, &spec, &log, signals);
    let sending = async {
        bench.wait_for_line("ready\n").await;
        signal.send(Signal::Terminate).expect("it still runs");
    };
    let (exit, ()) = tokio::join!(running, sending);
    assert_eq!(exit.unwrap().code(), 5);
    assert_eq!(bench.printed(), "ready\ncaught\n");
}

pub(crate) async fn a_name_can_be_had_once(bench: Arc<Bench>) {
    let name = bench.name("x");
    let spec = bench.shell("sleep 60").name(&name);
    let first = Temporary::container(&bench.cx, &bench.engine, &spec)
        .await
        .unwrap();
    let error = bench
        .engine
        .create_container(&bench.cx, &spec)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("name `{name}` is already in use")
    );
    assert_eq!(error.class(), Class::Conflict);
    let info = bench
        .engine
        .inspect_container(&bench.cx, first.get())
        .await
        .unwrap();
    assert_eq!(
        (info.name.as_str(), info.state),
        (name.as_str(), ContainerState::Created)
    );
    bench.engine.start(&bench.cx, first.get()).await.unwrap();
    let by_name = name.parse().unwrap();
    let info = bench
        .engine
        .inspect_container(&bench.cx, &by_name)
        .await
        .unwrap();
    assert_eq!(
        (&info.id, info.state),
        (first.get(), ContainerState::Running)
    );
    bench
        .engine
        .signal(&bench.cx, first.get(), Signal::Kill)
        .await
        .unwrap();
    let exit = bench.engine.wait(&bench.cx, first.get()).await.unwrap();
    assert_eq!(exit.code(), 137);
    let error = bench
        .engine
        .signal(&bench.cx, first.get(), Signal::Kill)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict, "{error:?}");
    first.remove().await.unwrap();
    let error = bench
        .engine
        .inspect_container(&bench.cx, &by_name)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
}

pub(crate) async fn much_output_is_not_lost(bench: Arc<Bench>) {
    // The reader is slower than the writer.
    let (log, events) = Log::channel(4);
    let reading = tokio::spawn(events.fold((0, 0), async |(lines, sum), event| {
        if lines % 5000 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match event {
            engine::log::Event::Stdout(line) => {
                let n: u64 = line.trim().parse().unwrap();
                (lines + 1, sum + n)
            }
            other => panic!("{other:?}"),
        }
    }));
    let spec = bench.shell("seq 1 100000");
    let exit = engine::run(&bench.cx, &bench.engine, &spec, &log)
        .await
        .unwrap();
    drop(log);
    assert_eq!(exit.tail().lines().last().unwrap(), "100000");
    assert_eq!(reading.await.unwrap(), (100_000, 5_000_050_000));
}

pub(crate) async fn a_cancelled_run_leaves_nothing(bench: Arc<Bench>) {
    let running = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.run(&bench.shell("echo ready; sleep 60")).await }
    });
    bench.wait_for_line("ready\n").await;
    assert_eq!(bench.things().await.len(), 1);
    bench.cx.cancel();
    assert!(matches!(running.await.unwrap(), Err(Error::Cancelled)));
    // Before it returned, not some time later.
    assert_eq!(bench.things().await, [""; 0]);
}

pub(crate) async fn a_dropped_run_leaves_nothing(bench: Arc<Bench>) {
    let running = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.run(&bench.shell("echo ready; sleep 60")).await }
    });
    bench.wait_for_line("ready\n").await;
    running.abort();
    assert!(running.await.is_err());
    bench.is_clean().await;
    // At any moment of its making, too.
    for millis in 0..10 {
        let running = tokio::spawn({
            let bench = Arc::clone(&bench);
            async move { bench.run(&bench.shell("sleep 60")).await }
        });
        tokio::time::sleep(Duration::from_millis(millis * 20)).await;
        running.abort();
        assert!(running.await.is_err());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    bench.is_clean().await;
}

pub(crate) async fn commands_run_in_a_container(bench: Arc<Bench>) {
    let (cx, engine) = (&bench.cx, &bench.engine);
    let spec = bench.shell("sleep 60");
    let container = Temporary::container(cx, engine, &spec).await.unwrap();
    let log = bench.log();
    let exec = ExecSpec::new(["sh", "-c", "echo $A; pwd; id -u; echo err >&2; exit 3"])
        .env("A", "b")
        .working_dir("/tmp")
        .user("5");
    let early = engine
        .exec(cx, container.get(), &exec, &log)
        .await
        .unwrap_err();
    assert_eq!(early.class(), Class::Conflict, "{early:?}");
    engine.start(cx, container.get()).await.unwrap();
    let exit = engine.exec(cx, container.get(), &exec, &log).await.unwrap();
    assert_eq!(exit.code(), 3);
    assert_eq!(bench.printed(), "b\n/tmp\n5\n");
    assert_eq!(bench.complained(), "err\n");
    let none = ExecSpec::new(["no-such-program"]);
    let error = match engine
        .exec(cx, container.get(), &none, &Log::discard())
        .await
    {
        Ok(exit) => exit.success().unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, Error::CommandNotFound { .. }), "{error:?}");
    container.remove().await.unwrap();
}

pub(crate) async fn files_are_copied_in_and_out(bench: Arc<Bench>) {
    let (cx, engine) = (&bench.cx, &bench.engine);
    let spec = bench.shell("cat /in/a");
    let container = Temporary::container(cx, engine, &spec).await.unwrap();
    let files = tar(&[("in/a", "hello\n".to_owned()), ("in/b", "x".to_owned())]);
    let chunks: Vec<_> = files
        .chunks(1000)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    let content = stream::iter(chunks).boxed();
    engine
        .copy_in(cx, container.get(), "/", content)
        .await
        .unwrap();
    engine
        .run_container(cx, container.get(), &bench.log())
        .await
        .unwrap();
    assert_eq!(bench.printed(), "hello\n");
    let out = engine.copy_out(cx, container.get(), "/in").await.unwrap();
    let out = out.try_collect::<Vec<_>>().await.unwrap().concat();
    let found = untar(&out);
    assert_eq!(
        (found["in/a"].as_str(), found["in/b"].as_str()),
        ("hello\n", "x")
    );
    let Err(error) = engine.copy_out(cx, container.get(), "/nope").await else {
        panic!("there is no such file");
    };
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
    let error = engine
        .copy_in(cx, container.get(), "/nope", stream::empty().boxed())
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
    container.remove().await.unwrap();
}

pub(crate) async fn a_container_becomes_an_image(bench: Arc<Bench>) {
    let (cx, engine) = (&bench.cx, &bench.engine);
    let spec = bench.shell("echo made > /made").env("A", "b");
    let container = Temporary::container(cx, engine, &spec).await.unwrap();
    engine
        .run_container(cx, container.get(), &Log::discard())
        .await
        .unwrap();
    let name = bench.reference("made");
    let commit = CommitSpec::new(container.get().clone())
        .tag(name.clone())
        .author("me")
        .message("did it")
        .change("CMD [\"cat\", \"/made\"]")
        .change("ENV X=\"y z\"")
        .change("EXPOSE 80")
        .change("LABEL q=\"a b\"");
    let id = engine.commit(cx, &commit).await.unwrap();
    container.remove().await.unwrap();
    let info = engine
        .inspect_image(cx, &name.clone().into())
        .await
        .unwrap();
    assert_eq!(info.id, id);
    assert_eq!(info.command, ["cat", "/made"]);
    assert_eq!(info.labels["q"], "a b");
    assert_eq!(info.labels[engine::owner::LEASE], "");
    assert!(info.env.contains(&"X=y z".to_owned()), "{:?}", info.env);
    assert!(info.env.contains(&"A=b".to_owned()), "{:?}", info.env);
    assert_eq!(bench.output(id, "cat /made").await, "made\n");
    let images = engine.images(&Cx::default(), &[]).await.unwrap();
    assert!(images.iter().any(|image| image.id == id));
    if bench.kind == EngineKind::Docker {
        let used = Temporary::container(cx, engine, &ContainerSpec::new(id))
            .await
            .unwrap();
        let error = engine.remove_image(cx, &id.into()).await.unwrap_err();
        assert_eq!(error.class(), Class::Conflict, "{error:?}");
        used.remove().await.unwrap();
    }
    // A conflict may have taken its name.
    if engine.inspect_image(cx, &id.into()).await.is_ok() {
        bench.remove(id).await;
    }
}
