//! `job2docker publish` as users see it: passwords, certificates, images.

use std::{fs, path::Path, process::Command};

use e2e::{
    nginx::{Nginx, PASSWORD, USER},
    peer, program, run, sample_job, tool,
};

use super::job2docker;

const COORDINATES: [&str; 2] = ["--coordinates", "org.example:orders:1.2"];
const PUBLISHED: &str = "releases/org/example/orders/1.2/orders-1.2.tgz";

/// Runs a program at a terminal, and answers the question for a password.
const AT_A_TERMINAL: &str = r#"
import os, pty, sys, termios, time
said, answered = b"", False
def answer(terminal):
    global said, answered
    new = os.read(terminal, 1024)
    said += new
    if not answered and b"password of" in said:
        answered = True
        # As a person, who is slower than the program that asks.
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(terminal, os.environ["ANSWER"].encode() + b"\n")
    return new
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], answer)))
"#;

fn with_archive() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let content = fs::read(sample_job()).unwrap();
    fs::write(folder.path().join("orders.tgz"), &content).unwrap();
    (folder, content)
}

fn at_a_terminal(python: &str, nginx: &Nginx, folder: &Path, password: &str) -> e2e::Outcome {
    let mut command = Command::new(python);
    command
        .args(["-c", AT_A_TERMINAL])
        .arg(program("job2docker").get_program())
        .args(["publish", "orders.tgz", "--target-user", USER, "--quiet"])
        .args(COORDINATES)
        .args(["--repository", &format!("{}/releases", nginx.base())])
        .env_remove("TALEND_PACKAGER_NEXUS_TARGET_PASSWORD")
        .env("ANSWER", password)
        .current_dir(folder);
    run(&mut command)
}

#[test]
fn a_password_is_asked_for_at_a_terminal_and_not_shown() {
    let (Some(nginx), Some(python)) = (peer("NGINX"), peer("PYTHON3")) else {
        return;
    };
    let nginx = Nginx::start(&nginx);
    let (folder, content) = with_archive();
    let refused = at_a_terminal(&python, &nginx, folder.path(), "wrong");
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(!nginx.root().join("releases").exists());
    let done = at_a_terminal(&python, &nginx, folder.path(), PASSWORD);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains(&format!("password of {USER}: ")));
    assert!(!done.stdout.contains(PASSWORD), "{done:?}");
    assert_eq!(fs::read(nginx.root().join(PUBLISHED)).unwrap(), content);
}

#[test]
fn a_repository_with_tls_is_believed_by_its_authority() {
    let (Some(nginx), Some(authority)) = (peer("NGINX"), peer("REGISTRY_TLS_CA")) else {
        return;
    };
    let nginx = Nginx::start_with_tls(&nginx, Path::new(&authority).parent().unwrap());
    let (folder, content) = with_archive();
    let repository = format!("{}/releases", nginx.base());
    let login = format!("{USER}:{PASSWORD}");
    let mut args = vec!["publish", "orders.tgz", "--repository", &repository];
    args.extend(COORDINATES);
    args.extend(["--target-user", &login]);
    let unknown = job2docker(folder.path(), None, &args);
    assert_ne!(unknown.code, 0);
    assert!(unknown.stderr.contains("certificate"), "{}", unknown.stderr);
    assert!(!nginx.root().join("releases").exists());
    let mut command = program("job2docker");
    command
        .args(&args)
        .current_dir(folder.path())
        .env("SSL_CERT_FILE", &authority);
    run(&mut command).success();
    assert_eq!(fs::read(nginx.root().join(PUBLISHED)).unwrap(), content);
}

#[test]
fn an_image_is_published_to_a_registry() {
    let (Some(registry), Some(skopeo)) = (peer("REGISTRY"), peer("SKOPEO")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let zip = sample_job();
    let job = zip.to_str().unwrap();
    let build = ["build", job, "--base", "scratch", "--to", "oci:image:1"];
    job2docker(folder.path(), None, &build).success();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let name = name.trim_start_matches('.').to_lowercase();
    let to = format!("docker://{registry}/publish/{name}:1");
    let publish = ["publish", "oci:image:1", "--to", &to, "--json"];
    let said = job2docker(folder.path(), None, &publish).json();
    let found = tool(
        &skopeo,
        ["inspect", "--tls-verify=false", "--format={{.Digest}}", &to],
    );
    assert_eq!(said["image"]["digest"], found.trim(), "{said}");
    assert_eq!(said["image"]["to"][0], to);
}
