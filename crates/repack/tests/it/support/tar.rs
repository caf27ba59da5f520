//! Tar archives with every field under control.

use tar::{EntryType, Header};

/// A header that the tar crate makes right, and what `change` makes of it before the checksum.
pub(crate) fn member(
    name: &str,
    kind: EntryType,
    content: &[u8],
    change: impl FnOnce(&mut Header),
) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    let len = name.len().min(field.len());
    field[..len].copy_from_slice(&name.as_bytes()[..len]);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    change(&mut header);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

pub(crate) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    member(name, EntryType::Regular, content, |_| {})
}

pub(crate) fn link(name: &str, kind: EntryType, target: &str) -> Vec<u8> {
    member(name, kind, b"", |header| {
        header.set_link_name_literal(target).unwrap();
    })
}

/// A PAX header for the next member.
pub(crate) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let len = (rest + 1..).find(|len| rest + len.to_string().len() == *len);
        content.extend(format!("{} {key}={value}\n", len.unwrap()).into_bytes());
    }
    member("pax", EntryType::XHeader, &content, |_| {})
}

pub(crate) fn build(members: &[Vec<u8>]) -> Vec<u8> {
    let mut out = members.concat();
    out.extend([0; 1024]);
    out
}
