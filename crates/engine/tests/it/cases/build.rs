use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use engine::{
    EngineKind, Error,
    log::Event,
    spec::{BuildSpec, Builder, Cache, Pull, Secret, SshAgent},
};
use futures_util::{StreamExt, stream};
use ocicore::{Blob, BoxStream, Class, Cx, Descriptor, MediaType, conformance::peer::peer};

use crate::bench::{Bench, eventually};

pub(crate) async fn an_image_is_built(bench: Arc<Bench>) {
    let (one, two) = (bench.reference("one"), bench.reference("two"));
    let text = "FROM BASE\nRUN echo hello && echo oops >&2 && printf '\\377x\\n'\nCMD [\"true\"]\n";
    let spec = bench.dockerfile(text).tag(one.clone()).tag(two.clone());
    let id = bench.build(&spec).await.unwrap();
    let found = bench
        .engine
        .inspect_image(&bench.cx, &one.clone().into())
        .await
        .unwrap();
    assert_eq!(found.id, id);
    let mut wanted = vec![one.clone(), two.clone()];
    wanted.sort();
    assert_eq!(found.references, wanted);
    assert_eq!(found.command, ["true"]);
    let steps: Vec<(u32, u32, String)> = bench
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Step {
                number: Some(number),
                total: Some(total),
                instruction,
            } => Some((number, total, instruction)),
            _ => None,
        })
        .collect();
    // The classic builder makes a step of the labels.
    assert!(steps.len() >= 3, "{steps:?}");
    assert!(steps[1].2.starts_with("RUN echo hello"), "{steps:?}");
    assert_eq!(steps[1].0, 2);
    let all = bench.printed() + &bench.complained();
    for line in ["hello\n", "oops\n", "\u{fffd}x\n"] {
        assert!(all.contains(line), "{line:?} in {all:?}");
    }
    bench.remove(id).await;
}

pub(crate) async fn arguments_target_and_labels_count(bench: Arc<Bench>) {
    let text = "FROM BASE AS first\nARG WHO=nobody\nRUN echo \"hello $WHO\" > /who\n\
                FROM first AS second\nRUN exit 1\n";
    let spec = bench
        .context(&[("sub/My.Dockerfile", text)])
        .dockerfile("sub/My.Dockerfile")
        .arg("WHO", "you & \"me\"")
        .target("first")
        .label("a.b", "c \"d\"");
    let id = bench.build(&spec).await.unwrap();
    assert_eq!(bench.output(id, "cat /who").await, "hello you & \"me\"\n");
    let info = bench
        .engine
        .inspect_image(&bench.cx, &id.into())
        .await
        .unwrap();
    assert_eq!(info.labels["a.b"], "c \"d\"");
    bench.remove(id).await;
}

pub(crate) async fn a_failed_build_is_none_although_the_tag_exists(bench: Arc<Bench>) {
    let tag = bench.reference("x");
    let good = bench
        .dockerfile("FROM BASE\nRUN echo good > /x\n")
        .tag(tag.clone());
    let id = bench.build(&good).await.unwrap();
    let text = "FROM BASE\nRUN echo one && echo two && exit 3\n";
    let bad = bench.dockerfile(text).tag(tag.clone());
    let error = bench.build(&bad).await.unwrap_err();
    assert_eq!(error.exit_code(), Some(3), "{error:?}");
    assert_eq!(error.tail()[error.tail().len() - 2..], ["one", "two"]);
    match &error {
        Error::Build { step, .. } => {
            assert_eq!(step.as_deref(), Some("RUN echo one && echo two && exit 3"));
        }
        other => panic!("{other:?}"),
    }
    // The old image still has the name.
    let found = bench.engine.inspect_image(&bench.cx, &tag.into()).await;
    assert_eq!(found.unwrap().id, id);
    bench.remove(id).await;
}

