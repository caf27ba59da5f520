//! Certificates of one's own.

use std::sync::Arc;

use ocicore::{Class, Cx, Repositories};
use ociregistry::HostOptions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{quick, shown};

/// An authority, and a certificate and key by it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
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
}

/// A server that answers only whom `clients` vouches for.
async fn serve(server: &Authority, clients: &Authority) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.0.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let (certificate, key) = server.issue();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
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
    let trusting = HostOptions::default().with_ca_pem(server.0.pem());
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
