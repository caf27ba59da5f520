use std::{io::Write, sync::Arc};

use bytes::Bytes;
use engine::{
    Error, TransferOptions,
    log::{Event, Log},
    spec::{Credentials, ImageName, Keychain, Pull},
};
use futures_util::{StreamExt, stream};
use ocicore::{
    BytesBlob, Class, Cx, Digest, Image, ImageBuilder, ImageSource, Layer, MediaType, Name,
    Platform, Reference, SizeLimits, Tag, conformance::peer::peer,
};

use crate::bench::{Bench, eventually, tar};

pub(crate) async fn an_image_has_names(bench: Arc<Bench>) {
    let (cx, engine) = (&bench.cx, &bench.engine);
    let id = bench
        .image("FROM BASE\nENV A=b\nUSER 7\nWORKDIR /w\nENTRYPOINT [\"x\"]\n")
        .await;
    let (one, two) = (bench.reference("one"), bench.reference("two"));
    engine.tag(cx, &id.into(), &one).await.unwrap();
    engine.tag(cx, &one.clone().into(), &two).await.unwrap();
    let info = engine.inspect_image(cx, &two.clone().into()).await.unwrap();
    assert_eq!(info.id, id);
    assert_eq!(info.references, [one.clone(), two.clone()]);
    assert_eq!((info.user.as_str(), info.working_dir.as_str()), ("7", "/w"));
    assert_eq!(info.entrypoint, ["x"]);
    assert!(info.env.contains(&"A=b".to_owned()));
    assert_eq!(info.platform, Platform::host());
    let base = engine
        .inspect_image(cx, &bench.base.clone().into())
        .await
        .unwrap();
    assert_eq!(info.diff_ids[..base.diff_ids.len()], base.diff_ids);
    assert!(info.size > 0);
    engine.remove_image(cx, &one.clone().into()).await.unwrap();
    let error = engine
        .inspect_image(cx, &one.clone().into())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("no such image: `{one}`"));
    let error = engine.remove_image(cx, &one.into()).await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    let images = engine.images(cx, &[]).await.unwrap();
    let ours = images.iter().find(|image| image.id == id).unwrap();
    assert_eq!(ours.references, [two]);
    let none: ImageName = Digest::of(b"none").to_string().parse().unwrap();
    let error = engine
        .tag(cx, &none, &bench.reference("x"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
    bench.remove(id).await;
}

fn at(registry: &str, bench: &Bench, what: &str) -> Reference {
    let name = bench.reference(what);
    let name = name.to_string();
    format!("{registry}/{}", name.strip_prefix("docker.io/").unwrap())
        .parse()
        .unwrap()
}

/// The digest that the registry has.
async fn digest_at(registry: &str, reference: &Reference) -> String {
    let path = format!(
        "/v2/{}/manifests/{}",
        reference.repository().path(),
        reference.tag().unwrap()
    );
    let (registry, request) = (
        registry.to_owned(),
        format!(
            "HEAD {path} HTTP/1.0\r\nHost: x\r\n\
             Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json\r\n\r\n"
        ),
    );
    Cx::default()
        .blocking(move |_| {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(registry).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let line = answer
                .lines()
                .find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
            line.unwrap_or_else(|| panic!("{answer}")).trim().to_owned()
        })
        .await
}

pub(crate) async fn a_pushed_image_can_be_pulled(bench: Arc<Bench>) {
    let Some(registry) = peer("REGISTRY") else {
        return;
    };
    let (cx, engine) = (&bench.cx, &bench.engine);
    let name = at(&registry, &bench, "x");
    let text = format!("FROM BASE\nRUN echo {} > /x\n", bench.name("x"));
    let id = bench
        .build(&bench.dockerfile(&text).tag(name.clone()))
        .await
        .unwrap();
    let options = TransferOptions::default();
    let digest = engine
        .push(cx, &name, &options, &bench.log())
        .await
        .unwrap();
    assert_eq!(digest.to_string(), digest_at(&registry, &name).await);
    assert!(
        bench
            .events()
            .iter()
            .any(|event| matches!(event, Event::Progress { .. } | Event::Message(_)))
    );
    bench.remove(id).await;
    let pulled = engine
        .pull(cx, &name, &options, &bench.log())
        .await
        .unwrap();
    let info = engine
        .inspect_image(cx, &name.clone().into())
        .await
        .unwrap();
    assert_eq!(info.id, pulled);
    assert_eq!(
        bench.output(pulled, "cat /x").await,
        format!("{}\n", bench.name("x"))
    );
    // By digest, and not again.
    let exact = Reference::new(name.repository().clone(), digest);
    let again = engine
        .pull(cx, &exact, &options, &Log::discard())
        .await
        .unwrap();
    assert_eq!(again, pulled);
    let missing = options.clone().pull(Pull::Missing);
    let again = engine
        .pull(cx, &name, &missing, &Log::discard())
        .await
        .unwrap();
    assert_eq!(again, pulled);
    bench.remove(name.clone()).await;
    if engine.inspect_image(cx, &pulled.into()).await.is_ok() {
        bench.remove(pulled).await;
    }
    let never = options.pull(Pull::Never);
    let error = engine
        .pull(cx, &name, &never, &Log::discard())
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
}

pub(crate) async fn credentials_are_needed_and_used(bench: Arc<Bench>) {
    let (Some(registry), Some(user), Some(password)) = (
        peer("REGISTRY_TLS"),
        peer("REGISTRY_TLS_USER"),
        peer("REGISTRY_TLS_PASSWORD"),
    ) else {
        return;
    };
    let (cx, engine) = (&bench.cx, &bench.engine);
    let name = at(&registry, &bench, "x");
    engine
        .tag(cx, &bench.base.clone().into(), &name)
        .await
        .unwrap();
    let options = |password: &str| {
        let credentials = Credentials::Password {
            user: user.clone(),
            password: password.to_owned(),
        };
        let host = name.repository().host();
        TransferOptions::default().keychain(Keychain::default().insert(host, credentials))
    };
    for wrong in [TransferOptions::default(), options("wrong")] {
        let error = engine
            .push(cx, &name, &wrong, &Log::discard())
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Denied, "{error:?}");
        assert!(error.hint().is_some());
        assert!(!format!("{wrong:?}").contains("\"wrong\""));
    }
    engine
        .push(cx, &name, &options(&password), &Log::discard())
        .await
        .unwrap();
    let error = engine
        .pull(cx, &name, &TransferOptions::default(), &Log::discard())
        .await
        .unwrap_err();
    // FIXME: Docker then tries a registry on this machine without TLS, and tells of that.
    let told = [Class::Denied, Class::Transient].contains(&error.class());
    assert!(told, "{error:?}");
    engine
        .pull(cx, &name, &options(&password), &Log::discard())
        .await
        .unwrap();
    // Base images of a build come with credentials, too.
    engine.remove_image(cx, &name.clone().into()).await.unwrap();
    let spec = bench.dockerfile(&format!("FROM {name}\nENV X={}\n", bench.name("x")));
    let error = bench.build(&spec).await.unwrap_err();
    let told = [Class::Denied, Class::Transient].contains(&error.class());
    assert!(told, "{error:?}");
    let keychain = Keychain::default().insert(
        name.repository().host(),
        Credentials::Password {
            user: user.clone(),
            password,
        },
    );
    let id = bench.build(&spec.keychain(keychain)).await.unwrap();
    bench.remove(id).await;
    if engine.inspect_image(cx, &name.clone().into()).await.is_ok() {
        bench.remove(name).await;
    }
}

