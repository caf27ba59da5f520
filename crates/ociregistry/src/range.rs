//! Parts of content, as HTTP and the upload API name them. Pure.

use std::ops::Range;

/// `bytes=FIRST-LAST` (RFC 9110 §14.1.2); `range` is not empty.
pub(crate) fn request(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// `FIRST-LAST` of a chunk (distribution-spec §Pushing a blob in chunks); `range` is not empty.
pub(crate) fn chunk(range: &Range<u64>) -> String {
    format!("{}-{}", range.start, range.end.saturating_sub(1))
}

/// What a `206` brings, from its `Content-Range` (RFC 9110 §14.4): it must begin where it was asked
/// to, bring something, not more, and be of content of the right size.
pub(crate) fn answered(
    field: Option<&str>,
    asked: &Range<u64>,
    size: u64,
) -> Result<Range<u64>, String> {
    let field = field.ok_or("it sent a part of content without `Content-Range`")?;
    let parsed = parse_content_range(field);
    let (range, total) = parsed.ok_or_else(|| {
        format!(
            "its `Content-Range` is `{}`, expected `bytes FIRST-LAST/SIZE`",
            shown(field)
        )
    })?;
    if range.start != asked.start
        || range.end > asked.end
        || total.is_some_and(|total| total != size)
    {
        return Err(format!(
            "its `Content-Range` is `{}`, asked for `{}` of {size} bytes",
            shown(field),
            chunk(asked)
        ));
    }
    Ok(range)
}

/// How much of an upload a registry has, from its `Range: 0-LAST`, some with the prefix `bytes=`.
/// `0-0` is one byte, or none: registries that have nothing yet say so, too
/// (distribution-spec §Pushing a blob in chunks; docker-registry).
pub(crate) fn uploaded(field: &str) -> Option<Uploaded> {
    let text = field.trim();
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (first, last) = text.split_once('-')?;
    if first.trim() != "0" {
        return None;
    }
    match last.trim() {
        "-1" => Some(Uploaded::Bytes(0)),
        "0" => Some(Uploaded::NoneOrOne),
        last => Some(Uploaded::Bytes(last.parse::<u64>().ok()?.checked_add(1)?)),
    }
}

/// How much of an upload is there. Closed: see [`uploaded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uploaded {
    Bytes(u64),
    NoneOrOne,
}

fn parse_content_range(field: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (unit, rest) = field.trim().split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let first: u64 = first.trim().parse().ok()?;
    let last: u64 = last.trim().parse().ok()?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (unit.eq_ignore_ascii_case("bytes") && first <= last)
        .then(|| last.checked_add(1))
        .flatten()
        .map(|end| (first..end, total))
}

fn shown(field: &str) -> String {
    field
        .chars()
        .take(100)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_verified() {
        let check = |field: Option<&str>, expected: Option<Range<u64>>| {
            assert_eq!(answered(field, &(3..7), 10).ok(), expected, "{field:?}");
        };
        check(Some("bytes 3-6/10"), Some(3..7));
        check(Some("Bytes 3-6/*"), Some(3..7));
        check(Some("bytes 3-4/10"), Some(3..5));
        check(Some("bytes 2-6/10"), None);
        check(Some("bytes 3-7/10"), None);
        check(Some("bytes 3-6/11"), None);
        check(Some("bytes 3-2/10"), None);
        check(Some("bytes */10"), None);
        check(Some("bytes 3-18446744073709551615/*"), None);
        check(Some("items 3-6/10"), None);
        check(Some("\u{7}"), None);
        check(None, None);
        assert_eq!(request(&(3..7)), "bytes=3-6");
        assert_eq!(chunk(&(0..1)), "0-0");
    }

    #[test]
    fn what_is_uploaded() {
        for (field, expected) in [
            ("0-9", Some(Uploaded::Bytes(10))),
            ("bytes=0-9", Some(Uploaded::Bytes(10))),
            ("0-0", Some(Uploaded::NoneOrOne)),
            ("0--1", Some(Uploaded::Bytes(0))),
            ("1-9", None),
            ("0-18446744073709551615", None),
            ("0-", None),
            ("", None),
        ] {
            assert_eq!(uploaded(field), expected, "{field}");
        }
    }

    proptest! {
        #[test]
        fn what_was_asked_is_understood(start: u32, len in 1u64..1000, more in 0u64..1000) {
            let start = u64::from(start);
            let (asked, size) = (start..start + len, start + len + more);
            let field = format!("bytes {}/{size}", chunk(&asked));
            prop_assert_eq!(answered(Some(&field), &asked, size), Ok(asked));
        }

        #[test]
        fn no_field_panics(field: String) {
            let _ = uploaded(&field);
            let _ = answered(Some(&field), &(0..u64::MAX), u64::MAX);
        }
    }
}
