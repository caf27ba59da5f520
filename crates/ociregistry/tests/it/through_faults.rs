//! The same faults in front of each real server: the image arrives, or the error says where and
//! why, and nothing is left that looks whole and is not.

use std::{sync::Arc, time::Duration};

use futures_util::{TryStreamExt, future::join_all};
use ocicore::{
    Blob, BytesBlob, Cx, Digest, ImageStore, MediaType, Name, Place, RawManifest, Repositories,
    SizeLimits, Tag, conformance::peer::peer, read,
};
use ociregistry::{Credentials, Registry, RegistryBuilder, Retry, Upload};
use registryd::{Access, Auth, Grant, Password, Secret, Server, User, storage::MemoryStorage};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};

use crate::{
    fake::{Fake, Reply},
    proxy::{Fault, Passing, Proxy, Upstream, kind},
    support::{fresh, shown_at},
};

/// Content that is sent as a stream.
const SIZE: usize = 300_000;

struct Case {
    what: &'static str,
    /// Kind of requests to break.
    on: &'static str,
    /// How many of them.
    times: usize,
    fault: Fault,
}

fn instead(status: &str, fields: &str, body: &str) -> Fault {
    let length = body.len();
    Fault::Instead(format!(
        "HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\n\r\n{body}"
    ))
}

/// `elsewhere` has the content, too.
fn cases(elsewhere: &str) -> Vec<Case> {
    let case = |what, on, times, fault| Case {
        what,
        on,
        times,
        fault,
    };
    let always = usize::MAX;
    let list = |link: &str| instead("200 X", &format!("link: {link}\r\n"), r#"{"tags":["v1"]}"#);
    let location = |to: &str| format!("location: {to}\r\n");
    let code = r#"{"errors":[{"code":"DENIED","message":"over the quota"}]}"#;
    let html = "<html>\n<h1>502 Bad Gateway</h1></html>";
    vec![
        case("no fault", "none", 0, Fault::None),
        case(
            "push: begins with 500",
            "POST upload",
            1,
            instead("500 X", "", code),
        ),
        case(
            "push: breaks off",
            "PUT upload",
            1,
            Fault::CutRequest(100_000),
        ),
        case(
            "push: breaks off each time",
            "PUT upload",
            always,
            Fault::CutRequest(100_000),
        ),
        case(
            "push: the answer is lost",
            "PUT upload",
            1,
            Fault::LoseAnswer,
        ),
        case(
            "push: 429 with Retry-After",
            "PUT upload",
            1,
            instead("429 X", "retry-after: 0\r\n", ""),
        ),
        case(
            "push: denied",
            "PUT upload",
            always,
            instead("403 X", "", code),
        ),
        case(
            "push: HTML",
            "POST upload",
            always,
            instead("502 X", "", html),
        ),
        case(
            "push: empty location",
            "POST upload",
            always,
            Fault::Field("location", String::new()),
        ),
        case(
            "push: garbage location",
            "POST upload",
            always,
            Fault::Field("location", "http://[".to_owned()),
        ),
        case(
            "push: location without a host",
            "POST upload",
            1,
            Fault::Relative,
        ),
        case(
            "push: the upload is forgotten",
            "PUT upload",
            1,
            instead(
                "404 X",
                "",
                r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"gone"}]}"#,
            ),
        ),
        case(
            "push: the manifest's answer is lost",
            "PUT manifest",
            1,
            Fault::LoseAnswer,
        ),
        case(
            "push: another digest of the manifest",
            "PUT manifest",
            always,
            Fault::Field("docker-content-digest", Digest::of(b"x").to_string()),
        ),
        case(
            "chunks: one breaks off",
            "PATCH upload",
            1,
            Fault::CutRequest(50_000),
        ),
        case(
            "chunks: an answer is lost",
            "PATCH upload",
            1,
            Fault::LoseAnswer,
        ),
        case(
            "chunks: 503",
            "PATCH upload",
            2,
            instead("503 X", "retry-after: 0\r\n", html),
        ),
        case("pull: breaks off", "GET blob", 1, Fault::CutAnswer(100_000)),
        case(
            "pull: breaks off each time at once",
            "GET blob",
            always,
            Fault::CutAnswer(0),
        ),
        case("pull: byte by byte", "GET blob", always, Fault::Trickle),
        case(
            "pull: a flipped bit",
            "GET blob",
            always,
            Fault::FlipBit(100_000),
        ),
        case(
            "pull: 503 then content",
            "GET blob",
            1,
            instead("503 X", "retry-after: 0\r\n", html),
        ),
        case(
            "pull: less than announced",
            "GET blob",
            always,
            Fault::Field("content-length", "299999".to_owned()),
        ),
        case(
            "pull: redirects for ever",
            "GET blob",
            always,
            instead("307 X", "location: ?again\r\n", ""),
        ),
        case(
            "pull: redirects to another host",
            "GET blob",
            always,
            instead(
                "307 X",
                &location(&format!("http://{elsewhere}/x?signature=1")),
                "",
            ),
        ),
        case(
            "pull: redirects to nowhere",
            "GET blob",
            always,
            instead("302 X", &location(""), ""),
        ),
        case(
            "pull: redirects to garbage",
            "GET blob",
            always,
            instead("302 X", &location("http://["), ""),
        ),
        case(
            "pull: an error of a gigabyte",
            "GET blob",
            always,
            Fault::Huge("403 Forbidden"),
        ),
        case(
            "pull: a flipped bit of the manifest",
            "GET manifest",
            always,
            Fault::FlipBit(20),
        ),
        case(
            "pull: the manifest is cut",
            "GET manifest",
            1,
            Fault::CutAnswer(20),
        ),
        case(
            "pull: the manifest in gzip",
            "GET manifest",
            always,
            Fault::Field("content-encoding", "gzip".to_owned()),
        ),
        case(
            "pull: the manifest byte by byte",
            "GET manifest",
            always,
            Fault::Trickle,
        ),
        case(
            "pull: another digest in the head",
            "GET manifest",
            always,
            Fault::Field("docker-content-digest", Digest::of(b"x").to_string()),
        ),
        case(
            "pull: the manifest has more than announced",
            "GET manifest",
            always,
            Fault::Field("content-length", "30".to_owned()),
        ),
        case(
            "pull: an error of a gigabyte instead of the manifest",
            "GET manifest",
            always,
            Fault::Huge("404 Not Found"),
        ),
        case("list: breaks off", "GET tags", 1, Fault::CutAnswer(5)),
        case(
            "list: 429 with Retry-After",
            "GET tags",
            1,
            instead("429 X", "retry-after: 0\r\n", html),
        ),
        case(
            "list: goes on elsewhere",
            "GET tags",
            always,
            list("<http://127.0.0.2/v2/x/tags/list>; rel=\"next\""),
        ),
        case(
            "list: goes on for ever",
            "GET tags",
            always,
            list("<?n={n}>; rel=\"next\""),
        ),
        case(
            "list: an error of a gigabyte",
            "GET tags",
            always,
            Fault::Huge("403 Forbidden"),
        ),
    ]
}