pub(crate) async fn registries_refuse_and_fail(bench: Arc<Bench>) {
    let Some(registry) = peer("REGISTRY") else {
        return;
    };
    let (cx, engine) = (&bench.cx, &bench.engine);
    let options = TransferOptions::default();
    let pull = async |name: &Reference| {
        let pulled = engine.pull(cx, name, &options, &Log::discard()).await;
        pulled.unwrap_err()
    };
    let error = pull(&at(&registry, &bench, "none")).await;
    assert!(
        matches!(error, Error::NotFound { kind: "image", .. }),
        "{error:?}"
    );
    let nowhere = at("127.0.0.1:1", &bench, "x");
    let error = pull(&nowhere).await;
    assert!(
        matches!(error, Error::RegistryUnreachable { .. }),
        "{error:?}"
    );
    engine
        .tag(cx, &bench.base.clone().into(), &nowhere)
        .await
        .unwrap();
    let error = engine
        .push(cx, &nowhere, &options, &Log::discard())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::RegistryUnreachable { .. }),
        "{error:?}"
    );
    engine.remove_image(cx, &nowhere.into()).await.unwrap();
    let unknown = at(&registry, &bench, "none");
    let error = engine
        .push(cx, &unknown, &options, &Log::discard())
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
}

pub(crate) async fn a_cancelled_push_ends(bench: Arc<Bench>) {
    // A registry that takes connections and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = at(&listener.local_addr().unwrap().to_string(), &bench, "x");
    let engine = &bench.engine;
    engine
        .tag(&bench.cx, &bench.base.clone().into(), &name)
        .await
        .unwrap();
    let cx = bench.cx.child();
    let pushing = tokio::spawn({
        let (bench, cx, name) = (Arc::clone(&bench), cx.clone(), name.clone());
        async move {
            let options = TransferOptions::default();
            bench
                .engine
                .push(&cx, &name, &options, &Log::discard())
                .await
        }
    });
    let connected = Cx::default()
        .blocking(move |_| listener.accept().unwrap())
        .await;
    cx.cancel();
    assert!(matches!(pushing.await.unwrap(), Err(Error::Cancelled)));
    drop(connected);
    engine
        .remove_image(&bench.cx, &name.clone().into())
        .await
        .unwrap();
    eventually("the name is gone", async || {
        engine
            .inspect_image(&bench.cx, &name.clone().into())
            .await
            .is_err()
    })
    .await;
}