pub(crate) async fn a_syntax_error_has_file_and_line(bench: Arc<Bench>) {
    let error = bench
        .build(&bench.dockerfile("FROM BASE\n\nRUNN echo hi\n"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    assert_eq!(error.to_string(), "Dockerfile:3: unknown instruction: RUNN");
    assert!(error.hint().is_some());
    let error = bench
        .build(&bench.dockerfile("RUN echo hi\n"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Dockerfile { .. }), "{error:?}");
}

pub(crate) async fn a_missing_dockerfile_is_told(bench: Arc<Bench>) {
    let spec = bench
        .dockerfile("FROM BASE\n")
        .dockerfile("nope/Dockerfile");
    let error = bench.build(&spec).await.unwrap_err();
    assert_eq!(error.to_string(), "no such file: `nope/Dockerfile`");
    assert_eq!(error.class(), Class::NotFound);
}

pub(crate) async fn a_missing_base_image_is_told(bench: Arc<Bench>) {
    let error = bench
        .build(&bench.dockerfile("FROM 127.0.0.1:1/nope:1\n"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::RegistryUnreachable { .. }),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Transient);
}

pub(crate) async fn a_large_context_is_refused(bench: Arc<Bench>) {
    let spec = bench.dockerfile("FROM BASE\n").context_limit(1000);
    let error = bench.build(&spec).await.unwrap_err();
    assert_eq!(error.class(), Class::Exhausted);
    assert_eq!(
        error.to_string(),
        "build context has 2048 bytes, the limit is 1000"
    );
}

/// A context that ends in the middle.
#[derive(Debug)]
struct Broken(Descriptor);

impl Blob for Broken {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn open(&self, _: std::ops::Range<u64>) -> BoxStream<Bytes> {
        let error = ocicore::Error::not_found("read", "part 2", "the test");
        stream::iter([Ok(Bytes::from(vec![0; 100])), Err(error)]).boxed()
    }
}

pub(crate) async fn a_broken_context_is_told(bench: Arc<Bench>) {
    let blob = Broken(Descriptor::of(MediaType::OCI_LAYER, &[0; 4096]));
    let error = bench
        .build(&BuildSpec::new(Arc::new(blob)))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "failed to read `part 2` in the test");
}

pub(crate) async fn earlier_results_are_taken_or_not(bench: Arc<Bench>) {
    let name = bench.name("x");
    let text = format!("FROM BASE\nRUN echo {name} && cat /proc/sys/kernel/random/uuid > /x\n");
    let cached = |bench: &Bench| {
        let events = bench.events();
        let hits = events
            .iter()
            .filter(|event| matches!(event, Event::Cached { .. }));
        hits.count()
    };
    let first = bench.image(&text).await;
    assert_eq!(cached(&bench), 0);
    let second = bench.image(&text).await;
    assert!(cached(&bench) > 0);
    assert_eq!(first, second);
    let spec = bench.dockerfile(&text).cache(Cache::Ignore);
    let third = bench.build(&spec).await.unwrap();
    assert_ne!(first, third);
    bench.remove(first).await;
    bench.remove(third).await;
}

pub(crate) async fn platform_and_pull_policy_are_asked_for(bench: Arc<Bench>) {
    let text = "FROM scratch\nCOPY Dockerfile /\n";
    for builder in [Builder::Classic, Builder::BuildKit] {
        // The classic builder of Docker 20.10 names the platform of what it pulls only.
        let foreign = match (bench.kind, builder) {
            (EngineKind::Docker, Builder::Classic) => continue,
            _ => bench
                .dockerfile(text)
                .platform("linux/arm64".parse().unwrap()),
        };
        let foreign = bench.build(&foreign.builder(builder)).await.unwrap();
        let info = bench.engine.inspect_image(&bench.cx, &foreign.into()).await;
        assert_eq!(info.unwrap().platform.architecture(), "arm64");
        bench.remove(foreign).await;
    }

    // A base that the engine has and no registry does.
    let base = bench.image("FROM BASE\nLABEL y=1\n").await;
    let name: ocicore::Reference = format!("127.0.0.1:1/{}:1", bench.name("base"))
        .parse()
        .unwrap();
    bench
        .engine
        .tag(&bench.cx, &base.into(), &name)
        .await
        .unwrap();
    let text = format!("FROM {name}\nLABEL z=1\n");
    let kept = bench.build(&bench.dockerfile(&text)).await.unwrap();
    let asked = bench.dockerfile(&text).pull(Pull::Always);
    let error = bench.build(&asked).await.unwrap_err();
    assert_ne!(error.class(), Class::Cancelled, "{error:?}");
    bench.remove(kept).await;
    bench.remove(base).await;
}

pub(crate) async fn an_images_layers_serve_as_earlier_results(bench: Arc<Bench>) {
    let tag = bench.reference("cache");
    let text = format!("FROM BASE\nRUN echo {tag} > /x\n");
    let spec = bench.dockerfile(&text).tag(tag.clone());
    let first = bench.build(&spec).await.unwrap();
    bench.events();
    let spec = bench.dockerfile(&text).cache_from(tag);
    let second = bench.build(&spec).await.unwrap();
    let events = bench.events();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Cached { .. })),
        "{events:?}"
    );
    assert_eq!(first, second);
    bench.remove(first).await;
}

