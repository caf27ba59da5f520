//! Logging in, by all the ways that registries know.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use ocicore::{Class, Cx, ImageStore, MediaType, RawManifest, Repositories};
use ociregistry::{AuthFiles, Credentials, Error, HostOptions, Login, Registry};
use registryd::{Access, Auth, Grant, Password, Secret, Server, User, storage::MemoryStorage};

use crate::{
    fake::{Fake, Reply, Request},
    support::{fresh, pass, quick, secured, shown, store},
};

/// A registry with a token service at `/token`, which gives tokens that say what they are for.
async fn tokens(expires_in: u64, refuse: impl Fn(usize) -> bool + Send + Sync + 'static) -> Fake {
    let given = AtomicUsize::new(0);
    Fake::new(move |request, n| {
        if request.target.starts_with("/token") {
            let token = given.fetch_add(1, Ordering::Relaxed);
            let body = serde_json::json!({"token": format!("t{token}"), "expires_in": expires_in});
            return Reply::new(200).body(body.to_string());
        }
        match request.header("authorization") {
            Some(header) if header.starts_with("Bearer t") && !refuse(n) => index(),
            _ => Reply::new(401).header("www-authenticate", challenge(request)),
        }
    })
    .await
}

/// A registry that takes any password.
async fn passwords() -> Fake {
    Fake::new(|request, _| match request.header("authorization") {
        Some(_) => index(),
        None => Reply::new(401).header("www-authenticate", "Basic"),
    })
    .await
}

fn challenge(request: &Request) -> String {
    let host = request.header("host").unwrap();
    format!("Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:a/b:pull\"")
}

