//! Debian's `docker-registry`, twice: plain, and with TLS and a password.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::failure::{Context as _, Result};
use crate::process;

use super::daemon;
use super::home::{self, Home};
use super::report::Report;
use super::tools;

const USER: &str = "gantry";

/// Starts both and pushes an image to each.
pub(super) fn start(home: &Home, report: &mut Report) {
    match start_plain(home) {
        Ok(address) => {
            report.have("registry", &address);
            report.set("REGISTRY", address);
        }
        Err(failure) => report.lack("registry", failure),
    }
    match start_tls(home) {
        Ok((address, password)) => {
            report.have("registry, TLS", format!("{address}, user {USER}"));
            report.set("REGISTRY_TLS", address);
            report.set("REGISTRY_TLS_CA", home.at("registry-tls/ca.pem").display());
            report.set("REGISTRY_TLS_USER", USER);
            report.set("REGISTRY_TLS_PASSWORD", password);
        }
        Err(failure) => report.lack("registry, TLS", failure),
    }
}

fn start_plain(home: &Home) -> Result<String> {
    let address = serve(home, "registry", "", "")?;
    push_probe(home, &address, &["--dest-tls-verify=false"])?;
    Ok(address)
}

fn start_tls(home: &Home) -> Result<(String, String)> {
    let dir = home.at("registry-tls");
    fs::create_dir_all(&dir).context(|| format!("creating `{}`", dir.display()))?;
    if !dir.join("server.pem").exists() {
        make_certificates(&dir)?;
    }
    let password = password(&dir)?;
    let at = dir.display();
    let tls = format!("  tls: {{certificate: {at}/server.pem, key: {at}/server.key}}\n");
    let auth = format!("auth:\n  htpasswd: {{realm: gantry, path: {at}/htpasswd}}\n");
    let address = serve(home, "registry-tls", &tls, &auth)?;

    // skopeo takes the certificates of a host from a folder.
    let certs = dir.join("certs");
    fs::create_dir_all(&certs).context(|| format!("creating `{}`", certs.display()))?;
    fs::copy(dir.join("ca.pem"), certs.join("ca.crt"))
        .context(|| format!("writing `{}/ca.crt`", certs.display()))?;
    let certs = certs.display().to_string();
    let credentials = format!("{USER}:{password}");
    push_probe(
        home,
        &address,
        &["--dest-cert-dir", &certs, "--dest-creds", &credentials],
    )?;
    Ok((address, password))
}

/// Starts a registry, or finds the one that we started before.
fn serve(home: &Home, name: &str, tls: &str, auth: &str) -> Result<String> {
    let dir = home.at(name);
    fs::create_dir_all(&dir).context(|| format!("creating `{}`", dir.display()))?;
    let port_file = dir.join("port");
    let before = fs::read_to_string(&port_file)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    if let Some(port) = before
        && daemon::pid(home, name).is_some()
    {
        return Ok(format!("127.0.0.1:{port}"));
    }
    daemon::stop(home, name)?;
    let port = free_port(before.unwrap_or(0))?;
    let address = format!("127.0.0.1:{port}");
    let data = dir.join("data");
    let config = dir.join("config.yml");
    let content = format!(
        "version: 0.1\n\
         log: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage:\n\
         \x20 filesystem: {{rootdirectory: {data}}}\n\
         \x20 delete: {{enabled: true}}\n\
         http:\n\
         \x20 addr: {address}\n\
         {tls}{auth}",
        data = data.display(),
    );
    home::write(&config, &content)?;
    let mut command = Command::new(tools::path("docker-registry")?);
    command.arg("serve").arg(&config);
    daemon::start(home, name, &mut command, Duration::from_secs(20), || {
        TcpStream::connect(&address).is_ok()
    })?;
    home::write(&port_file, &format!("{port}\n"))?;
    Ok(address)
}

/// A port that nobody listens on: the one wished for, if it is still free.
fn free_port(wish: u16) -> Result<u16> {
    let bound = TcpListener::bind(("127.0.0.1", wish))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .and_then(|listener| listener.local_addr())
        .context(|| "looking for a free port on 127.0.0.1".to_owned())?;
    Ok(bound.port())
}

/// Pushes an image without layers; that takes certificates, password and storage to be right.
fn push_probe(home: &Home, address: &str, options: &[&str]) -> Result<()> {
    let layout = home.at("cache/probe");
    let image = format!("{}:latest", layout.display());
    if !layout.join("index.json").exists() {
        let umoci = tools::path("umoci")?;
        process::output(
            Command::new(&umoci)
                .arg("init")
                .arg("--layout")
                .arg(&layout),
        )?;
        process::output(Command::new(&umoci).args(["new", "--image", &image]))?;
    }
    let mut copy = Command::new(tools::path("skopeo")?);
    copy.args(["--insecure-policy", "copy"]).args(options);
    copy.arg(format!("oci:{image}"))
        .arg(format!("docker://{address}/gantry/probe:1"));
    process::output(&mut copy).map(drop)
}

/// A certificate authority of our own and a certificate for 127.0.0.1.
fn make_certificates(dir: &Path) -> Result<()> {
    let config = "[req]\n\
        distinguished_name = name\n\
        [name]\n\
        [ca]\n\
        basicConstraints = critical, CA:TRUE\n\
        keyUsage = critical, keyCertSign, cRLSign\n\
        subjectKeyIdentifier = hash\n\
        [server]\n\
        basicConstraints = critical, CA:FALSE\n\
        keyUsage = critical, digitalSignature\n\
        extendedKeyUsage = serverAuth\n\
        subjectAltName = IP:127.0.0.1, DNS:localhost\n\
        authorityKeyIdentifier = keyid\n";
    home::write(&dir.join("openssl.cnf"), config)?;
    let openssl = |line: &str| -> Result<()> {
        let mut command = Command::new(tools::path("openssl")?);
        command.current_dir(dir).args(line.split(' '));
        process::output(&mut command).map(drop)
    };
    openssl(
        "req -x509 -config openssl.cnf -extensions ca -newkey ec -pkeyopt \
         ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=gantry-test-ca -keyout ca.key \
         -out ca.pem",
    )?;
    openssl(
        "req -new -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
         -subj /CN=127.0.0.1 -keyout server.key -out server.csr",
    )?;
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile openssl.cnf \
         -extensions server -days 3650 -out server.pem.part",
    )?;
    fs::rename(dir.join("server.pem.part"), dir.join("server.pem"))
        .context(|| format!("renaming `{}/server.pem.part`", dir.display()))
}

/// The user's password; made up and written down, hashed and plain, when there is none.
fn password(dir: &Path) -> Result<String> {
    let plain = dir.join("password");
    if let Ok(password) = fs::read_to_string(&plain) {
        return Ok(password.trim().to_owned());
    }
    let mut random = [0_u8; 12];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context(|| "reading `/dev/urandom`".to_owned())?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // The registry takes bcrypt only.
    let mut htpasswd = Command::new(tools::path("htpasswd")?);
    let line = process::output(htpasswd.args(["-nbB", USER, &password]))?;
    home::write(&dir.join("htpasswd"), &format!("{line}\n"))?;
    home::write(&plain, &format!("{password}\n"))?;
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_taken() {
        let busy = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has ports");
        let wish = busy
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let port = free_port(wish).expect("another port is free");
        assert_ne!(port, wish);
    }
}
