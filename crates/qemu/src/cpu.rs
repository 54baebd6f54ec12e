//! Which CPU models this host can give to guests.
//!
//! A guest keeps the CPU it booted with, so a farm needs a model that every host offers. QEMU is
//! asked itself, by a short-lived process without a machine: it knows what its accelerator and
//! this host's processor can do. [`Offer::missing`] names the flags that are not there, so that a
//! mismatch can be refused before anything moves.

use crate::{
    accel::Accelerator,
    binary::Qemu,
    qmp::{Qmp, QmpError},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, fs, io, process::Stdio};
use tokio::process::Command;

/// Why the CPU models are not known.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// QEMU cannot be started.
    #[error("QEMU cannot be started to ask for its CPU models: run `godwit doctor`")]
    Start(#[source] io::Error),
    /// QEMU did not answer.
    #[error("QEMU did not tell its CPU models: run `godwit doctor`")]
    Ask(#[source] QmpError),
}

/// What one host offers: each model that can be migrated, with the flags that it lacks here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Definition {
    name: String,
    #[serde(default)]
    unavailable_features: Vec<String>,
    migration_safe: Option<bool>,
}

impl Offer {
    /// Asks QEMU. Takes about a tenth of a second.
    ///
    /// # Errors
    /// If QEMU cannot be started or does not answer.
    pub async fn of_this_host(qemu: &Qemu, accelerator: Accelerator) -> Result<Self, CpuError> {
        let mut child = Command::new(&qemu.system)
            .args([
                "-machine",
                "none",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
            ])
            .args(["-accel", &accelerator.to_string(), "-qmp", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(CpuError::Start)?;
        let stdout = child.stdout.take().expect("it was made a pipe above");
        let stdin = child.stdin.take().expect("it was made a pipe above");
        let qmp = Qmp::over(stdout, stdin).await.map_err(CpuError::Ask)?;
        let definitions: Vec<Definition> = qmp
            .query("query-cpu-definitions", json!({}))
            .await
            .map_err(CpuError::Ask)?;
        // It is killed when dropped, but waiting for it leaves no zombie.
        let _ = child.kill().await;
        Ok(Self::from_definitions(definitions))
    }

    fn from_definitions(definitions: Vec<Definition>) -> Self {
        // `host` and `max` mean something else on every host.
        let safe = definitions
            .into_iter()
            .filter(|d| d.migration_safe.unwrap_or(false));
        Self(safe.map(|d| (d.name, d.unavailable_features)).collect())
    }

    /// The models that run here with all their flags.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|(_, missing)| missing.is_empty())
            .map(|(name, _)| name.as_str())
    }

    /// The flags of `model` that this host lacks; none if it can run; `None` if QEMU does not
    /// know the model.
    #[must_use]
    pub fn missing(&self, model: &str) -> Option<&[String]> {
        self.0.get(model).map(Vec::as_slice)
    }

    /// Whether `model` runs here.
    #[must_use]
    pub fn offers(&self, model: &str) -> bool {
        self.missing(model).is_some_and(<[String]>::is_empty)
    }
}

/// The processor's flags, from `/proc/cpuinfo`.
///
/// # Errors
/// If it cannot be read.
pub fn host_flags() -> io::Result<Vec<String>> {
    fs::read_to_string("/proc/cpuinfo").map(|text| flags_of(&text))
}

/// The processor's name, from `/proc/cpuinfo`.
///
/// # Errors
/// If it cannot be read.
pub fn host_model() -> io::Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    Ok(field(&text, "model name").unwrap_or("unknown").to_owned())
}

fn flags_of(cpuinfo: &str) -> Vec<String> {
    let flags = field(cpuinfo, "flags").unwrap_or_default();
    flags.split_whitespace().map(str::to_owned).collect()
}

/// The first processor's value.
fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_what_changes_with_the_host_is_left_out() {
        let definitions = json!([
            {"name": "Nehalem", "unavailable-features": [], "migration-safe": true},
            {"name": "Skylake", "unavailable-features": ["avx512f", "pku"], "migration-safe": true},
            {"name": "max", "unavailable-features": [], "migration-safe": false},
            {"name": "unknown-here"},
        ]);
        let offer = Offer::from_definitions(serde_json::from_value(definitions).unwrap());
        assert_eq!(offer.models().collect::<Vec<_>>(), ["Nehalem"]);
        assert_eq!(offer.missing("Skylake").unwrap(), ["avx512f", "pku"]);
        assert!(offer.offers("Nehalem") && !offer.offers("Skylake") && !offer.offers("max"));
        assert_eq!(offer.missing("max"), None);
    }

    #[test]
    fn cpuinfo_is_read() {
        let text = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu vme\n\nflags\t\t: other\n";
        assert_eq!(flags_of(text), ["fpu", "vme"]);
        assert_eq!(field(text, "model name"), Some("A CPU"));
    }

    #[tokio::test]
    async fn this_host_offers_the_default_model_under_tcg() {
        let qemu = Qemu::find().unwrap();
        let offer = Offer::of_this_host(&qemu, Accelerator::Tcg).await.unwrap();
        assert!(offer.offers(godwit_model::vm::DEFAULT_CPU_MODEL));
    }
}
