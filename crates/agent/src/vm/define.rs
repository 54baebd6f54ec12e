//! Making a VM: its folder, its disks, its seed, its definition. What fails undoes all.

use super::actor::{Actor, Ready, State};
use super::machine::SEED_FILE;
use crate::answer::{Answer, Tell, blocking, conflict, invalid, not_found};
use crate::host::{Host, datastore};
use crate::record::VmRecord;
use godwit_api::agent::{DefineRequest, DiskSource, VmView};
use godwit_api::error::ErrorCode;
use godwit_lease::{VmHome, write_definition};
use godwit_model::epoch::Epoch;
use godwit_model::ids::is_label;
use godwit_model::vm::{Disk, DiskFormat, VmDefinition, VmState};
use godwit_qemu::image::ImageTool;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes the VM. The same request twice is one VM.
///
/// # Errors
/// If it exists otherwise, or something cannot be made; nothing is left then.
pub async fn define(host: &Arc<Host>, request: DefineRequest) -> Answer<VmView> {
    check(host, &request)?;
    let definition = &request.definition;
    let Some(slot) = host.registry.open(definition.id) else {
        return existing(host, definition);
    };
    let home = match host.home(definition) {
        Ok(home) => home,
        Err(error) => {
            host.registry.close(definition.id, &slot);
            return Err(error);
        }
    };
    if let Err(error) = make(host, &request, &home).await {
        host.registry.close(definition.id, &slot);
        return Err(error);
    }
    let actor = Actor::new(host, request.definition, slot, VmState::Stopped)?;
    actor.event("vm.defined", "defined");
    let view = actor.view();
    Ready(actor, State::Stopped { unreleased: None }).spawn();
    Ok(view)
}

fn existing(host: &Host, definition: &VmDefinition) -> Answer<VmView> {
    match host.board.vm(definition.id) {
        Some(view) if view.definition == *definition => Ok(view),
        _ => Err(conflict(format!(
            "VM {} exists on this host, and is another one",
            definition.id
        ))),
    }
}

fn check(host: &Host, request: &DefineRequest) -> Answer<()> {
    let definition = &request.definition;
    definition.check().told(ErrorCode::Invalid)?;
    if request.disks.len() != definition.disks.len() {
        return Err(invalid(format!(
            "{} disks are defined and {} sources are given: give one for each",
            definition.disks.len(),
            request.disks.len()
        )));
    }
    let seed = definition.media.first().filter(|_| request.seed.is_some());
    let seed_fits = seed.is_none_or(|medium| medium.path.ends_with(&format!("/{SEED_FILE}")));
    if request.seed.is_some() && (seed.is_none() || !seed_fits) {
        return Err(invalid(format!(
            "a seed is given: name `vms/{}/{SEED_FILE}` as the first medium",
            definition.id
        )));
    }
    let folder = format!("vms/{}/", definition.id);
    let made = definition
        .disks
        .iter()
        .map(|disk| &disk.path)
        .chain(seed.map(|seed| &seed.path));
    for path in made {
        let plain = path
            .strip_prefix(&folder)
            .is_some_and(|name| !name.contains('/'));
        if !plain {
            return Err(invalid(format!(
                "`{path}`: files of the VM lie in {folder}"
            )));
        }
    }
    for name in definition.datastores() {
        datastore::path_of(&host.config, name)?;
    }
    Ok(())
}

/// Makes everything, or nothing.
async fn make(host: &Arc<Host>, request: &DefineRequest, home: &VmHome) -> Answer<()> {
    let new = home.clone();
    blocking(move || {
        if new.dir().exists() {
            let text = format!(
                "{} exists: VM ids are never used twice",
                new.dir().display()
            );
            return Err(conflict(text));
        }
        new.create().told(ErrorCode::Unavailable)
    })
    .await?;
    let made = fill(host, request, home).await;
    if made.is_err() {
        // Undoes the folder and all in it; no epoch was ever won, so no tombstone is needed.
        let folders = folders(host, &request.definition);
        let _ = blocking(move || {
            for folder in folders {
                let _ = std::fs::remove_dir_all(folder);
            }
            Ok(())
        })
        .await;
    }
    made
}

