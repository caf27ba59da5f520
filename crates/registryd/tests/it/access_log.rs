//! The structured access log.

use std::{
    io,
    sync::{Arc, Mutex},
};

use registryd::{Access, Auth, Grant, Password, Server, User, storage::MemoryStorage};
use serde_json::Value;
use tracing_subscriber::{filter::Targets, fmt::MakeWriter, layer::SubscriberExt};

use crate::client::Peer;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn each_request_is_one_event() {
    let lines = Lines::default();
    let json = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(lines.clone());
    let access = Targets::new().with_target("registryd::access", tracing::Level::INFO);
    let subscriber = tracing_subscriber::registry().with(json).with(access);
    // The server runs on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let user = User::new("zuul", Password::plain("secret-word")).unwrap();
    let auth = Auth::basic()
        .user(user.grant(Grant::everything(Access::Write)))
        .anonymous(Grant::everything(Access::Read));
    let peer = Peer::start(Server::builder(MemoryStorage::new()).auth(auth)).await;
    peer.send("GET", "/v2/").await;
    let digest = ocicore::Digest::of(b"12345");
    let push = peer
        .request("POST", &format!("/v2/a/b/blobs/uploads/?digest={digest}"))
        .basic_auth("zuul", Some("secret-word"));
    push.body("12345").send().await.unwrap();
    peer.send("GET", &format!("/v2/a/b/blobs/{digest}")).await;
    peer.send("HEAD", &format!("/v2/a/b/blobs/{digest}")).await;
    peer.send("GET", "/v2/a/../b/tags/list").await;
    peer.send("DELETE", "/v2/a/b/manifests/1").await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("secret-word"));
    let mut shown = String::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let fields = &event["fields"];
        assert!(fields["micros"].is_u64(), "{line}");
        shown.push_str(&format!(
            "{} {} {} {} {} {} {}\n",
            event["target"],
            fields["client"],
            fields["user"],
            fields["method"],
            fields["path"],
            fields["status"],
            fields["bytes"],
        ));
    }
    insta::assert_snapshot!(shown);
}
