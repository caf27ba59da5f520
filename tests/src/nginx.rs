//! nginx as a repository: files that are put are kept, for whoever knows the password.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// The user that nginx knows.
pub const USER: &str = "deployer";
/// The user's password.
pub const PASSWORD: &str = "s3cret pass";

/// nginx in a folder of its own, ended when dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    port: u16,
    scheme: &'static str,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx on a free port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(program: &str) -> Self {
        Self::start_as(program, None)
    }

    /// Starts nginx on a free port, with TLS by `server.pem` and `server.key` in a folder.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with_tls(program: &str, certificate: &Path) -> Self {
        Self::start_as(program, Some(certificate))
    }

    fn start_as(program: &str, certificate: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        fs::create_dir(folder.path().join("root")).expect("the folder is empty");
        let password = format!("{USER}:{{PLAIN}}{PASSWORD}\n");
        fs::write(folder.path().join("htpasswd"), password).expect("the folder is ours");
        // Another process may take the port before nginx does: then the next one.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            let port = port.expect("the loopback interface has ports").port();
            if let Some(child) = start(program, folder.path(), port, certificate) {
                return Self {
                    child,
                    port,
                    scheme: if certificate.is_some() {
                        "https"
                    } else {
                        "http"
                    },
                    folder,
                };
            }
        }
        panic!("there is no port for nginx")
    }

    /// `http://127.0.0.1:<port>`, or `https`.
    pub fn base(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The files.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// What it was asked for, a line each.
    ///
    /// # Panics
    /// If it was asked for nothing.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("access.log")).expect("it writes a log")
    }

    /// A netrc file with the password.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn netrc(&self) -> PathBuf {
        let path = self.folder.path().join("netrc");
        let text = format!("machine 127.0.0.1 login {USER} password \"{PASSWORD}\"\n");
        fs::write(&path, text).expect("the folder is ours");
        path
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it; none if the port is taken.
fn start(program: &str, folder: &Path, port: u16, certificate: Option<&Path>) -> Option<Child> {
    let at = folder.display();
    let (flag, tls) = match certificate.map(Path::display) {
        Some(tls) => (
            " ssl",
            format!("ssl_certificate {tls}/server.pem;\n    ssl_certificate_key {tls}/server.key;"),
        ),
        None => ("", String::new()),
    };
    let config = format!(
        "daemon off;
master_process off;
pid {at}/pid;
error_log stderr notice;
events {{}}
http {{
  access_log {at}/access.log;
  client_max_body_size 0;
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  server {{
    listen 127.0.0.1:{port}{flag};
    {tls}
    root {at}/root;
    auth_basic repository;
    auth_basic_user_file {at}/htpasswd;
    dav_methods PUT DELETE;
    create_full_put_path on;
  }}
}}
"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config).expect("the folder is ours");
    let mut child = Command::new(program)
        .args(["-e", "stderr", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(&path)
        .stderr(Stdio::piped())
        .spawn()
        .expect("nginx is a program");
    // nginx writes its process id once it listens.
    while !folder.join("pid").exists() {
        if child.try_wait().expect("it is our child").is_some() {
            let said = child.stderr.take().map(BufReader::new);
            let lines = said.into_iter().flat_map(BufRead::lines);
            let said: Vec<_> = lines.map_while(Result::ok).collect();
            let said = said.join("\n");
            assert!(said.contains("Address already in use"), "nginx: {said}");
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(child)
}
