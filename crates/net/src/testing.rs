//! Scratch namespaces for tests: names unique per process and test, removed however the test ends.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::netns::{self, Netns};

/// A name that no other test of this machine uses now.
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "gwt-{stem}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A namespace that ends with the test.
pub struct ScratchNetns {
    netns: Netns,
    name: String,
}

impl ScratchNetns {
    pub fn new() -> Self {
        let name = unique("ns");
        Self {
            netns: netns::ensure(&name).expect("tests of this crate run as root"),
            name,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Deref for ScratchNetns {
    type Target = Netns;

    fn deref(&self) -> &Netns {
        &self.netns
    }
}

impl Drop for ScratchNetns {
    fn drop(&mut self) {
        drop(netns::remove(&self.name));
    }
}
