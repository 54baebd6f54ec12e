//! Templates.

use super::plan::datastore_for;
use super::{Answer, Caller, Service, internal, invalid, not_found, refused};
use crate::store::TemplateRow;
use crate::work::Order;
use godwit_api::agent::TemplateFile;
use godwit_api::error::{ApiError, ErrorCode};
use godwit_api::farm::{Connection, CreateTemplate, TemplateInfo};
use godwit_model::ids::{HostId, TemplateId, is_label};
use godwit_model::task::{Subject, Task};
use godwit_model::units::Bytes;

impl Service {
    /// Every template.
    ///
    /// # Errors
    /// No right, or the database fails.
    pub fn templates(&self, caller: &Caller) -> Answer<Vec<TemplateInfo>> {
        self.may_read(caller)?;
        let rows = self
            .core
            .live
            .templates()
            .map_err(|error| internal(&error))?;
        Ok(rows
            .into_iter()
            .map(|row| TemplateInfo {
                clones: self.clones_of(&row.template.name),
                template: row.template,
                datastore: row.datastore,
            })
            .collect())
    }

    fn clones_of(&self, template: &str) -> usize {
        let vms = self.core.live.vms();
        vms.iter()
            .filter(|vm| vm.row.definition.template.as_deref() == Some(template))
            .count()
    }

    /// Makes a template of an image.
    ///
    /// # Errors
    /// No right, a wrong request, a taken name, no host that can read the image.
    pub fn create_template(&self, caller: &Caller, request: &CreateTemplate) -> Answer<Task> {
        self.change(caller, "template.create", &request.name, || {
            if !is_label(&request.name) {
                return Err(invalid(
                    "template names have 1 to 63 characters of a-z, 0-9, `-`, `.`",
                ));
            }
            let datastore = datastore_for(&self.core.live.hosts(), request.datastore.as_deref())?;
            let host = self.host_with(&datastore, request.host.as_ref())?;
            let template = TemplateFile {
                id: TemplateId::random(),
                name: request.name.clone(),
                memory: request.memory,
                vcpus: request.vcpus,
                disk_size: Bytes::gib(10),
                notes: request.notes.clone(),
            };
            let row = TemplateRow {
                template: template.clone(),
                datastore: datastore.clone(),
                made: false,
            };
            self.core
                .store
                .insert_template(&row)
                .map_err(|error| internal(&error))?;
            let order = Order::CreateTemplate {
                template,
                datastore,
                image: request.image.clone().into(),
                host,
            };
            let task = self.submit(caller, order, subject(&request.name));
            if task.is_err() {
                self.core
                    .store
                    .remove_template(&request.name)
                    .map_err(|e| internal(&e))?;
            }
            task
        })
    }

    /// Removes a template that no clone needs.
    ///
    /// # Errors
    /// No right, there is none, or clones need it.
    pub fn delete_template(&self, caller: &Caller, name: &str) -> Answer<Task> {
        self.change(caller, "template.delete", name, || {
            let rows = self
                .core
                .live
                .templates()
                .map_err(|error| internal(&error))?;
            let row = rows
                .into_iter()
                .find(|row| row.template.name == name)
                .ok_or_else(|| not_found("template", name))?;
            let clones = self.clones_of(name);
            if clones > 0 {
                let why = format!("{clones} linked clones need template {name}: delete them first");
                return Err(ApiError::new(ErrorCode::Conflict, why));
            }
            let host = self.host_with(&row.datastore, None)?;
            let order = Order::DeleteTemplate {
                name: name.to_owned(),
                datastore: row.datastore,
                host,
            };
            self.submit(caller, order, subject(name))
        })
    }

    /// A host that answers and sees the datastore.
    fn host_with(&self, datastore: &str, wanted: Option<&HostId>) -> Answer<HostId> {
        self.core
            .live
            .hosts()
            .into_iter()
            .filter(|host| host.connection == Connection::Up)
            .filter(|host| wanted.is_none_or(|id| *id == host.row.id))
            .find(|host| {
                let stores = host.row.facts.iter().flat_map(|facts| &facts.datastores);
                stores.into_iter().any(|store| store.name == datastore)
            })
            .map(|host| host.row.id)
            .ok_or_else(|| refused(format!("no host that answers sees datastore {datastore}")))
    }
}

fn subject(name: &str) -> Subject {
    Subject {
        kind: "template".into(),
        id: name.to_owned(),
        name: name.to_owned(),
    }
}
