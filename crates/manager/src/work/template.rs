//! Making and removing templates.

use super::{Done, Failure, Handle, host_up};
use crate::core::Core;
use crate::store::TemplateRow;
use godwit_api::agent::{TemplateFile, TemplateRequest};
use godwit_api::error::ErrorCode;
use godwit_model::ids::HostId;
use std::path::Path;

/// Copies an image into a datastore as a template. What fails leaves nothing behind.
pub(super) async fn create(
    core: &Core,
    handle: &Handle,
    template: &TemplateFile,
    datastore: &str,
    image: &Path,
    host: &HostId,
) -> Done {
    let request = TemplateRequest {
        datastore: datastore.to_owned(),
        image: image.to_owned(),
        template: template.clone(),
        page_key: Some(core.keys.page_key.clone()),
    };
    handle.progress(10, format!("copies the image to {datastore}"));
    let result = async {
        let host = host_up(core, host)?;
        tokio::select! {
            result = host.client.put_template(&request) => result.map_err(Failure::from),
            () = handle.cancelled() => Err(Failure::Cancelled),
        }
    }
    .await;
    if let Err(failure) = result {
        core.store.remove_template(&template.name)?;
        return Err(failure);
    }
    core.store.update_template(&TemplateRow {
        template: template.clone(),
        datastore: datastore.to_owned(),
        made: true,
    })?;
    Ok(Some(template.id.to_string()))
}

/// Removes a template that no clone needs.
pub(super) async fn delete(
    core: &Core,
    handle: &Handle,
    name: &str,
    datastore: &str,
    host: &HostId,
) -> Done {
    handle.progress(20, "removes its files");
    match host_up(core, host)?
        .client
        .delete_template(name, datastore)
        .await
    {
        Err(error) if error.code() != Some(ErrorCode::NotFound) => return Err(error.into()),
        _ => {}
    }
    core.store.remove_template(name)?;
    Ok(None)
}
