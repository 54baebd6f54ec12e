//! What this host has of pages: its page store and the blocks of the moving VM's template.

use crate::{
    PagesConfig,
    codec::PAGE,
    pages::{PageHash, PageKey, PageStore, TemplateIndex, Visit},
    report::whole,
    wire::Origin,
};

/// The host's pages as one migration sees them. To be opened before root's rights are dropped.
pub struct LocalPages {
    key: PageKey,
    store: Option<(PageStore, Visit)>,
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
        let local = Self {
            key: config.key.clone(),
            store,
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
        let (store, _) = self.store.as_ref()?;
        store.get(hash, page).then_some(Origin::Store)
    }

    /// Keeps pages for a later migration, except those that the template has. A store that cannot take more is done
    /// without from then on.
    pub fn remember<'a>(&mut self, pages: impl Iterator<Item = (PageHash, &'a [u8; PAGE])>) {
        let Some((_, visit)) = &mut self.store else {
            return;
        };
        let in_template = |hash| {
            self.template
                .as_ref()
                .is_some_and(|template| template.contains(hash))
        };
        let new: Vec<_> = pages.filter(|(hash, _)| !in_template(*hash)).collect();
        if visit.put(&new).is_err() {
            self.store = None;
        }
    }
}
