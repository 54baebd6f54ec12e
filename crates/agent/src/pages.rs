//! What this host keeps so that migrations need not send it: the page store, and the index of a template's pages that
//! lies beside the template.

use crate::answer::{Answer, Tell, blocking};
use crate::host::Host;
use crate::host::datastore;
use crate::vm::machine;
use godwit_api::agent::{PageKey, PageStoreReport, PageStoreVm};
use godwit_api::error::ErrorCode;
use godwit_model::ids::VmId;
use godwit_model::units::Bytes;
use godwit_model::vm::VmDefinition;
use godwit_stream::pages::{self, PageStore, TemplateIndex};
use godwit_stream::{ByteCount, PagesConfig, StoreConfig, TemplateConfig};
use std::path::{Path, PathBuf};

/// The index's name in a template's folder.
pub const INDEX: &str = "disk.pages";

/// What a relay of this VM's migration needs to know; nothing without the farm's key.
pub fn config(
    host: &Host,
    key: Option<&PageKey>,
    definition: &VmDefinition,
) -> Option<PagesConfig> {
    let key: pages::PageKey = key?.0.parse().ok()?;
    let template = template_of(host, definition).map(|image| TemplateConfig {
        index: index_of(&image),
        image,
    });
    let template = template.filter(|template| {
        let fits = TemplateIndex::fits(&template.index, &template.image, &key);
        if !fits {
            index_later(host, template.clone(), key.clone());
        }
        fits
    });
    Some(PagesConfig {
        key,
        vm: *definition.id.0.as_bytes(),
        store: store_of(host),
        template,
    })
}

/// This host's page store, unless it shall have none.
fn store_of(host: &Host) -> Option<StoreConfig> {
    let size = size(host);
    (size > Bytes(0)).then(|| StoreConfig {
        path: path(host),
        size: ByteCount(size.0),
    })
}

fn path(host: &Host) -> PathBuf {
    host.config.state_dir.join("pages.store")
}

fn size(host: &Host) -> Bytes {
    let quarter = || Bytes(host.hardware.memory.0 / 4);
    host.config.page_store.unwrap_or_else(quarter)
}

/// The image of the template that the VM's first disk was cloned from.
fn template_of(host: &Host, definition: &VmDefinition) -> Option<PathBuf> {
    let disk = definition.disks.first()?;
    let overlay = datastore::file(&host.config, &disk.datastore, &disk.path).ok()?;
    let template = machine::template_of(&host.config, &overlay).ok()??;
    Some(template.path)
}

fn index_of(image: &Path) -> PathBuf {
    image.with_file_name(INDEX)
}

/// Makes the index of a template that has none, or one of another farm, for the next migration.
fn index_later(host: &Host, template: TemplateConfig, key: pages::PageKey) {
    let tool = host.hardware.qemu.img.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = TemplateIndex::build(&tool, &template.image, &key, &template.index) {
            tracing::warn!(image = %template.image.display(), %error, "the template's pages are not indexed");
        }
    });
}

/// Indexes a template that is being made.
///
/// # Errors
/// The key is none, or the image cannot be read.
pub async fn index(host: &Host, image: PathBuf, key: &PageKey) -> Answer<()> {
    let tool = host.hardware.qemu.img.clone();
    let key: pages::PageKey = key.0.parse().told(ErrorCode::Invalid)?;
    blocking(move || {
        TemplateIndex::build(&tool, &image, &key, &index_of(&image)).told(ErrorCode::Unavailable)
    })
    .await
}

/// What the page store holds and how it did.
///
/// # Errors
/// The store cannot be read.
pub async fn report(host: &Host) -> Answer<PageStoreReport> {
    let (path, size) = (path(host), size(host));
    blocking(move || {
        let mut report = PageStoreReport {
            path: path.clone(),
            size,
            ..PageStoreReport::default()
        };
        let Some(stats) = PageStore::look(&path).told(ErrorCode::Unavailable)? else {
            return Ok(report);
        };
        report.capacity = stats.capacity;
        report.pages = stats.pages;
        report.hits = stats.hits;
        report.misses = stats.misses;
        report.bad = stats.bad;
        report.vms = stats
            .vms
            .into_iter()
            .map(|vm| PageStoreVm {
                vm: VmId(uuid::Uuid::from_bytes(vm.vm)),
                pages: vm.pages,
                seen: vm.seen,
            })
            .collect();
        Ok(report)
    })
    .await
}

/// Forgets every page. Migrations under way go on; they only find nothing.
///
/// # Errors
/// The file cannot be removed.
pub async fn empty(host: &Host) -> Answer<()> {
    let path = path(host);
    blocking(move || match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).told(ErrorCode::Unavailable)
        }
        _ => Ok(()),
    })
    .await
}
