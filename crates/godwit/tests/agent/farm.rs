//! Two real agents as processes, on loopback addresses, with one datastore, and a tiny guest.

use super::host::{PATIENCE, TestHost};
use godwit_api::agent::{
    DefineRequest, DiskSource, IncomingRequest, MigrationOptions, MigrationView, OutgoingRequest,
    PageKey, PowerRequest, TemplateFile, TemplateRequest,
};
use godwit_api::http::CallError;
use godwit_model::epoch::Epoch;
use godwit_model::host::PROTOCOL_VERSION;
use godwit_model::ids::{MigrationId, TemplateId, VmId};
use godwit_model::seed::Seed;
use godwit_model::units::Bytes;
use godwit_model::vm::{
    Boot, DEFAULT_CPU_MODEL, DEFAULT_MACHINE, Disk, DiskFormat, HARDWARE_VERSION, Medium,
    VmDefinition, VmState,
};
use godwit_tls::Ca;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Two hosts.
pub struct Farm {
    pub ca: Ca,
    pub hosts: Vec<TestHost>,
    pub folder: TempDir,
    /// The key for hashes of pages, as the manager would give it.
    pub page_key: PageKey,
}

impl Farm {
    /// Starts two agents and waits until they answer.
    pub async fn start() -> Self {
        Self::start_with(["", ""]).await
    }

