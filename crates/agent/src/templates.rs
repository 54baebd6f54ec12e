//! Templates: folders `<datastore>/templates/<name>/` with `template.json` and `disk.qcow2`,
//! which never change once they have their name.

use crate::answer::{Answer, Tell, blocking, conflict, invalid, not_found};
use crate::host::{Host, datastore};
use crate::pages;
use godwit_api::agent::TemplateRequest;
use godwit_api::error::ErrorCode;
use godwit_model::ids::is_label;
use godwit_qemu::image::ImageTool;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Copies an image into a datastore as a template: whole or not at all.
///
/// # Errors
/// If the name is taken, or the image cannot be copied.
pub async fn put(host: &Host, name: &str, request: &TemplateRequest) -> Answer<()> {
    if request.template.name != name {
        return Err(invalid(format!(
            "the template is called `{}` in the body and `{name}` in the path",
            request.template.name
        )));
    }
    let folder = folder(host, &request.datastore, name)?;
    if folder.exists() {
        return Err(conflict(format!(
            "datastore {} has a template `{name}` already: remove it or choose another name",
            request.datastore
        )));
    }
    let temp = folder.with_file_name(format!(".new-{}", request.template.id));
    let made = fill(host, &temp, request).await;
    let (from, to) = (temp.clone(), folder);
    let named = match made {
        Ok(()) => blocking(move || publish(&from, &to)).await,
        Err(error) => Err(error),
    };
    if named.is_err() {
        // Undoes whatever was made.
        let _ = tokio::fs::remove_dir_all(&temp).await;
    }
    named
}

async fn fill(host: &Host, temp: &Path, request: &TemplateRequest) -> Answer<()> {
    tokio::fs::create_dir_all(temp)
        .await
        .told(ErrorCode::Unavailable)?;
    let disk = temp.join("disk.qcow2");
    let tool = ImageTool::at(host.hardware.qemu.img.clone());
    tool.import(&request.image, None, &disk, |_| ())
        .await
        .told(ErrorCode::Invalid)?;
    if let Some(key) = &request.page_key {
        // Without its index a template works as well; only migrations of its clones send more.
        if let Err(error) = pages::index(host, disk.clone(), key).await {
            tracing::warn!(
                template = request.template.name,
                error = error.message,
                "not indexed"
            );
        }
    }
    let mut template = request.template.clone();
    // What the image really is counts.
    let info = tool.info(&disk, None).await.told(ErrorCode::Unavailable)?;
    template.disk_size = template.disk_size.max(info.virtual_size);
    let json = serde_json::to_vec_pretty(&template).told(ErrorCode::Internal)?;
    tokio::fs::write(temp.join("template.json"), json)
        .await
        .told(ErrorCode::Unavailable)
}

/// Read-only, durable, then named; the name is what makes it exist.
fn publish(temp: &Path, folder: &Path) -> Answer<()> {
    for name in ["disk.qcow2", "template.json"] {
        let path = temp.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444))
            .told(ErrorCode::Unavailable)?;
        File::open(&path)
            .and_then(|file| file.sync_all())
            .told(ErrorCode::Unavailable)?;
    }
    File::open(temp)
        .and_then(|dir| dir.sync_all())
        .told(ErrorCode::Unavailable)?;
    // Onto a folder that is not empty, which another template's is, this fails.
    match fs::rename(temp, folder) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
            ) =>
        {
            return Err(conflict(format!("{} was made meanwhile", folder.display())));
        }
        renamed => renamed.told(ErrorCode::Unavailable)?,
    }
    let parent = folder.parent().unwrap_or(folder);
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .told(ErrorCode::Unavailable)
}

/// Removes a template. That no clone uses it is for the caller to know.
///
/// # Errors
/// If there is none of this name.
pub async fn delete(host: &Host, name: &str, datastore: &str) -> Answer<()> {
    let folder = folder(host, datastore, name)?;
    let text = format!("datastore {datastore} has no template `{name}`");
    blocking(move || {
        // Out of sight first: nobody makes a clone of half a template.
        let away = folder.with_file_name(format!(".gone-{}", uuid::Uuid::new_v4()));
        match fs::rename(&folder, &away) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(not_found(text)),
            renamed => renamed.told(ErrorCode::Unavailable)?,
        }
        fs::remove_dir_all(&away).told(ErrorCode::Unavailable)
    })
    .await
}

fn folder(host: &Host, datastore: &str, name: &str) -> Answer<PathBuf> {
    if !is_label(name) {
        return Err(invalid(format!(
            "`{name}` cannot name a template: use 1 to 63 characters of a-z 0-9 - ."
        )));
    }
    Ok(datastore::path_of(&host.config, datastore)?
        .join("templates")
        .join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_gets_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let (target, temps) = (
            dir.path().join("t"),
            ["a", "b"].map(|name| dir.path().join(name)),
        );
        for temp in &temps {
            fs::create_dir(temp).unwrap();
            fs::write(temp.join("disk.qcow2"), temp.display().to_string()).unwrap();
            fs::write(temp.join("template.json"), "{}").unwrap();
        }
        publish(&temps[0], &target).unwrap();
        let error = publish(&temps[1], &target).unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict);
        assert!(
            fs::read_to_string(target.join("disk.qcow2"))
                .unwrap()
                .ends_with("/a")
        );
        assert!(
            fs::metadata(target.join("disk.qcow2"))
                .unwrap()
                .permissions()
                .readonly()
        );
    }
}
