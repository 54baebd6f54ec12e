//! What a host has of pages before they are sent: a bounded store of pages that came by in migrations, and the blocks
//! of a template's image.
//!
//! Pages are known by a keyed hash ([`PageKey`]). Nothing here is trusted: whoever takes a page out has it verified by
//! its hash, so a damaged file, a torn entry or a lost write is a miss and never a wrong page.

mod key;
mod layout;
mod store;
mod table;
mod template;

pub use crate::codec::PAGE;
pub use key::{BadPageKey, PageHash, PageKey};
pub use store::{PageStore, StoreError, StoreStats, Visit, VmPages};
pub use template::{IndexError, TemplateIndex};
