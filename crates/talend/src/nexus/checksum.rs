//! Checksums as Maven repositories have them: a file beside each file.

use std::fmt;

use md5::Md5;
use ocicore::{Algorithm, Hasher};
use sha1::{Digest as _, Sha1};

/// Hash functions of checksum files, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ChecksumAlgorithm {
    /// SHA-512.
    Sha512,
    /// SHA-256.
    Sha256,
    /// SHA-1: what all repositories have; no protection against intent.
    Sha1,
    /// MD5: likewise.
    Md5,
}

/// A checksum, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    hex: String,
}

impl ChecksumAlgorithm {
    /// All of them, the strongest first.
    pub const ALL: [Self; 4] = [Self::Sha512, Self::Sha256, Self::Sha1, Self::Md5];

    /// The ending of checksum files: `sha512`, `sha256`, `sha1`, `md5`.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Sha512 => "sha512",
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
        }
    }

    /// Digits of a checksum.
    fn digits(self) -> usize {
        match self {
            Self::Sha512 => 128,
            Self::Sha256 => 64,
            Self::Sha1 => 40,
            Self::Md5 => 32,
        }
    }
}

impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha512 => "SHA-512",
            Self::Sha256 => "SHA-256",
            Self::Sha1 => "SHA-1",
            Self::Md5 => "MD5",
        })
    }
}

impl Checksum {
    /// A checksum by its digits; none if these are not hexadecimal or not as many as they should
    /// be.
    pub fn new(algorithm: ChecksumAlgorithm, hex: &str) -> Option<Self> {
        let good = hex.len() == algorithm.digits() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        good.then(|| Self {
            algorithm,
            hex: hex.to_ascii_lowercase(),
        })
    }

    /// Reads a checksum file: the digits alone, before the file's name as `sha1sum` writes it, or
    /// behind it as `openssl` and BSD's tools do. None if it is something else, a page in HTML, say.
    pub fn parse(algorithm: ChecksumAlgorithm, text: &str) -> Option<Self> {
        let line = text.trim_start_matches('\u{feff}').trim().lines().next()?;
        let word = match line.rsplit_once('=') {
            Some((_, digits)) => digits,
            None => line,
        };
        let word = word.split_whitespace().next()?;
        Self::new(algorithm, word)
    }

    /// The hash function.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The digits, in lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

/// Computes several checksums in one pass.
#[derive(Clone, Debug)]
pub(super) struct Sums(Vec<One>);

#[derive(Clone, Debug)]
enum One {
    Oci(Hasher, ChecksumAlgorithm),
    Sha1(Sha1),
    Md5(Md5),
}

impl Sums {
    pub(super) fn new(algorithms: impl IntoIterator<Item = ChecksumAlgorithm>) -> Self {
        let sums = algorithms.into_iter().map(|algorithm| match algorithm {
            ChecksumAlgorithm::Sha512 => One::Oci(Hasher::new(Algorithm::Sha512), algorithm),
            ChecksumAlgorithm::Sha256 => One::Oci(Hasher::new(Algorithm::Sha256), algorithm),
            ChecksumAlgorithm::Sha1 => One::Sha1(Sha1::new()),
            ChecksumAlgorithm::Md5 => One::Md5(Md5::new()),
        });
        Self(sums.collect())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for one in &mut self.0 {
            match one {
                One::Oci(hasher, _) => hasher.update(bytes),
                One::Sha1(hasher) => hasher.update(bytes),
                One::Md5(hasher) => hasher.update(bytes),
            }
        }
    }

    pub(super) fn finish(self) -> Vec<Checksum> {
        let sums = self.0.into_iter().map(|one| match one {
            One::Oci(hasher, algorithm) => Checksum {
                algorithm,
                hex: hasher.finish().hex(),
            },
            One::Sha1(hasher) => Checksum {
                algorithm: ChecksumAlgorithm::Sha1,
                hex: hex(&hasher.finalize()),
            },
            One::Md5(hasher) => Checksum {
                algorithm: ChecksumAlgorithm::Md5,
                hex: hex(&hasher.finalize()),
            },
        });
        sums.collect()
    }

    /// All checksums of some bytes.
    pub(super) fn of(bytes: &[u8]) -> Vec<Checksum> {
        let mut sums = Self::new(ChecksumAlgorithm::ALL);
        sums.update(bytes);
        sums.finish()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checksum_files_are_read_as_tools_write_them() {
        use ChecksumAlgorithm::{Md5, Sha1};
        let md5 = "5d41402abc4b2a76b9719d911017c592";
        for (algorithm, text, expected) in [
            (Md5, md5, Some(md5)),
            (Md5, "5D41402ABC4B2A76B9719D911017C592\r\n", Some(md5)),
            (
                Md5,
                "5d41402abc4b2a76b9719d911017c592  job-0.1.zip\n",
                Some(md5),
            ),
            (
                Md5,
                "MD5(job-0.1.zip)= 5d41402abc4b2a76b9719d911017c592",
                Some(md5),
            ),
            (
                Md5,
                "MD5 (job-0.1.zip) = 5d41402abc4b2a76b9719d911017c592\n",
                Some(md5),
            ),
            (Sha1, md5, None),
            (Md5, "<html><title>Sign in</title></html>", None),
            (Md5, "5d41402abc4b2a76b9719d911017c59z", None),
            (Md5, "", None),
            (Md5, "=", None),
        ] {
            let parsed = Checksum::parse(algorithm, text);
            assert_eq!(parsed.as_ref().map(Checksum::hex), expected, "{text}");
        }
    }

    #[test]
    fn sums_are_those_of_coreutils() {
        let sums: Vec<_> = Sums::of(b"hello")
            .iter()
            .map(|sum| format!("{} {sum}", sum.algorithm()))
            .collect();
        insta::assert_snapshot!(sums.join("\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            for algorithm in ChecksumAlgorithm::ALL {
                let _ = Checksum::parse(algorithm, &text);
            }
        }

        #[test]
        fn pieces_make_no_difference(bytes: Vec<u8>, at in 0usize..100) {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            let mut sums = Sums::new(ChecksumAlgorithm::ALL);
            sums.update(first);
            sums.update(second);
            prop_assert_eq!(sums.finish(), Sums::of(&bytes));
        }
    }
}