fn index() -> Reply {
    Reply::new(200)
        .header("content-type", MediaType::OCI_INDEX)
        .body(r#"{"manifests":[]}"#)
}

async fn pull(store: &Arc<dyn ImageStore>) -> ocicore::Result<RawManifest> {
    store.manifest(&Cx::default(), &"v1".parse().unwrap()).await
}

#[tokio::test]
async fn a_token_is_got_once_for_all() {
    let fake = tokens(300, |_| false).await;
    let registry = quick().build();
    let stores: Vec<_> = (0..20).map(|_| store(&registry, &fake)).collect();
    for manifest in join_all(stores.iter().map(pull)).await {
        manifest.unwrap();
    }
    for store in &stores {
        pull(store).await.unwrap();
    }
    let got: Vec<_> = fake
        .requests()
        .into_iter()
        .filter(|r| r.target.starts_with("/token"))
        .collect();
    assert_eq!(got.len(), 1);
    assert_eq!(
        got[0].target,
        "/token?service=s&scope=repository%3Aa%2Fb%3Apull"
    );
    assert_eq!(got[0].header("authorization"), None);
    // Once the challenge is known, no request goes out without its token.
    let later = &fake.requests()[fake.requests().len() - 20..];
    assert!(
        later
            .iter()
            .all(|r| r.header("authorization") == Some("Bearer t0"))
    );
}

#[tokio::test]
async fn tokens_are_kept_by_what_they_allow() {
    let fake = tokens(300, |_| false).await;
    let registry = quick().build();
    for _ in 0..2 {
        for path in ["a/b", "a/c"] {
            let name = format!("{}/{path}", fake.host).parse().unwrap();
            pull(&registry.repository(&name).unwrap()).await.unwrap();
        }
    }
    let seen = fake.requests();
    let scopes = |token: &str| {
        let with = format!("Bearer {token}");
        let sent = seen
            .iter()
            .filter(|r| r.header("authorization") == Some(&with));
        sent.map(Request::line).collect::<Vec<_>>()
    };
    assert_eq!(scopes("t0"), ["GET /v2/a/b/manifests/v1"; 2]);
    assert_eq!(scopes("t1"), ["GET /v2/a/c/manifests/v1"; 2]);
    let asked = seen.iter().filter(|r| r.target.starts_with("/token"));
    assert_eq!(asked.count(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    // A token that lives for an hour is used for all of it but 15 s.
    let fake = tokens(3600, |_| false).await;
    let registry = quick().build();
    let store = store(&registry, &fake);
    pull(&store).await.unwrap();
    pass(Duration::from_secs(3600 - 30)).await;
    pull(&store).await.unwrap();
    pass(Duration::from_secs(20)).await;
    pull(&store).await.unwrap();
    let seen: Vec<_> = fake
        .requests()
        .iter()
        .map(|r| r.header("authorization").unwrap_or("-").to_owned())
        .collect();
    let expected = ["-", "-", "Bearer t0", "Bearer t0", "-", "Bearer t1"];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_token_that_is_refused_to_many_is_renewed_once() {
    // The first token is good until a tag of its own was read.
    let fake = Fake::new(|request, n| {
        let (target, sent) = (&*request.target, request.header("authorization"));
        match (target.split('?').next().unwrap_or_default(), sent) {
            ("/token", _) => Reply::new(200).body(format!(r#"{{"token":"t{n}"}}"#)),
            (_, None) => Reply::new(401).header("www-authenticate", challenge(request)),
            ("/v2/a/b/manifests/v1", _) => index(),
            (_, Some("Bearer t1")) => {
                Reply::new(401).header("www-authenticate", challenge(request))
            }
            _ => index(),
        }
    })
    .await;
    let registry = quick().build();
    let store = store(&registry, &fake);
    pull(&store).await.unwrap();
    let cx = Cx::default();
    let others: Vec<_> = (0..20)
        .map(|n| format!("other{n}").parse().unwrap())
        .collect();
    for manifest in join_all(others.iter().map(|name| store.manifest(&cx, name))).await {
        manifest.unwrap();
    }
    let asked = fake.lines();
    let asked = asked.iter().filter(|line| line.starts_with("GET /token"));
    assert_eq!(asked.count(), 2);
}

#[tokio::test]
async fn scopes_of_the_challenge_are_asked_for() {
    let fake = Fake::new(|request, _| {
        let host = request.header("host").unwrap();
        match request.header("authorization") {
            _ if request.target.starts_with("/token") => {
                Reply::new(200).body(r#"{"access_token":"t"}"#)
            }
            Some(_) => index(),
            None => Reply::new(401).header(
                "www-authenticate",
                format!("Bearer realm=\"http://{host}/token\",scope=\"repository:a/b:pull,list repository:base:pull\""),
            ),
        }
    })
    .await;
    let registry = quick().build();
    let store = store(&registry, &fake);
    for _ in 0..2 {
        pull(&store).await.unwrap();
    }
    let asked: Vec<_> = fake
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("GET /token"))
        .collect();
    assert_eq!(
        asked,
        ["GET /token?scope=repository%3Aa%2Fb%3Alist%2Cpull&scope=repository%3Abase%3Apull"]
    );
}

#[tokio::test]
async fn a_token_stays_with_its_host() {
    let (one, other) = (tokens(300, |_| false).await, tokens(300, |_| false).await);
    let registry = quick()
        .credentials(&one.host, Credentials::basic("me", "secret"))
        .build();
    pull(&store(&registry, &one)).await.unwrap();
    pull(&store(&registry, &other)).await.unwrap();
    let sent = |fake: &Fake| {
        let all = fake.requests();
        let sent = all
            .iter()
            .map(|r| r.header("authorization").map(str::to_owned));
        sent.collect::<Vec<_>>()
    };
    let pair = format!("Basic {}", STANDARD.encode("me:secret"));
    let token = || Some("Bearer t0".to_owned());
    assert_eq!(sent(&one), [None, Some(pair), token()]);
    assert_eq!(sent(&other), [None, None, token()]);
}

#[tokio::test]
async fn a_token_service_that_moves_gets_no_password_elsewhere() {
    let elsewhere = tokens(300, |_| false).await;
    let target = format!("http://{}/token", elsewhere.host);
    let fake = Fake::new(move |request, _| match request.header("authorization") {
        _ if request.target.starts_with("/token") => Reply::new(307).header("location", &target),
        Some("Bearer t0") => index(),
        _ => Reply::new(401).header("www-authenticate", challenge(request)),
    })
    .await;
    let registry = quick()
        .credentials(&fake.host, Credentials::basic("me", "secret"))
        .build();
    pull(&store(&registry, &fake)).await.unwrap();
    assert!(fake.requests()[1].header("authorization").is_some());
    assert_eq!(elsewhere.requests()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed() {
    let fake = tokens(300, |n| n == 3).await;
    let registry = quick().build();
    let store = store(&registry, &fake);
    pull(&store).await.unwrap();
    pull(&store).await.unwrap();
    let seen: Vec<_> = fake
        .requests()
        .iter()
        .map(|r| r.header("authorization").unwrap_or("-").to_owned())
        .collect();
    assert_eq!(seen, ["-", "-", "Bearer t0", "Bearer t0", "-", "Bearer t1"]);
}

#[tokio::test]
async fn identity_tokens_go_to_the_token_service() {
    let fake = tokens(300, |_| false).await;
    let login = Credentials::identity_token("i d");
    let registry = quick().credentials(&fake.host, login).build();
    pull(&store(&registry, &fake)).await.unwrap();
    let got = &fake.requests()[1];
    assert_eq!(got.line(), "POST /token");
    assert_eq!(
        String::from_utf8_lossy(&got.body),
        "grant_type=refresh_token&refresh_token=i+d&client_id=ociregistry&service=s&scope=repository%3Aa%2Fb%3Apull"
    );
}

#[tokio::test]
async fn identity_tokens_follow_no_redirect_elsewhere() {
    let elsewhere = tokens(300, |_| false).await;
    let target = format!("http://{}/token", elsewhere.host);
    let fake = Fake::new(move |request, _| match &*request.target {
        "/token" => Reply::new(307).header("location", "/there"),
        "/there" => Reply::new(308).header("location", &target),
        _ => Reply::new(401).header("www-authenticate", challenge(request)),
    })
    .await;
    let login = Credentials::identity_token("secret");
    let registry = quick().credentials(&fake.host, login).build();
    let error = pull(&store(&registry, &fake)).await.unwrap_err();
    assert_eq!(elsewhere.lines(), [""; 0]);
    assert_eq!(fake.requests()[2].line(), "POST /there");
    insta::assert_snapshot!(shown(&error, &[&fake, &elsewhere]), @"
    [Denied] failed to read `v1` in HOST0/a/b
        failed to get a token for `repository:a/b:pull` from `http://HOST0/token`
        `HOST0` redirects to `http://HOST1/token`, which is not followed: it would be sent a secret
    ");
}

#[tokio::test]
async fn a_token_follows_redirects_of_its_own_server_only() {
    let storage = Fake::new(|_, _| index()).await;
    let target = format!("http://{}/x?signature=s", storage.host);
    let fake = Fake::new(move |request, _| match request.header("authorization") {
        _ if request.target.starts_with("/token") => Reply::new(200).body(r#"{"token":"t"}"#),
        None => Reply::new(401).header("www-authenticate", challenge(request)),
        Some(_) if request.target == "/there" => Reply::new(307).header("location", &target),
        Some(_) => Reply::new(307).header("location", "/there"),
    })
    .await;
    let store = store(&quick().build(), &fake);
    for _ in 0..2 {
        pull(&store).await.unwrap();
    }
    let followed: Vec<_> = fake
        .requests()
        .into_iter()
        .filter(|request| request.target == "/there")
        .collect();
    assert_eq!(followed.len(), 2);
    for request in followed {
        assert_eq!(request.header("authorization"), Some("Bearer t"));
    }
    assert_eq!(storage.lines(), ["GET /x?signature=s"; 2]);
    for request in storage.requests() {
        assert_eq!(request.header("authorization"), None);
    }
}

/// Logging in would not help: it is not the registry that refuses.
#[tokio::test]
async fn what_a_storage_refuses_is_about_no_login() {
    let storage = Fake::new(|_, _| Reply::error(403, "ExpiredToken", "too old")).await;
    let target = format!("http://{}/x", storage.host);
    let fake = Fake::new(move |request, _| {
        if request.target.starts_with("/token") {
            return Reply::new(200).body(r#"{"token": "t"}"#);
        }
        match request.header("authorization") {
            Some(_) => Reply::new(307).header("location", &target),
            None => Reply::new(401).header("www-authenticate", challenge(request)),
        }
    })
    .await;
    let error = pull(&store(&quick().build(), &fake)).await.unwrap_err();
    let error = error.find::<Error>().unwrap();
    assert_eq!(error.answer().map(ociregistry::Answer::status), Some(403));
    assert_eq!(error.refused(), None);
}

#[tokio::test]
async fn a_token_of_ones_own_is_sent_as_it_is() {
    let fake = tokens(300, |_| false).await;
    let registry = quick()
        .credentials(&fake.host, Credentials::bearer("tx"))
        .build();
    pull(&store(&registry, &fake)).await.unwrap();
    assert_eq!(
        fake.requests()[1].header("authorization"),
        Some("Bearer tx")
    );
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test]
async fn what_is_wrong_with_a_login_is_said() {
    let mut report = String::new();
    let cases: [(&str, &str); 8] = [
        ("no challenge", ""),
        ("a password that is wrong", "Basic realm=\"x\""),
        (
            "a token service that refuses",
            "Bearer realm=\"/token\",service=\"s\"",
        ),
        ("a token that is not enough", "Bearer realm=\"/few\""),
        ("a token service that is none", "Bearer realm=\"/none\""),
        ("a token service nowhere", "Bearer realm=\"mailto:x\""),
        ("nobody, and a password is wanted", "Basic realm=\"x\""),
        (
            "nobody, and a token service that refuses",
            "Bearer realm=\"/token\"",
        ),
    ];
    for (what, challenge) in cases {
        let fake = Fake::new(move |request, _| match &request.target[..5] {
            "/toke" => Reply::new(401).body(r#"{"details":"incorrect username or password"}"#),
            "/none" => Reply::new(200).body("<html>secret</html>"),
            "/few?" => Reply::new(200).body(r#"{"token":"t"}"#),
            _ => Reply::error(401, "UNAUTHORIZED", "who are you?")
                .header("www-authenticate", challenge),
        })
        .await;
        let login = match what.starts_with("nobody") {
            true => Credentials::basic("", ""),
            false => Credentials::basic("me", "hunter2"),
        };
        let registry = quick().credentials(&fake.host, login).build();
        let error = pull(&store(&registry, &fake)).await.unwrap_err();
        let refused = error.find::<Error>().unwrap().refused();
        match what {
            _ if what.starts_with("nobody") => assert_eq!(refused, Some(&Login::Nobody)),
            "a password that is wrong"
            | "a token service that refuses"
            | "a token that is not enough" => {
                assert_eq!(refused, Some(&Login::User("me".to_owned())));
            }
            _ => assert_eq!(refused, None, "{what}"),
        }
        assert_eq!(
            error.class(),
            if what.contains("is none") {
                Class::Invalid
            } else {
                Class::Denied
            }
        );
        report += &format!("{what}:\n  {}\n", shown(&error, &[&fake]));
    }
    assert!(!report.contains("hunter2"));
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn a_registry_with_tls_cannot_have_a_password_sent_in_the_clear() {
    let tls = registryd::Tls::self_signed(["127.0.0.1"]).unwrap();
    let ca = tls.certificate().to_owned();
    let me = User::new("me", Password::plain("secret")).unwrap();
    let server = Server::builder(MemoryStorage::new())
        .auth(
            Auth::bearer(Secret::random().unwrap())
                .user(me)
                .realm("http://tokens.invalid/token"),
        )
        .tls(tls)
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let host = server.addr().to_string();
    let registry = quick()
        .credentials(&host, Credentials::basic("me", "secret"))
        .host(&host, HostOptions::default().with_ca_pem(ca))
        .build();
    let store = registry.repository(&fresh(&host)).unwrap();
    let error = pull(&store).await.unwrap_err();
    let error = error.find::<Error>().unwrap().to_string();
    assert!(
        error.ends_with("its token service `http://tokens.invalid/token` has no TLS"),
        "{error}"
    );
}

#[tokio::test]
async fn an_authority_without_a_certificate_is_refused() {
    let host = "127.0.0.1:1";
    let registry = quick()
        .host(
            host,
            HostOptions::default().with_tls().with_ca_pem("garbage"),
        )
        .build();
    let error = pull(&registry.repository(&fresh(host)).unwrap())
        .await
        .unwrap_err();
    let text = ocicore::in_one_line(error.find::<Error>().unwrap());
    assert_eq!(
        text,
        "failed to set up TLS for `127.0.0.1:1`: there is no certificate in PEM among its authorities"
    );
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_not_asked_again() {
    let Some((host, _)) = secured() else { return };
    let registry = quick()
        .host(&host, HostOptions::default().with_tls())
        .build();
    let error = pull(&registry.repository(&fresh(&host)).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Other, "{error:?}");
    assert!(shown(&error, &[]).contains("certificate"), "{error:?}");
    let careless = HostOptions::default().with_untrusted_certificates();
    let registry = quick().host(&host, careless).build();
    let error = pull(&registry.repository(&fresh(&host)).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Denied, "{error:?}");
}

#[tokio::test]
async fn who_may_only_read_may_not_write() {
    let user = |name: &str, access| {
        User::new(name, Password::plain("p"))
            .unwrap()
            .grant(Grant::everything(access))
    };
    let auth = Auth::bearer(Secret::random().unwrap())
        .user(user("reader", Access::Read))
        .user(user("writer", Access::Write));
    let server = Server::builder(MemoryStorage::new())
        .auth(auth)
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let host = server.addr().to_string();
    let name = fresh(&host);
    let as_user = |user: &str| {
        let login = Credentials::basic(user, "p");
        let registry = Registry::builder().credentials(&host, login).build();
        registry.repository(&name).unwrap()
    };
    let (cx, blob) = (
        Cx::default(),
        ocicore::BytesBlob::new(MediaType::OCI_LAYER, "x"),
    );
    let error = as_user("reader").put_blob(&cx, &blob).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    as_user("writer").put_blob(&cx, &blob).await.unwrap();
    assert!(
        as_user("reader")
            .has_blob(&cx, ocicore::Blob::descriptor(&blob))
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn files_and_helpers_log_in() {
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("docker-credential-test");
    let script = "#!/bin/sh\nread server\necho \"$server\" >> \"$0.asked\"\n\
        echo '{\"Username\":\"me\",\"Secret\":\"from-helper\"}'\n";
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let fake = passwords().await;
    let file = directory.path().join("config.json");
    let pair = STANDARD.encode("me:from-file");
    let login = async |text: String| {
        fs::write(&file, text).unwrap();
        let registry = quick().keychain(AuthFiles::new([file.clone()])).build();
        pull(&store(&registry, &fake)).await.unwrap();
        let header = fake
            .requests()
            .last()
            .unwrap()
            .header("authorization")
            .unwrap()
            .to_owned();
        String::from_utf8(STANDARD.decode(&header["Basic ".len()..]).unwrap()).unwrap()
    };
    let auths = format!(r#""auths":{{"{}":{{"auth":"{pair}"}}}}"#, fake.host);
    assert_eq!(login(format!("{{{auths}}}")).await, "me:from-file");
    // Helpers are looked for in one directory here, for a test must not change the search path.
    let with_helper = format!(r#"{{"credHelpers":{{"{}":"test"}},{auths}}}"#, fake.host);
    fs::write(&file, with_helper).unwrap();
    let keychain = AuthFiles::new([file.clone()]).with_helper_directory(directory.path());
    let registry = quick().keychain(keychain).build();
    pull(&store(&registry, &fake)).await.unwrap();
    let header = fake
        .requests()
        .last()
        .unwrap()
        .header("authorization")
        .unwrap()
        .to_owned();
    assert_eq!(
        STANDARD.decode(&header["Basic ".len()..]).unwrap(),
        b"me:from-helper"
    );
    let asked = fs::read_to_string(directory.path().join("docker-credential-test.asked"));
    assert_eq!(asked.unwrap(), format!("{}\n", fake.host));
}

#[tokio::test]
async fn a_store_of_passwords_comes_before_the_file_and_may_have_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let helper = |name: &str, script: &str| {
        let path = directory.path().join(format!("docker-credential-{name}"));
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    helper(
        "none",
        "#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1\n",
    );
    helper(
        "full",
        "#!/bin/sh\necho '{\"Username\":\"me\",\"Secret\":\"from-store\"}'\n",
    );
    let fake = passwords().await;
    let file = directory.path().join("config.json");
    let pair = STANDARD.encode("me:from-file");
    for (name, password) in [("none", "from-file"), ("full", "from-store")] {
        let auths = format!(r#""auths":{{"{}":{{"auth":"{pair}"}}}}"#, fake.host);
        fs::write(&file, format!(r#"{{"credsStore":"{name}",{auths}}}"#)).unwrap();
        let keychain = AuthFiles::new([file.clone()]).with_helper_directory(directory.path());
        let registry = quick().keychain(keychain).build();
        pull(&store(&registry, &fake)).await.unwrap();
        let sent = fake.requests().pop().unwrap();
        let expected = format!("Basic {}", STANDARD.encode(format!("me:{password}")));
        assert_eq!(sent.header("authorization"), Some(&*expected));
    }
}

#[tokio::test]
async fn a_helper_that_hangs_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("docker-credential-slow");
    fs::write(&helper, "#!/bin/sh\nexec sleep 60\n").unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let file = directory.path().join("config.json");
    fs::write(&file, r#"{"credsStore":"slow"}"#).unwrap();
    let keychain = AuthFiles::new([file])
        .with_helper_directory(directory.path())
        .with_helper_timeout(Duration::from_millis(100));
    let fake = Fake::new(|_, _| Reply::new(401).header("www-authenticate", "Basic")).await;
    let registry = quick().keychain(keychain).build();
    let error = pull(&store(&registry, &fake)).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &[&fake]), @"
    [Denied] failed to read `v1` in HOST0/a/b
        credential helper `docker-credential-slow` gave no answer within 0.1 s
    ");
}