/// Pushes an image through the proxy, pulls it, and looks for its tag.
async fn through(store: &dyn ImageStore) -> ocicore::Result<()> {
    let cx = Cx::default();
    let bytes = content();
    let layer = BytesBlob::new(MediaType::OCI_LAYER, bytes.clone());
    store.put_blob(&cx, &layer).await?;
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": layer.descriptor(), "layers": [],
    });
    let manifest = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
    let tag = "v1".parse()?;
    store
        .put_manifest(&cx, &manifest, Place::Root(&[tag]))
        .await?;
    let pulled = store.manifest(&cx, &Name::Tag("v1".parse()?)).await?;
    assert_eq!(pulled, manifest);
    let content = read(&*store.blob(layer.descriptor()), 1 << 20).await?;
    assert_eq!(content, bytes);
    let tags: Vec<Tag> = store.tags(&cx).try_collect().await?;
    assert_eq!(tags, ["v1".parse()?]);
    Ok(())
}

fn content() -> Vec<u8> {
    (0..=250).cycle().take(SIZE).collect()
}

/// What comes of all cases, which run at once.
async fn run(upstream: Upstream, login: Option<Credentials>) -> String {
    let elsewhere = Fake::new(|_, _| Reply::new(200).body(content())).await;
    let outcomes = cases(&elsewhere.host)
        .into_iter()
        .map(|case| outcome(case, &upstream, &login));
    let report = join_all(outcomes).await.concat();
    let asked = elsewhere.requests();
    assert_eq!(elsewhere.lines(), ["GET /x?signature=1"]);
    assert_eq!(asked[0].header("authorization"), None);
    let user = login.as_ref().and_then(Credentials::as_basic);
    let Some((user, _)) = user else { return report };
    // Who is logged in is told who was refused; the rest is as for anybody.
    let who = format!("    `HOST` forbids that to `{user}`\n");
    assert_eq!(report.matches(&who).count(), 3, "{report}");
    report.replace(&who, "")
}

