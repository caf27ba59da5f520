//! An engine behind TLS: a proxy that ends it, before the socket of a real engine.

use std::{fs, path::Path, sync::Arc};

use engine::{ContainerEngine, Docker, Error, Owner, docker::Endpoint};
use ocicore::{Class, Cx, conformance::peer::peer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
};
use tokio_rustls::TlsAcceptor;

/// Certificates of both sides in a directory, as Docker's documentation has them.
fn certificates(dir: &Path) -> Arc<ServerConfig> {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (server, server_key) = issue("127.0.0.1");
    let (client, client_key) = issue("client");
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    fs::write(dir.join("cert.pem"), client).unwrap();
    fs::write(dir.join("key.pem"), client_key).unwrap();

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(server.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(server_key.as_bytes()).unwrap(),
        )
        .unwrap();
    Arc::new(config)
}

#[tokio::test]
async fn an_engine_is_reached_by_tls_with_certificates_of_both_sides() {
    let Some(host) = peer("DOCKER_HOST") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let acceptor = TlsAcceptor::from(certificates(dir.path()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let socket = host.strip_prefix("unix://").unwrap().to_owned();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, socket) = (acceptor.clone(), socket.clone());
            tokio::spawn(async move {
                // A client that is refused is what one of the cases is about.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut engine = UnixStream::connect(socket).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut engine).await;
            });
        }
    });
    let cx = Cx::default();
    let connect = async |certificates: &Path| {
        let endpoint = Endpoint::parse(
            &format!("tcp://{address}"),
            Some(certificates.to_owned()),
            "the test",
        );
        Docker::connect(&cx, &endpoint.unwrap(), Owner::new("tls").unwrap()).await
    };
    let engine = connect(dir.path()).await.unwrap();
    engine.images(&cx, &[]).await.unwrap();

    // Another authority's server, and a client without a certificate.
    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    let error = connect(other.path()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let anonymous = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join("ca.pem"), anonymous.path().join("ca.pem")).unwrap();
    let error = connect(anonymous.path()).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error:?}");
    let none = connect(&dir.path().join("none")).await.unwrap_err();
    assert_eq!(none.class(), Class::Invalid, "{none:?}");
}
