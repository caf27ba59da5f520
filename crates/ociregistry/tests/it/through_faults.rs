//! The same faults in front of each real server: the image arrives, or the error says where and
//! why, and nothing is left that looks whole and is not.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use ocicore::{
    Blob, BytesBlob, Cx, Digest, ImageStore, MediaType, Name, Place, RawManifest, Repositories,
    conformance::peer::peer, read,
};
use ociregistry::{Credentials, Registry, RegistryBuilder, Retry};
use registryd::{Server, storage::MemoryStorage};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};

use crate::{
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

fn cases() -> Vec<Case> {
    let case = |what, on, times, fault| Case {
        what,
        on,
        times,
        fault,
    };
    let always = usize::MAX;
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
        case("pull: breaks off", "GET blob", 1, Fault::CutAnswer(100_000)),
        case(
            "pull: breaks off each time at once",
            "GET blob",
            always,
            Fault::CutAnswer(0),
        ),
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
    ]
}

/// Pushes an image through the proxy and pulls it.
async fn through(store: &dyn ImageStore) -> ocicore::Result<()> {
    let cx = Cx::default();
    let bytes: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
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
    Ok(())
}

/// What comes of all cases, which run at once.
async fn run(upstream: Upstream, login: Option<Credentials>) -> String {
    let outcomes = cases()
        .into_iter()
        .map(|case| outcome(case, &upstream, &login));
    join_all(outcomes).await.concat()
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
    let registry = client(&proxy.host, login.clone()).build();
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
        .stall_timeout(Duration::from_secs(5));
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
    insta::assert_snapshot!("faults", run(upstream, None).await);
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
    let login = Some(Credentials::basic(user, password));
    insta::assert_snapshot!("faults", run(upstream, login).await);
}
