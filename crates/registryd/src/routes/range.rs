use std::ops::Range;

/// What a `Range` header wants of a content (RFC 9110 §14.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: no header, another unit, several ranges, or nothing that can be understood.
    Whole,
    /// A part.
    Part(Range<u64>),
    /// Something that does not exist.
    Unsatisfiable,
}

/// Reads a `Range` header against a content of `size` bytes.
pub(super) fn parse(header: Option<&str>, size: u64) -> Wanted {
    let Some(range) = header.and_then(|value| value.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else {
        return Wanted::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(_), Some(_)) => return Wanted::Unsatisfiable,
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(suffix)) if first.is_empty() => match suffix {
            0 => return Wanted::Unsatisfiable,
            _ => size.saturating_sub(suffix)..size,
        },
        _ => return Wanted::Whole,
    };
    if range.start < range.end {
        Wanted::Part(range)
    } else {
        Wanted::Unsatisfiable
    }
}

/// Reads the `Content-Range` of a chunk, `<start>-<end>` with both ends included
/// (distribution-spec §Pushing a blob in chunks); clients that follow RFC 9110 instead write
/// `bytes <start>-<end>/<size>`.
pub(super) fn parse_chunk(header: &str) -> Option<Range<u64>> {
    let range = header.trim();
    let range = range
        .strip_prefix("bytes")
        .map_or(range, |rest| rest.trim_start_matches(['=', ' ']));
    let range = range.split_once('/').map_or(range, |(range, _)| range);
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let end = last.checked_add(1)?;
    (first < end).then_some(first..end)
}

/// Digits only: no sign, as Rust would take.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More than fits lies beyond every content.
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_content() {
        for (header, wanted) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-5", Wanted::Part(2..6)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=5-50", Wanted::Part(5..10)),
            ("bytes=5-99999999999999999999", Wanted::Part(5..10)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=10-20", Wanted::Unsatisfiable),
            ("bytes=5-0", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
        ] {
            assert_eq!(parse(Some(header), 10), wanted, "{header}");
        }
        assert_eq!(parse(None, 10), Wanted::Whole);
        assert_eq!(parse(Some("bytes=0-"), 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn ranges_of_a_chunk() {
        for (header, range) in [
            ("0-9", Some(0..10)),
            ("10-10", Some(10..11)),
            ("bytes 0-9/100", Some(0..10)),
            ("bytes=0-9", Some(0..10)),
            ("9-0", None),
            ("0-18446744073709551615", None),
            ("0", None),
            ("-", None),
            ("a-b", None),
            ("", None),
        ] {
            assert_eq!(parse_chunk(header), range, "{header}");
        }
    }
}
