//! VMs: making, cloning, switching, moving and deleting them. Everything that can be known
//! to be wrong is refused here, before a task begins.

use super::plan::{datastore_for, foreign_datastore, host_for, network_for, obstacle};
use super::{Answer, Caller, Service, internal, invalid, not_found, refused};
use crate::core::vm_subject;
use crate::live::LiveVm;
use crate::store::{TemplateRow, VmRow};
use crate::work::Order;
use godwit_api::agent::DiskSource;
use godwit_api::error::{ApiError, ErrorCode};
use godwit_api::farm::{ChangeVm, CloneVm, CreateVm, Customization, Migrate, Power, VmInfo};
use godwit_model::epoch::Epoch;
use godwit_model::ids::{HostId, MigrationId, VmId};
use godwit_model::seed::{Seed, StaticAddress};
use godwit_model::task::Task;
use godwit_model::units::Bytes;
use godwit_model::vm::{
    Boot, DEFAULT_CPU_MODEL, DEFAULT_MACHINE, Disk, DiskFormat, HARDWARE_VERSION, Medium, Nic,
    VmDefinition, VmState,
};

impl Service {
    /// Every VM.
    ///
    /// # Errors
    /// No right.
    pub fn vms(&self, caller: &Caller) -> Answer<Vec<VmInfo>> {
        self.may_read(caller)?;
        Ok(self.core.live.vm_infos())
    }

    /// One VM, by id or name.
    ///
    /// # Errors
    /// No right, or there is none.
    pub fn vm(&self, caller: &Caller, text: &str) -> Answer<VmInfo> {
        self.may_read(caller)?;
        let vm = self.find(text)?;
        self.core
            .live
            .vm_info(vm.row.definition.id)
            .ok_or_else(|| not_found("vm", text))
    }

    fn find(&self, text: &str) -> Answer<LiveVm> {
        self.core
            .live
            .find_vm(text)
            .ok_or_else(|| not_found("vm", text))
    }

    /// Makes a VM with an empty or imported disk.
    ///
    /// # Errors
    /// No right, a wrong request, a taken name, no host that can.
    pub fn create_vm(&self, caller: &Caller, request: &CreateVm) -> Answer<Task> {
        self.change(caller, "vm.create", &request.name, || {
            let hosts = self.core.live.hosts();
            let datastore = datastore_for(&hosts, request.datastore.as_deref())?;
            let mut definition = blank(
                &request.name,
                &datastore,
                request.memory,
                request.vcpus,
                request.disk,
            );
            for network in &request.networks {
                definition
                    .nics
                    .push(nic(network_for(&hosts, Some(network))?));
            }
            if let Some(iso) = &request.iso {
                definition.media.push(Medium {
                    datastore: datastore.clone(),
                    path: iso.clone(),
                });
                definition.boot = Boot::Cdrom;
            }
            let source = match &request.import {
                Some(path) => DiskSource::Import { path: path.into() },
                None => DiskSource::Empty,
            };
            self.begin(
                caller,
                definition,
                request.host.as_ref(),
                vec![source],
                None,
                request.power_on,
            )
        })
    }

    /// Clones a template.
    ///
    /// # Errors
    /// No right, a wrong request, a taken name or address, no host that can.
    pub fn clone_vm(&self, caller: &Caller, request: &CloneVm) -> Answer<Task> {
        self.change(caller, "vm.clone", &request.name, || {
            let template = self.usable_template(&request.template)?;
            let hosts = self.core.live.hosts();
            let wanted = request.datastore.as_deref().unwrap_or(&template.datastore);
            let datastore = datastore_for(&hosts, Some(wanted))?;
            let file = &template.template;
            let memory = request.memory.unwrap_or(file.memory);
            let vcpus = request.vcpus.unwrap_or(file.vcpus);
            let mut definition = blank(&request.name, &datastore, memory, vcpus, file.disk_size);
            definition.template = Some(file.name.clone());
            let network = network_for(&hosts, request.network.as_deref())?;
            definition.nics.push(nic(network));
            let seed = seed(&definition, request.customization.as_ref())?;
            if let Some(customization) = &request.customization {
                self.check_address(customization)?;
                definition.address = Some(customization.address);
            }
            definition.media.push(Medium {
                datastore: datastore.clone(),
                path: format!("vms/{}/seed.iso", definition.id),
            });
            let source = template_disk(&template, request.full);
            self.begin(
                caller,
                definition,
                request.host.as_ref(),
                vec![source],
                Some(seed),
                request.power_on,
            )
        })
    }

    fn usable_template(&self, name: &str) -> Answer<TemplateRow> {
        let templates = self
            .core
            .live
            .templates()
            .map_err(|error| internal(&error))?;
        let template = templates
            .into_iter()
            .find(|row| row.template.name == name)
            .ok_or_else(|| not_found("template", name))?;
        if template.made {
            return Ok(template);
        }
        Err(ApiError::new(
            ErrorCode::Conflict,
            format!("template {name} is still being made"),
        ))
    }