async fn outcome(case: Case, upstream: &Upstream, login: &Option<Credentials>) -> String {
    let Case {
        what,
        on,
        times,
        fault,
    } = case;
    let decide = move |passing: &Passing, before: usize| match kind(passing) == on {
        true if before < times => fault.clone(),
        _ => Fault::None,
    };
    let proxy = Proxy::new(upstream.clone(), decide).await;
    let upload = match what.starts_with("chunks") {
        true => Upload::Chunked(100_000),
        false => Upload::Monolithic,
    };
    let registry = client(&proxy.host, login.clone()).upload(upload).build();
    let name = fresh(&proxy.host);
    let result = through(&*registry.repository(&name).unwrap()).await;
    assert!(
        times == 0 || proxy.count(on) > 0,
        "{what}: the fault never came"
    );
    let said = match result {
        Ok(()) => "arrives".to_owned(),
        Err(error) => shown_at(&error, &name),
    };
    assert!(
        said == "arrives" || said.contains("HOST") || said.contains("NAME"),
        "{what}: {said}"
    );
    format!("{what}: {said}\n")
}

/// Patient with a busy machine, but not with a server that dawdles.
fn client(host: &str, login: Option<Credentials>) -> RegistryBuilder {
    let (first, longest) = (Duration::from_millis(1), Duration::from_millis(5));
    let builder = Registry::builder()
        .retry(
            Retry::default()
                .with_attempts(3)
                .with_pauses(first, longest),
        )
        .stall_timeout(Duration::from_secs(5))
        .limits(SizeLimits::default().with_documents(64 << 10));
    match login {
        Some(login) => builder.credentials(host, login),
        None => builder,
    }
}

#[tokio::test]
async fn our_server() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let upstream = Upstream {
        host: server.addr().to_string(),
        tls: None,
    };
    insta::assert_snapshot!("faults", run(upstream, None).await);
}

#[tokio::test]
async fn docker_registry_plain() {
    let Some(host) = peer("REGISTRY") else { return };
    let upstream = Upstream { host, tls: None };
    insta::assert_snapshot!("faults", run(upstream.clone(), None).await);
    // Who never asked who one is asks in the middle of a push.
    let login = Credentials::basic("me", "secret");
    let asks = instead("401 X", "www-authenticate: Basic realm=\"x\"\r\n", "");
    assert_eq!(in_mid_push(upstream, login, asks).await, "arrives\n");
}

/// A token that is lost on its way, as if it had expired.
#[tokio::test]
async fn our_server_with_tokens() {
    let me = User::new("me", Password::plain("secret")).unwrap();
    let me = me.grant(Grant::everything(Access::Write));
    let server = Server::builder(MemoryStorage::new())
        .auth(Auth::bearer(Secret::random().unwrap()).user(me))
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let upstream = Upstream {
        host: server.addr().to_string(),
        tls: None,
    };
    let login = Credentials::basic("me", "secret");
    assert_eq!(
        in_mid_push(upstream, login, Fault::Anonymous).await,
        "arrives\n"
    );
}

/// What comes of a 401 to the first request that brings content.
async fn in_mid_push(upstream: Upstream, login: Credentials, fault: Fault) -> String {
    let case = Case {
        what: "401",
        on: "PUT upload",
        times: 1,
        fault,
    };
    let said = outcome(case, &upstream, &Some(login)).await;
    said.trim_start_matches("401: ").to_owned()
}

#[tokio::test]
async fn docker_registry_with_tls_and_password() {
    let Some(host) = peer("REGISTRY_TLS") else {
        return;
    };
    let (Some(ca), Some(user), Some(password)) = (
        peer("REGISTRY_TLS_CA"),
        peer("REGISTRY_TLS_USER"),
        peer("REGISTRY_TLS_PASSWORD"),
    ) else {
        return;
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let upstream = Upstream {
        host,
        tls: Some(Arc::new(config)),
    };
    let login = Credentials::basic(&user, password);
    let report = run(upstream.clone(), Some(login.clone())).await;
    insta::assert_snapshot!("faults", report);
    // A password that was refused is not sent again.
    let said = in_mid_push(upstream, login, Fault::Anonymous).await;
    insta::assert_snapshot!(said.replace(&user, "USER"));
}
