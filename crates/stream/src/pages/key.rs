//! The key and the hashes by which pages are known.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::PAGE;

/// The farm's secret for hashes of pages: 32 bytes, written as 64 hex digits. Without it nobody can ask a host whether
/// it has a certain page.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PageKey([u8; 32]);

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no key for pages: 64 hex digits are one")]
pub struct BadPageKey;

/// The first 16 bytes of a page's keyed BLAKE3 hash. Two of a trillion pages are the same by chance with a probability
/// of about 10⁻¹⁵.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageHash(pub [u8; 16]);

impl PageKey {
    /// The hash of a page.
    #[must_use]
    pub fn hash(&self, page: &[u8; PAGE]) -> PageHash {
        PageHash(first_half(&blake3::keyed_hash(&self.0, page)))
    }

    /// By which a file tells that it was made with this key, without giving it away.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        // A page is longer, so this is no page's hash.
        first_half(&blake3::keyed_hash(&self.0, b"godwit page key"))
    }
}

fn first_half(hash: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

impl FromStr for PageKey {
    type Err = BadPageKey;

    fn from_str(text: &str) -> Result<Self, BadPageKey> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| BadPageKey)?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl TryFrom<String> for PageKey {
    type Error = BadPageKey;

    fn try_from(text: String) -> Result<Self, BadPageKey> {
        text.parse()
    }
}

impl From<PageKey> for String {
    fn from(key: PageKey) -> Self {
        blake3::Hash::from_bytes(key.0).to_hex().to_string()
    }
}

impl fmt::Debug for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key must not end up in a log.
        f.write_str("PageKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_written_and_never_shown() {
        let text = "0f".repeat(32);
        let key: PageKey = text.parse().unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{text}\""));
        assert_eq!(format!("{key:?}"), "PageKey(..)");
        assert!("0f".repeat(31).parse::<PageKey>().is_err());
        let other: PageKey = "a0".repeat(32).parse().unwrap();
        assert_ne!(key.hash(&[1; PAGE]), other.hash(&[1; PAGE]));
        assert_ne!(key.fingerprint(), other.fingerprint());
    }
}
