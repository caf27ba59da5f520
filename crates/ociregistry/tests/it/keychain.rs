//! Keychains: files, helpers, and credentials that change while a program runs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use ocicore::{Class, Cx, RepositoryPath};
use ociregistry::{AuthFiles, Credentials, Keychain};

use crate::{
    fake::{Fake, Reply, Request},
    support::{quick, store},
};

/// Gives its credentials one after the other, the last of them for ever.
#[derive(Clone, Debug)]
struct Changing {
    all: Vec<Credentials>,
    asked: Arc<AtomicUsize>,
}

impl Changing {
    fn new(all: impl IntoIterator<Item = Credentials>) -> Self {
        Self {
            all: all.into_iter().collect(),
            asked: Arc::default(),
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Keychain for Changing {
    async fn credentials(
        &self,
        _: &Cx,
        _: &str,
        _: Option<&RepositoryPath>,
    ) -> ociregistry::Result<Option<Credentials>> {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.all.get(n).or(self.all.last()).cloned())
    }
}

fn password(n: usize) -> Credentials {
    Credentials::basic("me", format!("p{n}"))
}

fn index() -> Reply {
    let reply = Reply::new(200).header("content-type", ocicore::MediaType::OCI_INDEX);
    reply.body(r#"{"manifests":[]}"#)
}

/// A registry whose tokens and passwords are good for one manifest; the `n`th token is for the
/// `n`th password only.
async fn strict() -> Fake {
    let (given, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Fake::new(move |request, _| {
        let sent = request.header("authorization");
        if request.target.starts_with("/token") {
            let n = given.load(Ordering::Relaxed);
            let Some(n) = (sent == Some(&*basic(n))).then_some(n) else {
                return Reply::error(401, "UNAUTHORIZED", "this password has expired");
            };
            given.fetch_add(1, Ordering::Relaxed);
            return Reply::new(200).body(format!(r#"{{"token":"t{n}"}}"#));
        }
        let n = used.load(Ordering::Relaxed);
        if sent == Some(&*format!("Bearer t{n}")) {
            used.fetch_add(1, Ordering::Relaxed);
            return index();
        }
        let host = request.header("host").unwrap();
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        Reply::new(401).header("www-authenticate", challenge)
    })
    .await
}

fn basic(n: usize) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("me:p{n}")))
}

async fn pull(store: &Arc<dyn ocicore::ImageStore>) -> ocicore::Result<()> {
    let (cx, name) = (Cx::default(), "v1".parse().unwrap());
    store.manifest(&cx, &name).await.map(drop)
}

#[tokio::test]
async fn a_token_service_that_refuses_old_credentials_is_sent_new_ones() {
    let fake = strict().await;
    let keychain = Changing::new((0..3).map(password));
    let store = store(&quick().keychain(keychain.clone()).build(), &fake);
    for n in 1..=3 {
        pull(&store).await.unwrap();
        assert_eq!(keychain.asked(), n);
    }
    // The last ones stay, and are too old at last; who has just given them is not asked twice.
    let before = fake.requests().len();
    assert_eq!(pull(&store).await.unwrap_err().class(), Class::Denied);
    assert_eq!(keychain.asked(), 4);
    let asked: Vec<_> = fake
        .requests()
        .iter()
        .skip(before)
        .map(Request::line)
        .collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[tokio::test]
async fn a_token_of_ones_own_may_change() {
    let fake = Fake::new(|request, n| {
        // The first token is good for one manifest.
        let good = if n < 2 { "Bearer old" } else { "Bearer new" };
        match request.header("authorization") {
            Some(sent) if sent == good => index(),
            _ => Reply::new(401).header("www-authenticate", "Bearer realm=\"/token\""),
        }
    })
    .await;
    let keychain = Changing::new(["old", "new"].map(Credentials::bearer));
    let store = store(&quick().keychain(keychain.clone()).build(), &fake);
    for _ in 0..3 {
        pull(&store).await.unwrap();
    }
    assert_eq!(keychain.asked(), 2);
}

#[tokio::test]
async fn a_token_service_that_is_busy_says_nothing_about_credentials() {
    let fake = Fake::new(|request, n| match request.header("authorization") {
        _ if request.target.starts_with("/token") && n < 3 => Reply::new(503),
        _ if request.target.starts_with("/token") => Reply::new(200).body(r#"{"token":"t"}"#),
        Some(_) => index(),
        None => {
            let host = request.header("host").unwrap();
            let challenge = format!("Bearer realm=\"http://{host}/token\"");
            Reply::new(401).header("www-authenticate", challenge)
        }
    })
    .await;
    let keychain = Changing::new([password(0)]);
    let store = store(&quick().keychain(keychain.clone()).build(), &fake);
    pull(&store).await.unwrap();
    assert_eq!(keychain.asked(), 1);
}

/// A registry may name another scope each time that it is asked.
#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::new(move |request, _| {
        if request.target.starts_with("/token") {
            return Reply::new(200).body(r#"{"token":"t","expires_in":3600}"#);
        }
        let n = asked.fetch_add(1, Ordering::Relaxed);
        if n % 2 == 1 {
            return index();
        }
        let host = request.header("host").unwrap();
        let scope = format!("scope=\"repository:base{n}:pull\"");
        let challenge = format!("Bearer realm=\"http://{host}/token\",{scope}");
        Reply::new(401).header("www-authenticate", challenge)
    })
    .await;
    let registry = quick().build();
    let store = store(&registry, &fake);
    for _ in 0..600 {
        pull(&store).await.unwrap();
    }
    let tokens = format!("{registry:?}").matches("fresh_until").count();
    assert!((1..=512).contains(&tokens), "{tokens}");
}

/// A helper knows a host by the name that it had at login.
#[tokio::test]
async fn helpers_are_asked_by_all_names_of_a_host() {
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("docker-credential-test");
    let script = "#!/bin/sh\nread server\necho \"$server\" >> \"$0.asked\"\n\
        if [ \"$server\" = r.io ]; then echo '{\"Username\":\"me\",\"Secret\":\"p0\"}'\n\
        else echo 'credentials not found in native keychain'; exit 1; fi\n";
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let file = directory.path().join("config.json");
    fs::write(
        &file,
        r#"{"credHelpers":{"R.IO":"test","docker.io":"test"}}"#,
    )
    .unwrap();
    let keychain = AuthFiles::new([file]).with_helper_directory(directory.path());
    for (host, expected) in [
        ("r.io", Some(password(0))),
        ("R.io:443", Some(password(0))),
        ("docker.io", None),
    ] {
        let found = keychain.credentials(&Cx::default(), host, None).await;
        assert_eq!(found.unwrap(), expected, "{host}");
    }
    let asked = fs::read_to_string(directory.path().join("docker-credential-test.asked"));
    let expected = "r.io\nR.io:443\nr.io\nhttps://index.docker.io/v1/\n";
    assert_eq!(asked.unwrap(), expected);
}
