use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use gating::{
    Secret,
    buildset::{self, BuildsetRegistry},
};
use ocicore::Cx;
use registryd::{
    Access, Auth, Grant, Password, Server, Tls, User,
    storage::{Durability, FsStorage},
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Common, Failure, Result, print};

/// How long requests in progress may take when the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Port of a buildset registry, as in Zuul's role.
const PORT: u16 = 5000;

/// A buildset registry: who knows the password writes, and everybody reads.
#[derive(clap::Args, Debug)]
pub struct RunBuildset {
    /// Name or address by which jobs reach this machine
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Where to listen; port 0 takes a free one [default: port 5000, of all addresses unless the
    /// host is a loopback address]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Keep images here, also after the end [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Where to write host, port, user, password and certificate; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "buildset_registry.json")]
    output: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl RunBuildset {
    /// Runs the registry until SIGTERM or Ctrl-C. Its file is there once it answers.
    ///
    /// # Errors
    /// If it cannot listen, or cannot write its files.
    pub async fn run(self, cx: &Cx, common: Common) -> Result<()> {
        let names = buildset::certificate_names(&self.host);
        let tls = Tls::self_signed(names.clone()).map_err(failure)?;
        let cert = tls.certificate().to_owned();
        let password = Secret::random()?;
        let listen = self.listen.unwrap_or_else(|| default_listen(&self.host));
        // Refuses a wrong host before anything is done.
        BuildsetRegistry::new(&self.host, listen.port(), password.clone(), cert.clone())?;
        if self.dry_run {
            let plan = json!({
                "host": self.host, "listen": listen, "certificate_names": names,
                "username": buildset::USERNAME, "storage": self.storage, "output": self.output,
            });
            return print(common, &plan, |_| {
                format!(
                    "serve on {listen}, with a certificate for {}, and write {}",
                    names.join(", "),
                    self.output.display()
                )
            });
        }

        let mut terminate = signal(SignalKind::terminate())?;
        let temporary = tempfile::tempdir()?;
        let root = self.storage.as_deref().unwrap_or(temporary.path());
        let storage = FsStorage::with_durability(root, Durability::ProcessCrash)?;
        let server = Server::builder(storage).auth(auth(&password)?).tls(tls);
        let server = server.bind(&listen.to_string()).await.map_err(failure)?;
        let registry = BuildsetRegistry::new(&self.host, server.addr().port(), password, cert)?;
        self.announce(common, &registry)?;
        tokio::select! {
            _ = terminate.recv() => {}
            () = cx.cancelled() => {}
        }
        // Who still sends after the time of grace is cut off.
        let _ = tokio::time::timeout(GRACE, server.shutdown()).await;
        Ok(())
    }

    /// The password goes where the user says, and nowhere else.
    fn announce(&self, common: Common, registry: &BuildsetRegistry) -> Result<()> {
        let value = registry.return_value();
        if self.output == Path::new("-") {
            let common = Common {
                json: false,
                ..common
            };
            return print(common, &(), |()| value);
        }
        gating::write_private(&self.output, value.as_bytes())?;
        print(common, registry, |registry| {
            format!(
                "buildset registry {} for user {}; password and certificate are in {}",
                registry.address(),
                registry.username(),
                self.output.display()
            )
        })
    }
}

fn default_listen(host: &str) -> SocketAddr {
    let address = match host.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => address,
        _ if host == "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(address, PORT)
}

fn auth(password: &Secret) -> Result<Auth> {
    let writer = User::new(buildset::USERNAME, Password::plain(password.expose()))
        .map_err(failure)?
        .grant(Grant::everything(Access::Write));
    let secret = registryd::Secret::random().map_err(failure)?;
    Ok(Auth::bearer(secret)
        .user(writer)
        .anonymous(Grant::everything(Access::Read)))
}

fn failure(error: registryd::Error) -> Failure {
    Failure::new(error.class(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_registry_is_not_open_to_the_network() {
        for (host, listen) in [
            ("127.0.0.1", "127.0.0.1:5000"),
            ("localhost", "127.0.0.1:5000"),
            ("::1", "[::1]:5000"),
            ("10.0.0.7", "[::]:5000"),
            ("node.example", "[::]:5000"),
        ] {
            assert_eq!(default_listen(host).to_string(), listen);
        }
    }
}
