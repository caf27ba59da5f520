//! What a program's log gets to see.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ocicore::{BytesBlob, Cx, MediaType};
use ociregistry::Credentials;
use tracing::{Event, Metadata, Subscriber, field, span};

use crate::{
    fake::{Fake, Reply},
    support::{quick, shown, store},
};

/// Keeps everything that is logged, also by the crates below, as text.
#[derive(Clone, Debug, Default)]
struct Log {
    text: Arc<Mutex<String>>,
    spans: Arc<AtomicU64>,
}

struct Fields<'a>(&'a mut String);

impl field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        *self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Log {
    fn line(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Fields<'_>)) {
        let mut text = self.text.lock().unwrap();
        *text += &format!("{} {}:", metadata.target(), metadata.name());
        record(&mut Fields(&mut text));
        text.push('\n');
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.line(span.metadata(), |fields| span.record(fields));
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Fields(&mut self.text.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        self.line(event.metadata(), |fields| event.record(fields));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A login with a password, a token, and an upload whose address is signed; the upload fails.
#[tokio::test]
async fn logs_and_errors_have_no_secrets() {
    let log = Log::default();
    let text = Arc::clone(&log.text);
    let _guard = tracing::subscriber::set_default(log);
    let fake = Fake::new(|request, _| {
        let host = request.header("host").unwrap();
        match (&*request.method, request.header("authorization")) {
            ("GET", _) => Reply::new(200).body(r#"{"token":"token-of-the-service"}"#),
            ("POST", None) => Reply::new(401).header(
                "www-authenticate",
                format!("Bearer realm=\"http://{host}/token\",service=\"s\""),
            ),
            ("POST", _) => Reply::new(202).header("location", "/u?signature=signed"),
            ("PUT", _) => Reply::new(307).header("location", "/v?signature=signed"),
            _ => Reply::new(204),
        }
    })
    .await;
    let login = Credentials::basic("me", "hunter2");
    let registry = quick().credentials(&fake.host, login).build();
    let blob = BytesBlob::new(MediaType::OCI_LAYER, "x");
    let error = store(&registry, &fake)
        .put_blob(&Cx::default(), &blob)
        .await
        .unwrap_err();
    let pair = STANDARD.encode("me:hunter2");
    let sent = fake.requests();
    for secret in [
        format!("Basic {pair}"),
        "Bearer token-of-the-service".to_owned(),
    ] {
        let with = |r: &crate::fake::Request| r.header("authorization") == Some(&secret);
        assert!(sent.iter().any(with), "{secret} was never sent");
    }
    let text = text.lock().unwrap();
    for action in [
        "registry: action=\"write\"",
        "method=POST",
        "method=PUT",
        "status=307",
    ] {
        assert!(text.contains(action), "{action} is not in the log:\n{text}");
    }
    let shown = format!("{text}{registry:?}{error:?}{}", shown(&error, &[]));
    for secret in ["hunter2", &pair, "token-of-the-service", "signed"] {
        assert!(!shown.contains(secret), "{secret} is in\n{shown}");
    }
}