    /// Two VMs with one address would take each other's traffic.
    fn check_address(&self, customization: &Customization) -> Answer<()> {
        let address = customization.address;
        let vms = self.core.live.vms();
        match vms
            .iter()
            .find(|vm| vm.row.definition.address == Some(address))
        {
            Some(vm) => Err(ApiError::new(
                ErrorCode::Conflict,
                format!("address {address} belongs to {}", vm.row.definition.name),
            )),
            None => Ok(()),
        }
    }

    /// Checks a new VM, reserves its name and starts the task that makes it.
    fn begin(
        &self,
        caller: &Caller,
        definition: VmDefinition,
        host: Option<&HostId>,
        disks: Vec<DiskSource>,
        seed: Option<Seed>,
        power_on: bool,
    ) -> Answer<Task> {
        definition
            .check()
            .map_err(|error| invalid(error.to_string()))?;
        let (hosts, vms) = (self.core.live.hosts(), self.core.live.vms());
        let host = host_for(&hosts, &vms, &definition, host)?.row.id.clone();
        let row = VmRow {
            definition: definition.clone(),
            host: host.clone(),
            newest_epoch: None,
            made: false,
        };
        self.core
            .live
            .insert_vm(row)
            .map_err(|error| internal(&error))?;
        let subject = vm_subject(&definition);
        let id = definition.id;
        let order = Order::Create {
            definition,
            host,
            disks,
            seed,
            power_on,
        };
        let task = self.submit(caller, order, subject);
        if task.is_err() {
            self.core
                .live
                .remove_vm(id)
                .map_err(|error| internal(&error))?;
        }
        task
    }

    /// Switches a VM's power.
    ///
    /// # Errors
    /// No right, there is none, another task holds it, or it is not in a state for it.
    pub fn power(&self, caller: &Caller, text: &str, power: &Power) -> Answer<Task> {
        self.change(caller, "vm.power", text, || {
            let vm = self.find(text)?;
            possible(&vm, power)?;
            let epoch = next_epoch(&vm);
            let subject = vm_subject(&vm.row.definition);
            let order = Order::Power {
                vm: vm.row.definition.id,
                power: power.clone(),
                epoch,
            };
            self.submit(caller, order, subject)
        })
    }

    /// Deletes a stopped VM.
    ///
    /// # Errors
    /// No right, there is none, it runs, or another task holds it.
    pub fn delete_vm(&self, caller: &Caller, text: &str) -> Answer<Task> {
        self.change(caller, "vm.delete", text, || {
            let vm = self.find(text)?;
            let name = &vm.row.definition.name;
            match state_of(&vm)? {
                VmState::Stopped => {}
                state => {
                    return Err(ApiError::new(
                        ErrorCode::Conflict,
                        format!("{name} is {state}: stop it first (`godwit vm stop {name}`)"),
                    ));
                }
            }
            let subject = vm_subject(&vm.row.definition);
            self.submit(
                caller,
                Order::Delete {
                    vm: vm.row.definition.id,
                },
                subject,
            )
        })
    }

    /// Changes what is kept of a VM. It takes effect for work that begins afterwards.
    ///
    /// # Errors
    /// No right, there is none, or a value makes no sense.
    pub fn change_vm(&self, caller: &Caller, text: &str, request: &ChangeVm) -> Answer<VmInfo> {
        self.change(caller, "vm.change", text, || {
            let mut definition = self.find(text)?.row.definition;
            if let Some(name) = &request.application {
                definition.application = Some(name.clone()).filter(|name| !name.is_empty());
            }
            definition
                .check()
                .map_err(|error| invalid(error.to_string()))?;
            let id = definition.id;
            self.core
                .live
                .update_vm(id, |row| {
                    row.definition.application = definition.application;
                })
                .map_err(|error| internal(&error))
        })?;
        self.vm(caller, text)
    }

