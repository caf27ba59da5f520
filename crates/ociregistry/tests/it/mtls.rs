//! Certificates of one's own.

use std::{fs, path::Path, sync::Arc};

use ocicore::{Class, Cx, Repositories};
use ociregistry::{Error, HostOptions, Hosts};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use registryd::{Server, storage::MemoryStorage};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    fake::{Fake, Reply},
    support::{quick, shown},
};

/// An authority, and a certificate and key by it.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    fn identity(&self) -> String {
        let (certificate, key) = self.issue();
        certificate.pem() + &key.serialize_pem()
    }

    /// What a client trusts this authority by.
    pub(crate) fn trust(&self) -> HostOptions {
        HostOptions::default().with_ca_pem(self.0.pem())
    }

    /// A server with a certificate by it, that answers only whom `clients` vouches for, if there
    /// are such.
    pub(crate) fn server(&self, clients: Option<&Self>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.0.der().clone()).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (certificate, key) = self.issue();
        let chain = vec![certificate.der().clone()];
        let config = config.with_single_cert(chain, key.serialize_der().try_into().unwrap());
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}

#[tokio::test]
async fn who_is_asked_in_the_wrong_way_is_said() {
    let authority = Authority::new();
    let secured = Fake::secured(authority.server(None), |_, _| Reply::new(200)).await;
    let plain = Server::builder(MemoryStorage::new());
    let plain = plain.bind("127.0.0.1:0").await.unwrap();
    let plain_host = plain.addr().to_string();
    let (tls, http) = (HostOptions::default().with_tls(), HostOptions::default());
    for (host, options, class, advice) in [
        (
            &secured.host,
            &http,
            Class::Transient,
            "it was asked in plain HTTP, and may speak TLS",
        ),
        (
            &secured.host,
            &tls,
            Class::Other,
            "its certificate is of no authority that is trusted here",
        ),
        (
            &plain_host,
            &tls,
            Class::Other,
            "it was asked by TLS, and may speak plain HTTP",
        ),
    ] {
        let registry = quick().host(host, options.clone()).build();
        let name = format!("{host}/a/b").parse().unwrap();
        let store = registry.repository(&name).unwrap();
        let (cx, name) = (Cx::default(), "v1".parse().unwrap());
        let error = store.resolve(&cx, &name).await.unwrap_err();
        assert_eq!(error.class(), class);
        let text = error.find::<Error>().unwrap().to_string();
        let text = text.replace(host, "HOST");
        assert_eq!(
            text,
            format!("no answer from `HOST/a/b` to `HEAD`: {advice}")
        );
    }
}

/// A server that answers only whom `clients` vouches for.
async fn serve(server: &Authority, clients: &Authority) -> String {
    let acceptor = server.server(Some(clients));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who shows no certificate, or a wrong one, gets no further.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok() {
                let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    host
}

#[tokio::test]
async fn a_certificate_is_shown_to_who_asks_for_it() {
    let (server, clients) = (Authority::new(), Authority::new());
    let host = serve(&server, &clients).await;
    let ask = async |options: HostOptions| {
        let registry = quick().host(&host, options).build();
        let store = registry
            .repository(&format!("{host}/a").parse().unwrap())
            .unwrap();
        store
            .resolve(&Cx::default(), &"v1".parse().unwrap())
            .await
            .unwrap_err()
    };
    let trusting = server.trust();
    let known = ask(trusting
        .clone()
        .with_client_identity_pem(clients.identity()))
    .await;
    assert_eq!(known.class(), Class::NotFound, "{known:?}");
    let stranger = ask(trusting.clone().with_client_identity_pem(server.identity())).await;
    assert_ne!(stranger.class(), Class::NotFound, "{stranger:?}");
    let nobody = ask(trusting.clone()).await;
    assert_ne!(nobody.class(), Class::NotFound, "{nobody:?}");
    let broken = ask(trusting.with_client_identity_pem("no key")).await;
    assert_eq!(broken.class(), Class::Other);
    assert!(shown(&broken, &[]).contains("failed to set up TLS"));
}

/// What came of asking the server: it answers 404 to whom it lets in.
async fn ask(host: &str, hosts: Hosts) -> Class {
    let registry = quick().hosts(hosts).build();
    let name = format!("{host}/a").parse().unwrap();
    let store = registry.repository(&name).unwrap();
    let error = store.resolve(&Cx::default(), &"v1".parse().unwrap()).await;
    error.unwrap_err().class()
}

/// Files with the authority of the server, and a certificate and key of one's own.
fn write(directory: &Path, server: &Authority, clients: &Authority) {
    let (certificate, key) = clients.issue();
    fs::create_dir_all(directory).unwrap();
    for (name, pem) in [
        ("ca.crt", server.0.pem()),
        ("me.cert", certificate.pem()),
        ("me.key", key.serialize_pem()),
        ("both.pem", certificate.pem() + &key.serialize_pem()),
    ] {
        fs::write(directory.join(name), pem).unwrap();
    }
}

#[tokio::test]
async fn hosts_of_containerd_have_certificates() {
    let (server, clients) = (Authority::new(), Authority::new());
    let host = serve(&server, &clients).await;
    let base = tempfile::tempdir().unwrap();
    let (name, port) = host.split_once(':').unwrap();
    let directory = base.path().join(format!("{name}_{port}_"));
    write(&directory, &server, &clients);
    let absolute = directory.join("ca.crt").display().to_string();
    let pair = "client = [['me.cert', 'me.key']]";
    let as_host = format!("[host.'https://{host}']");
    for (text, gets_in) in [
        (format!("ca = 'ca.crt'\n{pair}"), true),
        (format!("ca = ['{absolute}']\nclient = 'both.pem'"), true),
        (format!("skip_verify = true\n{pair}"), true),
        (format!("skip_verify = false\n{pair}"), false),
        ("ca = 'ca.crt'".to_owned(), false),
        ("skip_verify = true".to_owned(), false),
    ] {
        for text in [
            format!("server = 'https://{host}'\n{text}"),
            format!("{as_host}\n{text}"),
        ] {
            fs::write(directory.join("hosts.toml"), &text).unwrap();
            let hosts = Hosts::from_containerd(base.path()).unwrap();
            let class = ask(&host, hosts).await;
            assert_eq!(class == Class::NotFound, gets_in, "{class:?} {text}");
        }
    }
}

#[tokio::test]
async fn certs_d_has_certificates() {
    let (server, clients) = (Authority::new(), Authority::new());
    let host = serve(&server, &clients).await;
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join(&host);
    write(&directory, &server, &clients);
    let ask = async || ask(&host, Hosts::from_certs_d(base.path()).unwrap()).await;
    assert_eq!(ask().await, Class::NotFound);
    // Without a key nothing is shown, without an authority nobody is trusted.
    fs::remove_file(directory.join("me.cert")).unwrap();
    assert_ne!(ask().await, Class::NotFound);
    write(&directory, &clients, &clients);
    assert_ne!(ask().await, Class::NotFound);
}
