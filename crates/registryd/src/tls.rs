use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use ocicore::Cx;
use rustls::{
    ServerConfig, crypto,
    pki_types::{CertificateDer, DnsName, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::{Error, Result};

/// How often files are looked at for a new certificate.
const LOOK: Duration = Duration::from_secs(1);
/// No certificate chain or key is larger.
const LARGEST: u64 = 1 << 20;

/// Certificate and key of a server.
///
/// ```
/// let tls = registryd::Tls::self_signed(["localhost", "127.0.0.1", "::1"])?;
/// assert!(tls.certificate().starts_with("-----BEGIN CERTIFICATE-----"));
/// # Ok::<(), registryd::Error>(())
/// ```
pub struct Tls {
    certificate: String,
    files: Option<Files>,
    state: Mutex<State>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

struct State {
    config: Arc<ServerConfig>,
    /// Change times of the files.
    stamps: Option<(SystemTime, SystemTime)>,
    looked: Instant,
}

impl Tls {
    /// A certificate of its own for host names and addresses. Clients have to be given it, see
    /// [`Tls::certificate`].
    ///
    /// # Errors
    /// [`Error::Setting`] if one is neither.
    pub fn self_signed(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
            let fault = "expected a host name or an address, without a port";
            return Err(setting("certificate name", wrong, fault));
        }
        let made = rcgen::generate_simple_self_signed(names.clone());
        let made = made.map_err(|error| setting("certificate names", &names.join(", "), error))?;
        Self::from_pem(&made.cert.pem(), &made.signing_key.serialize_pem())
    }

    /// A certificate chain and its key, in PEM.
    ///
    /// # Errors
    /// If they are not, or do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self> {
        let config = config(certificate.as_bytes(), key.as_bytes())
            .map_err(|fault| setting("certificate", &"in memory", fault))?;
        Ok(Self::new(certificate.to_owned(), None, config, None))
    }

    /// The same from files. They are read again when they change, for connections from then on;
    /// should that fail, the certificate before stays.
    ///
    /// # Errors
    /// As [`Tls::from_pem`], or if they cannot be read.
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self> {
        let files = Files {
            certificate: certificate.into(),
            key: key.into(),
        };
        let stamps = files.stamps()?;
        let (text, config) = files.load()?;
        Ok(Self::new(text, Some(files), config, Some(stamps)))
    }

    /// The certificate chain, in PEM, for clients that are to trust it; that of the start, if it
    /// comes from files.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    fn new(
        certificate: String,
        files: Option<Files>,
        config: Arc<ServerConfig>,
        stamps: Option<(SystemTime, SystemTime)>,
    ) -> Self {
        Self {
            certificate,
            files,
            state: Mutex::new(State {
                config,
                stamps,
                looked: Instant::now(),
            }),
        }
    }

    /// For one connection.
    pub(crate) async fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let due = {
            let state = self.lock();
            self.files.is_some() && state.looked.elapsed() >= LOOK
        };
        if due {
            let own = Arc::clone(self);
            Cx::default().blocking(move |_| own.look()).await;
        }
        TlsAcceptor::from(Arc::clone(&self.lock().config))
    }

    fn look(&self) {
        let Some(files) = &self.files else { return };
        {
            let mut state = self.lock();
            if state.looked.elapsed() < LOOK {
                return;
            }
            state.looked = Instant::now();
        }
        let stamps = match files.stamps() {
            Ok(stamps) if self.lock().stamps == Some(stamps) => return,
            Ok(stamps) => stamps,
            Err(error) => {
                tracing::warn!(%error, "keeping the certificate that is in use");
                return;
            }
        };
        match files.load() {
            Ok((_, config)) => {
                let mut state = self.lock();
                state.config = config;
                state.stamps = Some(stamps);
                tracing::info!(path = %files.certificate.display(), "new certificate");
            }
            // One of the two may be still to come.
            Err(error) => tracing::warn!(%error, "keeping the certificate that is in use"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Files {
    fn stamps(&self) -> Result<(SystemTime, SystemTime)> {
        let stamp = |path: &Path| {
            let modified = fs::metadata(path).and_then(|meta| meta.modified());
            modified.map_err(|error| setting("certificate file", &path.display(), error))
        };
        Ok((stamp(&self.certificate)?, stamp(&self.key)?))
    }

    fn load(&self) -> Result<(String, Arc<ServerConfig>)> {
        let read = |path: &Path| {
            let text = match fs::metadata(path) {
                Ok(meta) if meta.len() > LARGEST => Err(io::ErrorKind::FileTooLarge.into()),
                Ok(_) => fs::read_to_string(path),
                Err(error) => Err(error),
            };
            text.map_err(|error| setting("certificate file", &path.display(), error))
        };
        let certificate = read(&self.certificate)?;
        let config = config(certificate.as_bytes(), read(&self.key)?.as_bytes())
            .map_err(|fault| setting("certificate", &self.certificate.display(), fault))?;
        Ok((certificate, config))
    }
}

fn config(certificate: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("expected certificates in PEM: {error}"))?;
    if chain.is_empty() {
        return Err("expected certificates in PEM, found none".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("expected a private key in PEM: {error}"))?;
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// An address, or a host name, the first label of which may be `*`.
fn is_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<IpAddr>().is_ok() || DnsName::try_from(host).is_ok()
}

fn setting(what: &'static str, value: &dyn fmt::Display, fault: impl fmt::Display) -> Error {
    Error::Setting {
        what,
        value: value.to_string(),
        fault: fault.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        let made = Tls::self_signed(["localhost"]).unwrap();
        for (certificate, key) in [("", ""), (made.certificate(), ""), ("x", "x")] {
            let error = Tls::from_pem(certificate, key).unwrap_err();
            assert!(matches!(error, Error::Setting { .. }), "{error}");
        }
        for name in ["", "a b", "localhost:5000", "https://localhost", "[::1]"] {
            let error = Tls::self_signed(["localhost", name]).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        for name in [
            "node1",
            "*.example.org",
            "::1",
            "zuul-jobs.buildset-registry",
        ] {
            Tls::self_signed([name]).unwrap();
        }
        let missing = Tls::from_files("/nope/a.pem", "/nope/b.pem").unwrap_err();
        assert!(missing.to_string().contains("/nope/a.pem"), "{missing}");
    }
}
