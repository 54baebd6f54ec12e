//! Amounts with their unit in the type: bytes, mebibytes, milliseconds, monotonic time.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// A number of bytes.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` MiB (2^20 bytes).
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` GiB (2^30 bytes).
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// Whole MiB, rounded down.
    #[must_use]
    pub const fn as_mib(self) -> u64 {
        self.0 >> 20
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in UNITS {
            if self.0 >= 1 << shift {
                #[allow(clippy::cast_precision_loss)] // one decimal is shown
                let value = self.0 as f64 / (1_u64 << shift) as f64;
                return if value.fract() < 0.05 {
                    write!(f, "{value:.0} {unit}")
                } else {
                    write!(f, "{value:.1} {unit}")
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// A text that is not an amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a number with K, M, G or T (powers of 1024), such as 512M")]
pub struct InvalidSize(pub String);

impl FromStr for Bytes {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let invalid = || InvalidSize(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.len()
            - trimmed
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let number: u64 = trimmed[..digits].parse().map_err(|_| invalid())?;
        let shift = match trimmed[digits..].trim().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            _ => return Err(invalid()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(invalid)
    }
}

/// A moment on a host's CLOCK_MONOTONIC, in nanoseconds. Moments of two hosts can be
/// compared only through a measured offset, unless both run under one kernel (the lab).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// Milliseconds from `earlier` to this moment; negative if it is before.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // nanoseconds of a migration fit well
        let nanos = self.0 as f64 - earlier.0 as f64;
        nanos / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!("512M".parse(), Ok(Bytes::mib(512)));
        assert_eq!("10 GB".parse(), Ok(Bytes::gib(10)));
        assert_eq!("7".parse(), Ok(Bytes(7)));
        for bad in ["", "M", "1.5G", "-1", "99999999999T", "5 q"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_print_short() {
        assert_eq!(Bytes(999).to_string(), "999 B");
        assert_eq!(Bytes::mib(512).to_string(), "512 MiB");
        assert_eq!(Bytes(1_610_612_736).to_string(), "1.5 GiB");
    }
}