/// An image of our own making, with a layer that is compressed by gzip.
fn made(bench: &Bench) -> Image {
    let content = tar(&[("hello", format!("{}\n", bench.name("x")))]);
    let diff_id = Digest::of(&content);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&content).unwrap();
    let blob = BytesBlob::new(MediaType::OCI_LAYER_GZIP, gzip.finish().unwrap());
    let layer = Layer::new(Arc::new(blob), diff_id);
    let image = ImageBuilder::scratch(&Platform::host()).append(layer);
    image.build().unwrap()
}

pub(crate) async fn images_come_from_a_source(bench: Arc<Bench>) {
    let (cx, engine) = (&bench.cx, &bench.engine);
    let image = made(&bench);
    let digest = *image.digest();
    let config = Digest::of(image.config().bytes());
    let name = bench.reference("x");
    let source: Arc<dyn ImageSource> = Arc::new(image);
    let names = [name.clone(), bench.reference("y")];
    let from = Name::Digest(digest);
    let id = engine::load(cx, &**engine, Arc::clone(&source), &from, &names)
        .await
        .unwrap();
    assert_eq!(*id.digest(), config);
    let info = engine.inspect_image(cx, &name.into()).await.unwrap();
    assert_eq!(info.references, names);
    bench.remove(id).await;
    // Without a name.
    let id = engine::load(cx, &**engine, Arc::clone(&source), &from, &[])
        .await
        .unwrap();
    assert_eq!(*id.digest(), config);
    bench.remove(id).await;
    let none = Name::Tag(Tag::latest());
    let error = engine::load(cx, &**engine, source, &none, &[])
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
}

pub(crate) async fn images_go_to_a_source(bench: Arc<Bench>) {
    let (cx, engine) = (&bench.cx, &bench.engine);
    let name = bench.reference("x");
    let text = format!("FROM BASE\nRUN echo {} > /x\n", bench.name("x"));
    let id = bench
        .build(&bench.dockerfile(&text).tag(name.clone()))
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    let limits = SizeLimits::default();
    let images = [ImageName::Reference(name.clone())];
    let archive = engine::save(cx, &**engine, &images, &path, &limits)
        .await
        .unwrap();
    let root = archive.root(&name.to_string()).unwrap().clone();
    bench.remove(id).await;
    // And back.
    let from = Name::Digest(*root.digest());
    let back = engine::load(
        cx,
        &**engine,
        Arc::new(archive),
        &from,
        std::slice::from_ref(&name),
    );
    let back = back.await.unwrap();
    assert_eq!(
        bench.output(back, "cat /x").await,
        format!("{}\n", bench.name("x"))
    );
    assert_eq!(back, id);
    bench.remove(back).await;
    let path = dir.path().join("none.tar");
    let error = engine::save(cx, &**engine, &images, &path, &limits)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
    assert!(!path.exists());
}

pub(crate) async fn a_wrong_archive_is_refused(bench: Arc<Bench>) {
    let (cx, engine) = (&bench.cx, &bench.engine);
    let load = async |pieces: Vec<ocicore::Result<Bytes>>| {
        let loaded = engine.load_archive(cx, stream::iter(pieces).boxed()).await;
        loaded.unwrap_err()
    };
    load(vec![Ok(Bytes::from_static(b"this is no tar"))]).await;
    load(vec![]).await;
    let broken = ocicore::Error::not_found("read", "layer", "the test");
    let error = load(vec![Ok(Bytes::from(vec![0; 512])), Err(broken)]).await;
    assert_eq!(error.to_string(), "failed to read `layer` in the test");
}