pub(crate) async fn hosts_and_network_are_set(bench: Arc<Bench>) {
    let spec = bench
        .dockerfile("FROM BASE\nRUN cat /etc/hosts\n")
        .cache(Cache::Ignore)
        .extra_host("one.example", "10.1.2.3")
        .extra_host("two.example", "10.1.2.4");
    let first = bench.build(&spec).await.unwrap();
    let printed = bench.printed();
    for part in ["10.1.2.3\tone.example", "10.1.2.4\ttwo.example"] {
        assert!(printed.contains(part), "{part:?} in {printed}");
    }
    let spec = bench
        .dockerfile("FROM BASE\nRUN cat /proc/net/dev\n")
        .cache(Cache::Ignore)
        .network("none");
    let second = bench.build(&spec).await.unwrap();
    let printed = bench.printed();
    assert!(
        printed.contains("lo:") && !printed.contains("eth0:"),
        "{printed}"
    );
    bench.remove(first).await;
    if first != second {
        bench.remove(second).await;
    }
}

pub(crate) async fn secrets_are_in_no_layer(bench: Arc<Bench>) {
    let text = "FROM BASE\n\
        RUN --mount=type=secret,id=token,target=/token test \"$(cat /token)\" = \"$(echo aHVudGVyIDI= | base64 -d)\" && echo same\n\
        COPY . /context\n";
    let spec = bench
        .dockerfile(text)
        .cache(Cache::Ignore)
        .secret("token", Secret::new("hunter 2"));
    assert!(!format!("{spec:?}").contains("hunter"));
    let id = bench.build(&spec).await.unwrap();
    assert!(bench.printed().contains("same\n"), "{:?}", bench.events());
    assert_eq!(bench.output(id, "ls -A /context").await, "Dockerfile\n");
    assert_eq!(bench.output(id, "cat /token || true").await, "");
    bench.remove(id).await;
}

pub(crate) async fn a_cache_mount_survives(bench: Arc<Bench>) {
    let id = bench.name("cache");
    let text = format!(
        "FROM BASE\nARG N\nRUN --mount=type=cache,id={id},target=/c echo $N; cat /c/x; echo kept > /c/x\n"
    );
    let spec = bench.dockerfile(&text).builder(Builder::BuildKit);
    let first = bench.build(&spec.clone().arg("N", "1")).await.unwrap();
    assert!(!bench.printed().contains("kept\n"), "{:?}", bench.events());
    let second = bench.build(&spec.arg("N", "2")).await.unwrap();
    assert!(bench.printed().contains("kept\n"), "{:?}", bench.events());
    bench.remove(first).await;
    // Podman makes the same image of it.
    if first != second {
        bench.remove(second).await;
    }
}

