//! PAX extended headers (POSIX.1-2001, pax §Extended Header).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::header::number;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// Keys and values of one header, or of several.
#[derive(Debug, Default)]
pub(super) struct Records {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Places and lengths of a sparse file, whose keys are there again and again.
    sparse: Vec<Vec<u8>>,
}

impl Records {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len() + self.sparse.len()
    }

    /// Parses `LENGTH KEY=VALUE\n`…; none if that is not what it is. The last value of a key
    /// counts, and an empty value takes the key away.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let blank = bytes.iter().take(20).position(|&byte| byte == b' ')?;
            let digits = str::from_utf8(&bytes[..blank]).ok()?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(())?;
            let len: usize = digits.parse().ok()?;
            let record = bytes.get(blank + 1..len)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            // Values but for attributes are text, in which a NUL would end them early.
            if key.is_empty() || (!key.starts_with(XATTR) && value.contains(&0)) {
                return None;
            }
            if matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes") {
                // One after the other, the place first.
                let is_place = key.ends_with(b"offset");
                (records.sparse.len() % 2 == usize::from(!is_place)).then_some(())?;
                records.sparse.push(value.to_vec());
            }
            records.values.insert(key.to_vec(), value.to_vec());
            bytes = &bytes[len..];
        }
        Some(records)
    }

    pub(super) fn update(&mut self, later: Self) {
        self.values.extend(later.values);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let value = self.values.get(key).map(Vec::as_slice);
        value.filter(|value| !value.is_empty())
    }

    /// Whether it is one of the three ways in which GNU describes a sparse file.
    pub(super) fn is_sparse(&self) -> bool {
        let mut keys = self.values.keys();
        keys.any(|key| key.starts_with(b"GNU.sparse."))
    }

    /// Its places and lengths, if they are records of their own.
    pub(super) fn sparse_numbers(&self) -> Option<Vec<u64>> {
        self.sparse.iter().map(|value| number(value)).collect()
    }

    pub(super) fn xattrs(&self) -> BTreeMap<Box<[u8]>, Bytes> {
        let named = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let name = key.strip_prefix(XATTR)?;
            Some((name.into(), Bytes::copy_from_slice(value)))
        };
        self.values.iter().filter_map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_cut_by_their_length() {
        let records = Records::parse(b"11 path=ab\n13 x=a\nb=c\nd\n8 path=\n").unwrap();
        assert_eq!(records.get(b"x"), Some(&b"a\nb=c\nd"[..]));
        assert_eq!(records.get(b"path"), None, "taken away");
        for bad in [
            &b"9 path=ab\n"[..],
            b"12 path=ab\n",
            b"11 path ab\n",
            b"+11 path=ab\n",
            b"11path=abc\n",
            b"11 path=abc",
            b"5 =a\n",
            b"0 a=b\n",
            b"1 a=b\n",
            b"99999999999999999999 a=b\n",
            b"11 path=a\0\n",
        ] {
            assert!(Records::parse(bad).is_none(), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Records::parse(&bytes);
        }
    }
}
