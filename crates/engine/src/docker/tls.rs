//! TLS with an engine: its certificate by the authority of the certificates' directory, ours if
//! there is one (docs.docker.com, "Protect the Docker daemon socket").

use std::{error::Error as StdError, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Error, Result};

/// Reads `ca.pem`, and `cert.pem` and `key.pem` if they are there.
pub(super) fn config(directory: &Path) -> Result<Arc<ClientConfig>> {
    let wrong = |file: &Path, fault: &dyn ToString| Error::Settings {
        place: file.display().to_string(),
        fault: fault.to_string(),
    };
    let certificates = |file: &Path| -> Result<Vec<CertificateDer<'static>>> {
        CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(file, &error))
    };
    let authority = directory.join("ca.pem");
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&authority)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(&authority, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(directory, &error))?
        .with_root_certificates(roots);
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let config = if cert.exists() {
        let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(&key, &error))?;
        builder
            .with_client_auth_cert(certificates(&cert)?, private)
            .map_err(|error| wrong(&cert, &error))?
    } else {
        builder.with_no_client_auth()
    };
    Ok(Arc::new(config))
}

pub(super) async fn connect(
    config: &Arc<ClientConfig>,
    address: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Box<dyn StdError + Send + Sync>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host)?;
    Ok(TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await?)
}