/// An agent with one key, of which it tells the public part `abc`, called `the key`.
fn agent(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 5];
            while stream.read_exact(&mut request).is_ok() {
                assert_eq!(
                    request,
                    [0, 0, 0, 1, 11],
                    "only the list of keys is asked for"
                );
                let answer = b"\0\0\0\x17\x0c\0\0\0\x01\0\0\0\x03abc\0\0\0\x07the key";
                stream.write_all(answer).unwrap();
            }
        }
    });
}

pub(crate) async fn an_ssh_agent_may_be_asked(bench: Arc<Bench>) {
    let Some(python) = peer("PYTHON_IMAGE") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    agent(&socket);
    let script = "import os, socket\n\
        def ask(request):\n\
        \x20   s = socket.socket(socket.AF_UNIX)\n\
        \x20   s.connect(os.environ['SSH_AUTH_SOCK'])\n\
        \x20   s.sendall(request)\n\
        \x20   print(s.recv(100), flush=True)\n\
        ask(b'\\0\\0\\0\\x01\\x0b')\n\
        ask(b'\\0\\0\\0\\x01\\x13')\n";
    let text = format!("FROM {python}\nCOPY ask.py /\nRUN --mount=type=ssh python3 /ask.py\n");
    let spec = bench
        .context(&[("Dockerfile", &text), ("ask.py", script)])
        .cache(Cache::Ignore)
        .ssh(SshAgent::new("default", &socket));
    let built = bench.build(&spec).await;
    if bench.kind == EngineKind::Podman {
        assert_eq!(built.unwrap_err().class(), Class::Unsupported);
        return;
    }
    let id = built.unwrap();
    let printed = bench.printed();
    assert!(printed.contains("the key"), "{printed}");
    // To remove all keys is refused.
    assert!(printed.contains(r"b'\x00\x00\x00\x01\x05'"), "{printed}");
    bench.remove(id).await;
}

fn slow(bench: &Bench) -> BuildSpec {
    let name = bench.name("x");
    let text = format!(
        "FROM BASE\nENV MARK={name}\nRUN echo {name} > /x\n\
         RUN echo ready && sleep 20\nRUN echo never\n"
    );
    bench.dockerfile(&text).tag(bench.reference("x"))
}

/// Whether there is an image of the slow build, also one that has no label yet. Others build at the
/// same time, so that images come and go.
async fn has_remains(bench: &Bench) -> bool {
    let mark = format!("MARK={}", bench.name("x"));
    let cx = Cx::default();
    for image in bench.engine.images(&cx, &[]).await.unwrap() {
        match bench.engine.inspect_image(&cx, &image.id.into()).await {
            Ok(info) if info.env.contains(&mark) => return true,
            Ok(_) => {}
            Err(error) => assert_eq!(error.class(), Class::NotFound, "{error:?}"),
        }
    }
    false
}

async fn nothing_is_left(bench: &Bench) {
    eventually("the build's images are gone", async || {
        !has_remains(bench).await
    })
    .await;
    bench.is_clean().await;
}

pub(crate) async fn a_cancelled_build_leaves_nothing(bench: Arc<Bench>) {
    let building = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.build(&slow(&bench)).await }
    });
    bench.wait_for_line("ready\n").await;
    assert!(has_remains(&bench).await, "the test would find them");
    bench.cx.cancel();
    assert!(matches!(building.await.unwrap(), Err(Error::Cancelled)));
    nothing_is_left(&bench).await;
}

pub(crate) async fn a_dropped_build_leaves_nothing(bench: Arc<Bench>) {
    let building = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.build(&slow(&bench)).await }
    });
    bench.wait_for_line("ready\n").await;
    building.abort();
    assert!(building.await.is_err());
    nothing_is_left(&bench).await;
}