async fn fill(host: &Arc<Host>, request: &DefineRequest, home: &VmHome) -> Answer<()> {
    let definition = &request.definition;
    for folder in folders(host, definition) {
        tokio::fs::create_dir_all(&folder)
            .await
            .told(ErrorCode::Unavailable)?;
    }
    for (disk, source) in definition.disks.iter().zip(&request.disks) {
        make_disk(host, disk, source).await?;
    }
    if let (Some(seed), Some(medium)) = (&request.seed, definition.media.first()) {
        let path = datastore::file(&host.config, &medium.datastore, &medium.path)?;
        let image = seed.image();
        blocking(move || std::fs::write(path, image).told(ErrorCode::Unavailable)).await?;
    }
    let (home, content) = (home.clone(), definition.clone());
    blocking(move || write_definition(&home, Epoch(0), &content).told(ErrorCode::Unavailable))
        .await?;
    host.records
        .write(&VmRecord::stopped(definition.clone()))
        .await
}

/// The VM's folders on all datastores it uses.
fn folders(host: &Host, definition: &VmDefinition) -> Vec<PathBuf> {
    let disks = definition.disks.iter().map(|disk| disk.datastore.as_str());
    let media = definition
        .media
        .iter()
        .map(|medium| medium.datastore.as_str());
    let names = std::iter::once(definition.datastore.as_str())
        .chain(disks)
        .chain(media);
    let mut paths: Vec<PathBuf> = names
        .filter_map(|name| host.config.datastore(name))
        .map(|datastore| VmHome::new(&datastore.path, definition.id).dir().to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

async fn make_disk(host: &Host, disk: &Disk, source: &DiskSource) -> Answer<()> {
    let tool = ImageTool::at(host.hardware.qemu.img.clone());
    let path = datastore::file(&host.config, &disk.datastore, &disk.path)?;
    let needs_qcow2 = !matches!(source, DiskSource::Empty);
    if needs_qcow2 && disk.format != DiskFormat::Qcow2 {
        return Err(invalid(format!(
            "disk `{}`: clones and imports are qcow2",
            disk.path
        )));
    }
    match source {
        DiskSource::Empty => tool
            .create(&path, disk.format, disk.size)
            .await
            .told(ErrorCode::Unavailable),
        DiskSource::Linked {
            datastore,
            template,
        } => {
            let backing = template_disk(host, datastore, template)?;
            tool.create_overlay(&path, &backing, DiskFormat::Qcow2, Some(disk.size))
                .await
                .told(ErrorCode::Unavailable)
        }
        DiskSource::Full {
            datastore,
            template,
        } => {
            let from = template_disk(host, datastore, template)?;
            copy(&tool, &from, Some(DiskFormat::Qcow2), &path, disk).await
        }
        DiskSource::Import { path: from } => copy(&tool, from, None, &path, disk).await,
    }
}

async fn copy(
    tool: &ImageTool,
    from: &Path,
    known: Option<DiskFormat>,
    to: &Path,
    disk: &Disk,
) -> Answer<()> {
    let format = known.map(|_| godwit_qemu::image::SourceFormat::Qcow2);
    tool.import(from, format, to, |_| ())
        .await
        .told(ErrorCode::Unavailable)?;
    let info = tool
        .info(to, Some(DiskFormat::Qcow2))
        .await
        .told(ErrorCode::Unavailable)?;
    if info.virtual_size < disk.size {
        tool.resize(to, DiskFormat::Qcow2, disk.size)
            .await
            .told(ErrorCode::Unavailable)?;
    }
    Ok(())
}

/// A template's disk.
///
/// # Errors
/// If there is no such template on this host's datastore.
pub fn template_disk(host: &Host, datastore: &str, template: &str) -> Answer<PathBuf> {
    if !is_label(template) {
        return Err(invalid(format!(
            "`{template}` is no template's name: a-z 0-9 - . only"
        )));
    }
    let path = datastore::path_of(&host.config, datastore)?
        .join("templates")
        .join(template)
        .join("disk.qcow2");
    if !path.is_file() {
        return Err(not_found(format!(
            "datastore {datastore} has no template `{template}`: see `godwit template list`"
        )));
    }
    Ok(path)
}