    /// Moves a running VM.
    ///
    /// # Errors
    /// No right, there is none, it does not run, or the destination lacks something.
    pub fn migrate(&self, caller: &Caller, text: &str, request: &Migrate) -> Answer<Task> {
        self.change(caller, "vm.migrate", text, || {
            let vm = self.find(text)?;
            let definition = &vm.row.definition;
            let state = state_of(&vm)?;
            if state != VmState::Running {
                let why = format!(
                    "{} is {state}: only a running VM can be moved",
                    definition.name
                );
                return Err(ApiError::new(ErrorCode::Conflict, why));
            }
            if vm.row.host == request.to {
                let why = format!("{} is on {} already", definition.name, request.to);
                return Err(ApiError::new(ErrorCode::Conflict, why));
            }
            let destination = self
                .core
                .live
                .host(&request.to)
                .ok_or_else(|| not_found("host", request.to.as_str()))?;
            if let Some(why) = obstacle(&destination, &self.core.live.vms(), definition) {
                let name = &definition.name;
                return Err(refused(format!(
                    "{name} cannot go to {}: {why}",
                    request.to
                )));
            }
            let source = self.core.live.host(&vm.row.host);
            let both = source
                .and_then(|host| host.row.facts)
                .zip(destination.row.facts.as_ref());
            if let Some((source, destination)) = both
                && let Some(store) = foreign_datastore(&source, destination, definition)
            {
                return Err(refused(format!(
                    "{} cannot go to {}: what it calls {store} is another datastore than on {}",
                    definition.name, request.to, vm.row.host
                )));
            }
            let order = Order::Migrate {
                vm: definition.id,
                migration: MigrationId::random(),
                epoch: next_epoch(&vm),
                source: vm.row.host.clone(),
                destination: request.to.clone(),
                options: request.options,
            };
            self.submit(caller, order, vm_subject(definition))
        })
    }
}

/// The epoch after the newest that is known. If another has come since, the claim is lost
/// and nothing happens: the number is never "whatever is newest then".
fn next_epoch(vm: &LiveVm) -> Epoch {
    let reported = vm
        .view
        .as_ref()
        .and_then(|view| view.newest_epoch.max(view.epoch));
    vm.row
        .newest_epoch
        .max(reported)
        .map_or(Epoch::FIRST, Epoch::next)
}

fn state_of(vm: &LiveVm) -> Answer<VmState> {
    vm.view.as_ref().map(|view| view.state).ok_or_else(|| {
        let name = &vm.row.definition.name;
        let why = format!(
            "what {name} does is not known: host {} does not answer",
            vm.row.host
        );
        ApiError::new(ErrorCode::Unavailable, why)
    })
}

fn possible(vm: &LiveVm, power: &Power) -> Answer<()> {
    let state = state_of(vm)?;
    let fits = match power {
        Power::On => state == VmState::Stopped,
        Power::Off { .. } => matches!(state, VmState::Running | VmState::Stopping),
        Power::Kill => state.has_process(),
        Power::Pause => state == VmState::Running,
        Power::Resume => matches!(state, VmState::Paused | VmState::IoError),
    };
    if fits {
        return Ok(());
    }
    let name = &vm.row.definition.name;
    Err(ApiError::new(
        ErrorCode::Conflict,
        format!("{name} is {state}: that is not possible now"),
    ))
}

/// A VM with the defaults of the hardware contract.
fn blank(name: &str, datastore: &str, memory: Bytes, vcpus: u32, disk: Bytes) -> VmDefinition {
    let id = VmId::random();
    VmDefinition {
        id,
        name: name.to_owned(),
        hardware: HARDWARE_VERSION,
        machine: DEFAULT_MACHINE.to_owned(),
        cpu_model: DEFAULT_CPU_MODEL.to_owned(),
        memory,
        vcpus,
        datastore: datastore.to_owned(),
        disks: vec![Disk {
            datastore: datastore.to_owned(),
            path: format!("vms/{id}/disk0.qcow2"),
            format: DiskFormat::Qcow2,
            size: disk,
        }],
        media: Vec::new(),
        nics: Vec::new(),
        boot: Boot::Disk,
        address: None,
        template: None,
        application: None,
        notes: String::new(),
    }
}

/// A card with a random address of QEMU's range (52:54:00).
fn nic(network: String) -> Nic {
    let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
    Nic {
        network,
        mac: format!("52:54:00:{a:02x}:{b:02x}:{c:02x}"),
    }
}

fn template_disk(template: &TemplateRow, full: bool) -> DiskSource {
    let (datastore, template) = (template.datastore.clone(), template.template.name.clone());
    if full {
        DiskSource::Full {
            datastore,
            template,
        }
    } else {
        DiskSource::Linked {
            datastore,
            template,
        }
    }
}

fn seed(definition: &VmDefinition, customization: Option<&Customization>) -> Answer<Seed> {
    if let Some(Customization { prefix, .. }) = customization
        && !(1..=31).contains(prefix)
    {
        return Err(invalid(format!(
            "prefix length {prefix}: give 1 to 31 (24 for 255.255.255.0)"
        )));
    }
    Ok(Seed {
        instance_id: definition.id.to_string(),
        hostname: definition.name.clone(),
        addresses: customization
            .map(|who| StaticAddress {
                address: who.address,
                prefix: who.prefix,
            })
            .into_iter()
            .collect(),
        gateway: customization.and_then(|who| who.gateway),
        dns: customization.map(|who| who.dns.clone()).unwrap_or_default(),
        mac: definition.nics.first().map(|nic| nic.mac.clone()),
    })
}
