//! What a host has of pages before they are sent: a bounded store of pages that came by in migrations, and the blocks
//! of a template's image.
//!
//! Pages are known by a keyed hash ([`PageKey`]). Nothing here is trusted: whoever takes a page out has it verified by
//! its hash, so a damaged file, a torn entry or a lost write is a miss and never a wrong page.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

mod key;
mod layout;
mod store;
mod table;
mod template;

pub use crate::codec::PAGE;

pub use key::{BadPageKey, PageHash, PageKey};
pub use store::{PageStore, StoreError, StoreStats, Visit, VmPages};
pub use template::{IndexError, TemplateIndex};

/// A name beside `path` that nobody else uses: there a file is made before it gets its own name.
fn beside(path: &Path) -> PathBuf {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("new-{}-{number}", std::process::id()))
}
