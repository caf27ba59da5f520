//! Who may do what.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use ocicore::{Clock, Cx, Digest};
use registryd::{Access, Auth, Grant, Password, Secret, Server, Tls, User, storage::MemoryStorage};
use reqwest::Response;
use serde_json::Value;

use crate::client::{Peer, expect_fault, header};

fn users(auth: Auth) -> Auth {
    let user = |name: &str, password: &str, access, pattern: &str| {
        let grant = Grant::new(access, pattern.parse().unwrap());
        User::new(name, Password::plain(password))
            .unwrap()
            .grant(grant)
    };
    auth.user(user("ann", "a:b", Access::Write, "**"))
        .user(user("bob", "b", Access::Read, "team/**"))
        .user(user("cat", "c", Access::Write, "team/cat"))
}

async fn serve(auth: Auth) -> Peer {
    Peer::start(Server::builder(MemoryStorage::new()).auth(auth)).await
}

async fn status(peer: &Peer, method: &str, path: &str, user: Option<(&str, &str)>) -> u16 {
    let mut request = peer.request(method, path);
    if let Some((name, password)) = user {
        request = request.basic_auth(name, Some(password));
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn basic_credentials_are_checked_by_repository() {
    let peer = serve(users(Auth::basic())).await;
    let (ann, bob, cat) = (Some(("ann", "a:b")), Some(("bob", "b")), Some(("cat", "c")));
    let wrong = Some(("ann", "b"));
    let upload = |name: &str| format!("/v2/{name}/blobs/uploads/");
    let tags = |name: &str| format!("/v2/{name}/tags/list");
    for (method, path, user, expected) in [
        ("GET", "/v2/".to_owned(), None, 401),
        ("GET", "/v2/".to_owned(), wrong, 401),
        ("GET", "/v2/".to_owned(), bob, 200),
        ("POST", upload("team/x"), None, 401),
        ("POST", upload("team/x"), wrong, 401),
        ("POST", upload("team/x"), ann, 202),
        ("POST", upload("team/x"), bob, 403),
        ("POST", upload("team/x"), cat, 403),
        ("POST", upload("team/cat"), cat, 202),
        ("GET", tags("team/x"), bob, 404),
        ("GET", tags("other"), bob, 403),
        ("GET", tags("team/cat"), cat, 404),
        ("GET", "/v2/_catalog".to_owned(), bob, 200),
        ("GET", "/v2/_catalog".to_owned(), None, 401),
    ] {
        assert_eq!(
            status(&peer, method, &path, user).await,
            expected,
            "{method} {path} {user:?}"
        );
    }
    let refused = peer.send("GET", "/v2/").await;
    assert_eq!(
        header(&refused, "www-authenticate"),
        "Basic realm=\"registry\", charset=\"UTF-8\""
    );
    expect_fault(refused, 401, "UNAUTHORIZED").await;
}

#[tokio::test]
async fn wrong_credentials_read_what_everybody_may() {
    let everybody = Grant::everything(Access::Read);
    let hash = "$2b$04$TAhUNN4nYVRXnmXXf7Kzr.dYRY9M4ihCmDtvHeSLFqwL7LUKGZMzq";
    let dan = User::new("dan", Password::bcrypt(hash).unwrap()).unwrap();
    for auth in [Auth::basic(), Auth::bearer(Secret::random().unwrap())] {
        let peer = serve(users(auth).user(dan.clone()).anonymous(everybody.clone())).await;
        for user in [
            None,
            Some(("ann", "wrong")),
            Some(("eve", "x")),
            Some(("dan", "x")),
        ] {
            assert_eq!(
                status(&peer, "GET", "/v2/a/tags/list", user).await,
                404,
                "{user:?}"
            );
            assert_eq!(
                status(&peer, "POST", "/v2/a/blobs/uploads/", user).await,
                401
            );
            assert_eq!(status(&peer, "GET", "/v2/", user).await, 401);
        }
    }
}

#[tokio::test]
async fn users_of_an_htpasswd_file_log_in() {
    // `htpasswd -bnBC 4 dan secret`
    let file = "# people\ndan:$2y$04$xn2NuMNOnun4NfC2qu9IwugP7eZDZYuvaDpkCnTpV3rrWY6TbisN6\n";
    for auth in [Auth::basic(), Auth::bearer(Secret::random().unwrap())] {
        let mut auth = auth;
        for user in User::from_htpasswd(file, Access::Read).unwrap() {
            auth = auth.user(user);
        }
        let peer = serve(auth).await;
        // A password that was right is remembered for a while, a wrong one is not right by that.
        for (password, expected) in [
            ("secret", 404),
            ("Secret", 401),
            ("secret", 404),
            ("", 401),
            ("secret", 404),
        ] {
            let user = Some(("dan", password));
            let found = status(&peer, "GET", "/v2/a/tags/list", user).await;
            assert_eq!(found, expected, "{password}");
        }
        let user = Some(("dan", "secret"));
        let found = status(&peer, "POST", "/v2/a/blobs/uploads/", user).await;
        assert_eq!(found, 403);
    }
}

async fn token(peer: &Peer, query: &str, user: Option<(&str, &str)>) -> Response {
    let mut request = peer.request("GET", &format!("/auth/token{query}"));
    if let Some((name, password)) = user {
        request = request.basic_auth(name, Some(password));
    }
    request.send().await.unwrap()
}

async fn token_text(peer: &Peer, query: &str, user: Option<(&str, &str)>) -> String {
    let document: Value = token(peer, query, user).await.json().await.unwrap();
    assert_eq!(document["token"], document["access_token"]);
    document["token"].as_str().unwrap().to_owned()
}

async fn with_token(peer: &Peer, method: &str, path: &str, token: &str) -> Response {
    let request = peer.request(method, path).bearer_auth(token);
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_token_carries_its_scope() {
    let auth = users(Auth::bearer(Secret::new("s").unwrap()));
    let peer = serve(auth.anonymous(Grant::new(Access::Read, "open/*".parse().unwrap()))).await;
    let refused = peer.send("POST", "/v2/team/cat/blobs/uploads/").await;
    assert_eq!(
        header(&refused, "www-authenticate"),
        format!(
            "Bearer realm=\"http://{}/auth/token\",service=\"registry\",\
             scope=\"repository:team/cat:pull,push\"",
            peer.server.addr()
        )
    );
    let upload = "/v2/team/cat/blobs/uploads/";
    let query = "?service=registry&scope=repository:team/cat:pull,push";
    for (query, user, expected) in [
        (query, Some(("cat", "c")), 202),
        (query, Some(("ann", "a:b")), 202),
        (query, Some(("bob", "b")), 401),
        ("?scope=repository:team/cat:pull", Some(("cat", "c")), 401),
        (
            "?scope=repository:team/other:pull,push",
            Some(("ann", "a:b")),
            401,
        ),
        ("", Some(("ann", "a:b")), 401),
        (
            "?scope=repository:x:pull%20repository:team/cat:push",
            Some(("cat", "c")),
            202,
        ),
        (
            "?scope=repository:x:pull&scope=repository:team/cat:*",
            Some(("cat", "c")),
            202,
        ),
    ] {
        let token = token_text(&peer, query, user).await;
        let response = with_token(&peer, "POST", upload, &token).await;
        assert_eq!(response.status(), expected, "{query} {user:?}");
        if expected == 401 {
            let challenge = header(&response, "www-authenticate");
            assert!(challenge.contains("insufficient_scope"), "{challenge}");
        }
        assert_eq!(with_token(&peer, "GET", "/v2/", &token).await.status(), 200);
    }
    // Nobody in particular gets a token for what everybody may, and so does who is wrong.
    for user in [None, Some(("ann", "x"))] {
        let pull = "?scope=repository:open/a:pull";
        let token = token_text(&peer, pull, user).await;
        let found = with_token(&peer, "GET", "/v2/open/a/tags/list", &token).await;
        expect_fault(found, 404, "NAME_UNKNOWN").await;
        let other = with_token(&peer, "GET", "/v2/team/cat/tags/list", &token).await;
        assert_eq!(other.status(), 401);
    }
    assert_eq!(token(&peer, query, Some(("ann", "x"))).await.status(), 401);
    assert_eq!(token(&peer, "", Some(("ann", "x"))).await.status(), 401);
}

#[tokio::test]
async fn the_catalog_names_what_one_may_read() {
    for auth in [Auth::basic(), Auth::bearer(Secret::new("s").unwrap())] {
        let peer = serve(users(auth)).await;
        for name in ["other", "team/cat", "team/x"] {
            let path = format!("/v2/{name}/manifests/1");
            let index = r#"{"schemaVersion":2,"manifests":[]}"#;
            let put = peer.request("PUT", &path).basic_auth("ann", Some("a:b"));
            let put = put.body(index).send().await.unwrap();
            assert_eq!(put.status(), 201);
        }
        for (user, password, names) in [
            ("ann", "a:b", r#"["other","team/cat","team/x"]"#),
            ("bob", "b", r#"["team/cat","team/x"]"#),
            ("cat", "c", r#"["team/cat"]"#),
        ] {
            let list = peer.request("GET", "/v2/_catalog?n=5");
            let list = list.basic_auth(user, Some(password)).send().await.unwrap();
            let expected = format!("{{\"repositories\":{names}}}");
            assert_eq!(list.text().await.unwrap(), expected, "{user}");
        }
    }
    // A token for all names is had by who may read all.
    let peer = serve(users(Auth::bearer(Secret::new("s").unwrap()))).await;
    let refused = peer.send("GET", "/v2/_catalog").await;
    let challenge = header(&refused, "www-authenticate");
    assert!(
        challenge.contains("scope=\"registry:catalog:*\""),
        "{challenge}"
    );
    for (user, status) in [(("ann", "a:b"), 200), (("bob", "b"), 401)] {
        let token = token_text(&peer, "?scope=registry:catalog:*", Some(user)).await;
        let found = with_token(&peer, "GET", "/v2/_catalog", &token).await;
        assert_eq!(found.status(), status, "{user:?}");
    }
}

#[tokio::test]
async fn a_token_is_had_by_a_form() {
    let peer = serve(users(Auth::bearer(Secret::new("s").unwrap()))).await;
    let post = async |form: &'static str| {
        let request = peer.request("POST", "/auth/token").body(form);
        request.send().await.unwrap()
    };
    let scope = "scope=repository%3Ateam%2Fcat%3Apush";
    let form = "grant_type=password&service=registry&username=cat&password=c&scope=repository%3Ateam%2Fcat%3Apush";
    assert!(form.ends_with(scope));
    let document: Value = post(form).await.json().await.unwrap();
    let token = document["access_token"].as_str().unwrap();
    let done = with_token(&peer, "POST", "/v2/team/cat/blobs/uploads/", token).await;
    assert_eq!(done.status(), 202);
    assert_eq!(
        post("grant_type=password&username=cat&password=x")
            .await
            .status(),
        401
    );
    assert_eq!(post("grant_type=refresh_token").await.status(), 400);
}

#[derive(Debug)]
struct Watch(Mutex<SystemTime>);

impl Clock for Watch {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

#[tokio::test]
async fn forged_and_expired_tokens_are_refused() {
    let watch = Arc::new(Watch(Mutex::new(SystemTime::now())));
    let auth = users(Auth::bearer(Secret::new("s").unwrap()));
    let lifetime = Duration::from_secs(60);
    let builder = Server::builder(MemoryStorage::new())
        .auth(auth.token_lifetime(lifetime))
        .context(Cx::default().with_clock(watch.clone()));
    let peer = Peer::start(builder).await;
    let other = serve(users(Auth::bearer(Secret::new("t").unwrap()))).await;
    let query = "?scope=repository:a:pull,push";
    let ann = Some(("ann", "a:b"));
    let upload = "/v2/a/blobs/uploads/";

    let forged = token_text(&other, query, ann).await;
    for wrong in [forged.as_str(), "", "x", "a.b.c"] {
        let refused = with_token(&peer, "POST", upload, wrong).await;
        expect_fault(refused, 401, "UNAUTHORIZED").await;
    }
    let good = token_text(&peer, query, ann).await;
    assert_eq!(with_token(&peer, "POST", upload, &good).await.status(), 202);
    *watch.0.lock().unwrap() += lifetime;
    let refused = with_token(&peer, "POST", upload, &good).await;
    assert!(header(&refused, "www-authenticate").contains("invalid_token"));
    expect_fault(refused, 401, "UNAUTHORIZED").await;
}

#[tokio::test]
async fn a_mount_needs_the_right_to_read() {
    let peer = serve(users(Auth::basic())).await;
    let digest = Digest::of(b"secret");
    let push = |user: &'static str, password: &'static str, query: String| {
        let path = format!("/v2/team/cat/blobs/uploads/?{query}");
        peer.request("POST", &path)
            .basic_auth(user, Some(password))
            .send()
    };
    let path = format!("/v2/other/blobs/uploads/?digest={digest}");
    let put = peer
        .request("POST", &path)
        .basic_auth("ann", Some("a:b"))
        .body("secret");
    assert_eq!(put.send().await.unwrap().status(), 201);
    for query in [
        format!("mount={digest}&from=other"),
        format!("mount={digest}"),
    ] {
        assert_eq!(push("cat", "c", query.clone()).await.unwrap().status(), 202);
        assert_eq!(push("ann", "a:b", query).await.unwrap().status(), 201);
    }
}

#[tokio::test]
async fn tls_is_spoken_and_certificates_change() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        directory.path().join("c.pem"),
        directory.path().join("k.pem"),
    );
    let (one, other) = (certificate_and_key(), certificate_and_key());
    std::fs::write(&certificate, &one.0).unwrap();
    std::fs::write(&key, &one.1).unwrap();
    let tls = Tls::from_files(&certificate, &key).unwrap();
    assert_eq!(tls.certificate(), one.0);
    let server = Server::builder(MemoryStorage::new())
        .tls(tls)
        .auth(users(Auth::bearer(Secret::random().unwrap())))
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let url = format!("https://{}/v2/", server.addr());
    let get = async |trusted: &str| {
        let root = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
        client.build().unwrap().get(&url).send().await
    };
    let challenge = header(&get(&one.0).await.unwrap(), "www-authenticate");
    assert!(
        challenge.contains("realm=\"https://127.0.0.1:"),
        "{challenge}"
    );
    assert!(get(&other.0).await.is_err());
    // Half of the new pair, and then nonsense: the old one goes on.
    for half in [other.0.as_str(), "", "nonsense"] {
        std::fs::write(&certificate, half).unwrap();
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(1200) {
            get(&one.0).await.unwrap();
        }
    }
    std::fs::remove_file(&certificate).unwrap();
    get(&one.0).await.unwrap();
    std::fs::write(&certificate, &other.0).unwrap();
    std::fs::write(&key, &other.1).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while get(&other.0).await.is_err() {
        assert!(
            std::time::Instant::now() < deadline,
            "the certificate is still the old one"
        );
    }
}

#[tokio::test]
async fn a_self_signed_certificate_holds_for_its_names() {
    let tls = Tls::self_signed(["localhost", "127.0.0.1"]).unwrap();
    let root = reqwest::Certificate::from_pem(tls.certificate().as_bytes()).unwrap();
    let server = Server::builder(MemoryStorage::new())
        .tls(tls)
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let address = server.addr();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    let client = client
        .resolve("localhost", address)
        .resolve("other", address);
    let client = client.build().unwrap();
    for (host, is_named) in [("localhost", true), ("127.0.0.1", true), ("other", false)] {
        let url = format!("https://{host}:{}/v2/", address.port());
        let found = client.get(url).send().await;
        assert_eq!(found.is_ok(), is_named, "{host}");
    }
}

fn certificate_and_key() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}
