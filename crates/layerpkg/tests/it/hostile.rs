//! Layers that want to write where they should not.

use std::fs;

use layerpkg::Error;
use ocicore::Class;
use tar::EntryType;

use crate::support::{House, header, image, tar};

/// One entry of a tar: kind, name, target.
type Entry = (EntryType, &'static str, &'static str);

async fn refused(layers: &[&[Entry]]) -> Error {
    let house = House::new();
    let outside = house.path("outside");
    fs::create_dir(&outside).unwrap();
    let tars: Vec<_> = layers
        .iter()
        .map(|entries| {
            tar(|tar| {
                for (kind, name, link) in *entries {
                    let content: &[u8] = if *kind == EntryType::Regular {
                        b"x"
                    } else {
                        b""
                    };
                    let header = header(*kind, name, link, content.len() as u64);
                    tar.append(&header, content).unwrap();
                }
            })
        })
        .collect();
    house.push(image(&tars), "h.io/demo:1").await;
    let error = house.install("h.io/demo:1").await;
    let error = error.expect_err(&format!("{layers:?}"));
    assert_eq!(house.visible(), Vec::<String>::new(), "{layers:?}");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    let staging = house.prefix.root().join("staging");
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0, "{layers:?}");
    error
}

#[tokio::test]
async fn a_hostile_layer_is_refused_and_nothing_is_visible() {
    use EntryType::{Block, Char, Fifo, Link, Regular, Symlink};
    let mut shown = Vec::new();
    for layers in [
        &[&[(Regular, "../outside/x", "")][..]][..],
        &[&[(Regular, "/etc/x", "")]],
        &[&[(Regular, "a/../../outside/x", "")]],
        &[&[(Symlink, "l", "../../outside"), (Regular, "l/x", "")]],
        &[&[(Symlink, "l", "../../../../outside")]],
        &[&[(Symlink, "l", "/etc/passwd")]],
        &[&[(Symlink, "d", "."), (Symlink, "l", "d/..")]],
        &[&[(Link, "l", "../outside/x")]],
        &[&[(Link, "l", "/etc/passwd")]],
        &[&[(Link, "l", "missing")]],
        &[&[(Symlink, "s", "/etc/passwd"), (Link, "l", "s")]],
        &[&[(Char, "null", "")]],
        &[&[(Block, "disk", "")]],
        &[&[(Fifo, "pipe", "")]],
        &[&[(Regular, "a", "")], &[(Regular, ".wh...", "")]],
        // The link is below, what goes through it above.
        &[&[(Symlink, "l", "../../outside")], &[(Regular, "l/x", "")]],
        &[&[(Symlink, "l", "../../outside")], &[(Link, "x", "l")]],
    ] {
        let error = refused(layers).await;
        assert_eq!(error.class(), Class::Invalid, "{layers:?}: {error}");
        let mut text = format!("{layers:?}\n  {error}");
        let mut at = std::error::Error::source(&error);
        while let Some(cause) = at {
            text += &format!(": {cause}");
            at = cause.source();
        }
        let mut parts: Vec<_> = text.split('`').collect();
        for part in &mut parts {
            if part.starts_with("sha256:") {
                *part = "DIGEST";
            }
        }
        shown.push(parts.join("`"));
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn a_damaged_layer_is_refused() {
    let house = House::new();
    let whole = tar(|tar| {
        let header = header(EntryType::Regular, "a", "", 2000);
        tar.append(&header, &[7; 2000][..]).unwrap();
    });
    house
        .push(image(&[whole[..1000].to_vec()]), "h.io/demo:1")
        .await;
    let error = house.install("h.io/demo:1").await.unwrap_err();
    assert!(matches!(error, Error::Layer { .. }), "{error}");
    assert_eq!(error.class(), Class::Invalid);
    assert_eq!(house.visible(), Vec::<String>::new());
}