    /// The same with more in their configurations.
    pub async fn start_with(more: [&str; 2]) -> Self {
        godwit_tls::install_provider();
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("SAN1")).expect("a datastore");
        let ca = Ca::create("test farm").expect("a CA");
        let hosts = [("a", more[0]), ("b", more[1])];
        let hosts = hosts
            .map(|(name, more)| TestHost::new(&ca, folder.path(), name, more))
            .into();
        let mut farm = Self {
            ca,
            hosts,
            folder,
            page_key: PageKey("5e".repeat(32)),
        };
        for host in &mut farm.hosts {
            host.start();
        }
        for host in &farm.hosts {
            host.answers().await;
        }
        farm
    }

    pub fn a(&self) -> &TestHost {
        &self.hosts[0]
    }

    pub fn b(&self) -> &TestHost {
        &self.hosts[1]
    }

    pub fn datastore(&self) -> PathBuf {
        self.folder.path().join("SAN1")
    }

    /// What a guest is like, unless it is said otherwise.
    pub fn definition(&self, name: &str) -> VmDefinition {
        let id = VmId::random();
        VmDefinition {
            id,
            name: name.into(),
            hardware: HARDWARE_VERSION,
            machine: DEFAULT_MACHINE.into(),
            cpu_model: DEFAULT_CPU_MODEL.into(),
            memory: Bytes::mib(64),
            vcpus: 1,
            datastore: "SAN1".into(),
            disks: vec![Disk {
                datastore: "SAN1".into(),
                path: format!("vms/{id}/disk0.qcow2"),
                format: DiskFormat::Qcow2,
                size: Bytes::mib(8),
            }],
            media: vec![],
            nics: vec![],
            boot: Boot::Disk,
            address: None,
            template: None,
            application: None,
            notes: String::new(),
        }
    }

    /// A guest that ticks: defined at the first host, not started.
    pub async fn define(&self, name: &str) -> VmDefinition {
        let image = self.folder.path().join("ticker.raw");
        fs::write(&image, ticker()).expect("the guest's disk");
        let definition = self.definition(name);
        let request = DefineRequest {
            definition: definition.clone(),
            disks: vec![DiskSource::Import { path: image }],
            seed: None,
        };
        let view = self.a().client.define(&request).await.expect("defines");
        assert_eq!(view.state, VmState::Stopped);
        definition
    }

    /// A linked clone of an image, made a template first: 512 MB, not started.
    pub async fn clone_of(&self, image: &Path, name: &str) -> VmDefinition {
        let template = TemplateFile {
            id: TemplateId::random(),
            name: "golden".into(),
            memory: Bytes::mib(512),
            vcpus: 1,
            disk_size: Bytes::gib(10),
            notes: String::new(),
        };
        let request = TemplateRequest {
            datastore: "SAN1".into(),
            image: image.to_owned(),
            template,
            page_key: Some(self.page_key.clone()),
        };
        self.a()
            .client
            .put_template(&request)
            .await
            .expect("a template");
        let mut definition = self.definition(name);
        definition.memory = Bytes::mib(512);
        definition.disks[0].size = Bytes::gib(10);
        definition.media = vec![Medium {
            datastore: "SAN1".into(),
            path: format!("vms/{}/seed.iso", definition.id),
        }];
        let request = DefineRequest {
            definition: definition.clone(),
            disks: vec![DiskSource::Linked {
                datastore: "SAN1".into(),
                template: "golden".into(),
            }],
            seed: Some(Seed {
                instance_id: definition.id.to_string(),
                hostname: name.into(),
                addresses: vec![],
                gateway: None,
                dns: vec![],
                mac: None,
            }),
        };
        self.a().client.define(&request).await.expect("defines");
        definition
    }

    /// A guest that ticks, running at the first host by epoch 1.
    pub async fn running(&self, name: &str) -> VmDefinition {
        let definition = self.define(name).await;
        let start = PowerRequest::Start {
            epoch: Epoch::FIRST,
        };
        let view = self
            .a()
            .client
            .power(definition.id, &start)
            .await
            .expect("starts");
        assert_eq!(view.state, VmState::Running);
        self.a().ticks(definition.id).await;
        definition
    }

    /// The host that runs the VM, once that is settled: running there, and unknown at the other.
    pub async fn whereabouts(&self, vm: &VmDefinition) -> usize {
        let began = Instant::now();
        loop {
            let states = [self.a().state(vm.id).await, self.b().state(vm.id).await];
            match states {
                [Some(VmState::Running), None] => return 0,
                [None, Some(VmState::Running)] => return 1,
                _ => {}
            }
            let logs = || format!("{}\n----\n{}", self.a().log(), self.b().log());
            assert!(began.elapsed() < PATIENCE, "{states:?}: {}", logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Prepares the destination and starts the source.
    pub async fn begin(
        &self,
        vm: &VmDefinition,
        from: usize,
        epoch: u64,
        options: MigrationOptions,
    ) -> Result<MigrationId, CallError> {
        let (source, destination) = (&self.hosts[from], &self.hosts[1 - from]);
        let migration = MigrationId::random();
        let incoming = IncomingRequest {
            protocol: PROTOCOL_VERSION,
            migration,
            definition: vm.clone(),
            epoch: Epoch(epoch),
            source: source.peer(),
            options,
            page_key: Some(self.page_key.clone()),
        };
        let began = Instant::now();
        let reply = destination.client.incoming(&incoming).await?;
        let outgoing = OutgoingRequest {
            migration,
            vm: vm.id,
            epoch: Epoch(epoch),
            destination: destination.peer(),
            relay: reply.relay,
            prepare_ms: began.elapsed().as_secs_f64() * 1000.0,
            options,
            page_key: Some(self.page_key.clone()),
        };
        source.client.outgoing(&outgoing).await?;
        Ok(migration)
    }

    /// Moves a VM and returns the source's last view.
    pub async fn migrate(&self, vm: &VmDefinition, from: usize, epoch: u64) -> MigrationView {
        let options = MigrationOptions::default();
        let id = self.begin(vm, from, epoch, options).await.expect("begins");
        self.hosts[from].end_of(id).await
    }
}

/// A boot sector in 16-bit code: at each timer interrupt (18 a second) it changes one byte in
/// one of 16 pages and writes a dot to the serial port. It costs next to no CPU.
fn ticker() -> Vec<u8> {
    let code: [u8; 24] = [
        0xb8, 0x00, 0x20, // mov ax, 0x2000
        0x8e, 0xc0, // mov es, ax
        0x31, 0xff, // xor di, di
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xfb, // again: sti
        0xf4, // hlt
        0x26, 0xfe, 0x05, // inc byte [es:di]
        0x81, 0xc7, 0x00, 0x10, // add di, 0x1000
        0xb0, 0x2e, // mov al, '.'
        0xee, // out dx, al
        0xeb, 0xf2, // jmp again
    ];
    let mut disk = vec![0; 1 << 20];
    disk[..code.len()].copy_from_slice(&code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

/// How many QEMU processes of a VM there are on this machine.
pub fn qemus_of(vm: VmId) -> usize {
    let id = vm.to_string();
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let has_id = |line: &Vec<u8>| {
        line.split(|byte| *byte == 0)
            .any(|part| part == id.as_bytes())
    };
    lines.filter(has_id).count()
}
