use std::io;

use ocicore::{Digest, Error, conformance::errors};

#[test]
fn each_error_says_what_is_wrong() {
    let digest = |text: &str| Box::new(Digest::of(text.as_bytes()));
    let text = |text: &str| text.to_owned();
    let all = [
        Error::parse("tag", ".x", "at most 128 characters of [A-Za-z0-9_.-]"),
        Error::Digest {
            expected: digest("a"),
            actual: digest("b"),
        },
        Error::Size {
            digest: digest("a"),
            expected: 7,
            actual: 8,
        },
        Error::Document {
            what: "manifest",
            digest: digest("a"),
            source: "it is no image".into(),
        },
        Error::Platform {
            digest: digest("a"),
            platform: text("linux/riscv64"),
            available: text("linux/amd64, linux/arm64"),
        },
        Error::Limit {
            what: text("`manifest.json`"),
            limit: 4096,
        },
        Error::Format {
            path: text("image.tar"),
            fault: text("it holds neither `oci-layout` nor `manifest.json`"),
        },
        Error::Cancelled,
        Error::not_found("resolve", "v1", "h.example/app"),
        Error::io("write", "v1", "/layout", io::ErrorKind::StorageFull.into()),
    ];
    let source = include_str!("../../src/error.rs");
    let shown = errors::shown(&all, source, |error| (error.class(), None::<&str>));
    insta::assert_snapshot!(shown);
}
