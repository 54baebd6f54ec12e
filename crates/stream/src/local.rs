//! What this host has of pages: its page store and the blocks of the moving VM's template.

use crate::{
    PagesConfig,
    codec::PAGE,
    pages::{PageHash, PageKey, PageStore, TemplateIndex, Visit},
    report::whole,
    wire::Origin,
};

/// What is left to do when the destination has everything, and the VM should not wait for: pages of the blackout are
/// still to be kept.
pub type Afterwards = Box<dyn FnOnce() + Send>;

/// The host's pages as one migration sees them. To be opened before root's rights are dropped.
pub struct LocalPages {
    key: PageKey,
    store: Option<PageStore>,
    /// Where new pages go; none after an error, when the store can still be read.
    visit: Option<Visit>,
    template: Option<TemplateIndex>,
}

impl LocalPages {
    /// Opens what there is. What cannot be opened is done without, and named.
    #[must_use]
    pub fn open(config: &PagesConfig) -> (Self, Vec<String>) {
        let mut without = Vec::new();
        let store = config.store.as_ref().and_then(|store| {
            let opened = PageStore::create_or_open(&store.path, store.size, &config.key)
                .and_then(|opened| opened.begin(config.vm).map(|visit| (opened, visit)));
            opened
                .map_err(|error| without.push(format!("the page store: {}", whole(&error))))
                .ok()
        });
        let template = config.template.as_ref().and_then(|template| {
            TemplateIndex::open(&template.index, &template.image, &config.key)
                .map_err(|error| without.push(format!("the template's pages: {}", whole(&error))))
                .ok()
        });
        let (store, visit) = store.unzip();
        let local = Self {
            key: config.key.clone(),
            store,
            visit,
            template,
        };
        (local, without)
    }

    /// The key of all hashes.
    #[must_use]
    pub fn key(&self) -> &PageKey {
        &self.key
    }

    /// Looks for a page; what comes back has been verified by its hash.
    pub fn find(&mut self, hash: PageHash, page: &mut [u8; PAGE]) -> Option<Origin> {
        if self
            .template
            .as_ref()
            .is_some_and(|template| template.get(hash, page))
        {
            return Some(Origin::Template);
        }
        self.store
            .as_ref()?
            .get(hash, page)
            .then_some(Origin::Store)
    }

    /// Keeps pages for a later migration, except those that the template has. A store that cannot take more is only
    /// read from then on.
    pub fn remember<'a>(&mut self, pages: impl Iterator<Item = (PageHash, &'a [u8; PAGE])>) {
        let Some(visit) = &mut self.visit else {
            return;
        };
        let in_template = |hash| {
            self.template
                .as_ref()
                .is_some_and(|template| template.contains(hash))
        };
        let new: Vec<_> = pages.filter(|(hash, _)| !in_template(*hash)).collect();
        if visit.put(&new).is_err() {
            self.visit = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ByteCount, StoreConfig};
    use nix::mount::{MsFlags, mount, umount};

    #[test]
    fn a_full_disk_ends_the_keeping_and_not_the_finding() {
        if !nix::unistd::Uid::effective().is_root() {
            eprintln!("NOT TESTED: a full disk needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let tmpfs = Some("tmpfs");
        mount(tmpfs, dir.path(), tmpfs, MsFlags::empty(), Some("size=4m")).unwrap();
        let (mut local, without) = LocalPages::open(&PagesConfig {
            key: "5e".repeat(32).parse().unwrap(),
            vm: [7; 16],
            store: Some(StoreConfig {
                path: dir.path().join("store"),
                size: ByteCount(64 << 20),
            }),
            template: None,
        });
        let pages: Vec<_> = (0..2000_u16)
            .map(|seed| {
                let mut page = [7; PAGE];
                page[..2].copy_from_slice(&seed.to_le_bytes());
                (local.key().hash(&page), page)
            })
            .collect();
        for some in pages.chunks(50) {
            local.remember(some.iter().map(|(hash, page)| (*hash, page)));
        }
        let mut out = [0; PAGE];
        let first = local.find(pages[0].0, &mut out);
        let last = local.find(pages[1999].0, &mut [0; PAGE]);
        drop(local);
        umount(dir.path()).unwrap();
        assert!(without.is_empty(), "{without:?}");
        assert_eq!((first, last), (Some(Origin::Store), None));
        assert!(out == pages[0].1);
    }
}
