//! Hashers whose state can be kept, so that an upload goes on after a restart.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ocicore::{Algorithm, Digest};
use sha2::{
    Digest as _, Sha256, Sha512,
    digest::common::hazmat::{SerializableState, SerializedState},
};

/// A running hash.
#[derive(Clone)]
pub(crate) enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hash {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
            _ => Self::Sha256(Sha256::new()),
        }
    }

    /// What [`Hash::save`] gave; none if it is not that.
    pub(crate) fn restore(algorithm: Algorithm, saved: &str) -> Option<Self> {
        let bytes = STANDARD.decode(saved).ok()?;
        match algorithm {
            Algorithm::Sha512 => {
                let state = SerializedState::<Sha512>::try_from(bytes.as_slice()).ok()?;
                Sha512::deserialize(&state).ok().map(Self::Sha512)
            }
            _ => {
                let state = SerializedState::<Sha256>::try_from(bytes.as_slice()).ok()?;
                Sha256::deserialize(&state).ok().map(Self::Sha256)
            }
        }
    }

    pub(crate) fn save(&self) -> String {
        match self {
            Self::Sha256(hash) => STANDARD.encode(hash.serialize()),
            Self::Sha512(hash) => STANDARD.encode(hash.serialize()),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::sha256(hash.finalize().into()),
            Self::Sha512(hash) => Digest::sha512(hash.finalize().into()),
        }
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hash").field(&self.algorithm()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_hash_goes_on() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for cut in [0, 1, 64, 100, 128, 500] {
                let content = vec![7; 500];
                let mut hash = Hash::new(algorithm);
                hash.update(&content[..cut]);
                let mut again = Hash::restore(algorithm, &hash.save()).unwrap();
                again.update(&content[cut..]);
                assert_eq!(again.finish(), algorithm.digest(&content));
            }
            for bad in ["", "!", "AAAA"] {
                assert!(Hash::restore(algorithm, bad).is_none());
            }
        }
    }
}
