//! The lab as the bench uses it: two blades, a datastore, a template, and the farm's manager.

use std::fs::File;
use std::path::{Path, PathBuf};

use godwit_api::farm::client::FarmClient;
use godwit_api::farm::{Connection, TemplateInfo};
use godwit_lab::exec;
use godwit_lab::farm::Access;
use godwit_lab::folder::{Description, Folder};
use godwit_lab::mounts::DATASTORE_ROOT;
use godwit_lab::network;
use godwit_lab::plan::{Blade, SHARED_CARD};
use godwit_model::units::Bytes;
use godwit_net::{Netns, counters};
use nix::fcntl::{Flock, FlockArg};

use crate::error::BenchError;
use crate::plan::{Link, Side};

/// A lab that is up.
#[derive(Debug, Clone)]
pub struct Lab {
    folder: Folder,
    description: Description,
    blades: [Blade; 2],
    /// Its manager.
    pub client: FarmClient,
    /// What is cloned.
    pub template: Template,
}

/// What the VMs are clones of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Where it lies, and where clones go.
    pub datastore: String,
    /// Memory of a clone.
    pub memory: Bytes,
    /// vCPUs of a clone.
    pub vcpus: u32,
}

impl Lab {
    /// The lab in this folder.
    ///
    /// # Errors
    /// It is not up, has less than two hosts, or no fitting template.
    pub async fn find(dir: &Path, template: Option<&str>) -> Result<Self, BenchError> {
        let folder = Folder::new(dir);
        let up = |found: &Description| network::is_there(&found.spec, &found.plan);
        let Some(description) = folder.description()?.filter(up) else {
            return Err(BenchError::Setup(format!(
                "there is no lab in {}: build one with `godwit lab up --dir {0}`",
                dir.display()
            )));
        };
        let [a, b, ..] = description.plan.blades.as_slice() else {
            return Err(BenchError::Setup(
                "a VM moves between two blades, and this lab has one".into(),
            ));
        };
        let client = Access::new(&description, &folder).client()?;
        let hosts = client
            .hosts()
            .await
            .map_err(BenchError::call("listing the hosts"))?;
        for blade in [a, b] {
            let is_up = hosts
                .iter()
                .any(|host| host.id.as_str() == blade.name && host.connection == Connection::Up);
            if !is_up {
                return Err(BenchError::Setup(format!("{} is not up", blade.name)));
            }
        }
        let templates = client
            .templates()
            .await
            .map_err(BenchError::call("listing the templates"))?;
        Ok(Self {
            blades: [a.clone(), b.clone()],
            template: choose(&templates, template)?,
            client,
            folder,
            description,
        })
    }

    /// Keeps other benches off this lab until it is dropped: they would measure each other.
    ///
    /// # Errors
    /// One runs.
    pub fn lock(&self) -> Result<Flock<File>, BenchError> {
        let path = self.dir().join("bench.lock");
        let file = File::create(&path).map_err(BenchError::file("write", &path))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            BenchError::Setup("another bench runs on this lab: wait for its end".into())
        })
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// One of the two blades.
    #[must_use]
    pub fn blade(&self, side: Side) -> &Blade {
        &self.blades[side.index()]
    }

    /// A blade's network namespace.
    #[must_use]
    pub fn netns(&self, side: Side) -> Netns {
        Netns::named(self.blade(side).netns.clone())
    }

    /// What the card is that VMs and migration share.
    #[must_use]
    pub fn link(&self) -> Link {
        match self.description.spec.bandwidth {
            Some(_) => Link::Shaped,
            None => Link::Unshaped,
        }
    }

    /// Its rate in bits per second, where it is shaped.
    #[must_use]
    pub fn bits_per_second(&self) -> Option<u64> {
        let rate = self.description.spec.bandwidth?;
        Some(rate.bits_per_second())
    }

    /// The template's disk, as a blade sees it.
    #[must_use]
    pub fn template_disk(&self) -> PathBuf {
        self.in_blade(&format!("templates/{}/disk.qcow2", self.template.name))
    }

    /// A path on the template's datastore, as a blade sees it.
    #[must_use]
    pub fn in_blade(&self, path: &str) -> PathBuf {
        Path::new(DATASTORE_ROOT)
            .join(&self.template.datastore)
            .join(path)
    }

    /// The same path as the machine sees it.
    #[must_use]
    pub fn on_machine(&self, path: &str) -> PathBuf {
        let datastore = &self.template.datastore;
        self.folder
            .datastore(&self.description.spec, datastore)
            .join(path)
    }

    /// Address of a VM of the bench.
    #[must_use]
    pub fn address(&self, last: u8) -> std::net::Ipv4Addr {
        self.description.spec.production.host(last)
    }

    /// The VMs' gateway.
    #[must_use]
    pub fn gateway(&self) -> std::net::Ipv4Addr {
        self.description.spec.production.gateway()
    }

    /// Bytes that the blade's shared card has sent and received so far.
    ///
    /// # Errors
    /// The blade is gone.
    pub fn card(&self, side: Side) -> Result<Card, BenchError> {
        let traffic = self
            .netns(side)
            .run(|| counters::of(SHARED_CARD))??
            .ok_or_else(|| {
                let name = &self.blade(side).name;
                BenchError::Setup(format!("{name} has no card {SHARED_CARD}"))
            })?;
        Ok(Card {
            sent: traffic.sent_bytes,
            received: traffic.received_bytes,
        })
    }

    /// Runs a command in a blade to its end and returns what it printed.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub async fn run_in(&self, side: Side, argv: Vec<String>) -> Result<String, BenchError> {
        let what = argv.join(" ");
        let (dir, name) = (self.dir().to_owned(), self.blade(side).name.clone());
        let done = tokio::task::spawn_blocking(move || exec::output(&dir, &name, &argv)).await;
        let output = done.map_err(|error| BenchError::failed(&what, error.to_string()))??;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(BenchError::failed(what, said));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What a card has carried so far, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// Sent by the blade.
    pub sent: u64,
    /// Received by it.
    pub received: u64,
}

/// The template asked for by name, else the only one.
fn choose(all: &[TemplateInfo], wanted: Option<&str>) -> Result<Template, BenchError> {
    let names: Vec<&str> = all.iter().map(|each| each.template.name.as_str()).collect();
    let found = match (wanted, all) {
        (Some(name), _) => all.iter().find(|each| each.template.name == name),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let Some(found) = found else {
        return Err(BenchError::Setup(match names.as_slice() {
            [] => "there is no template: make one with `godwit image build` and `godwit template create`".into(),
            names => format!("choose a template with --template: there are {}", names.join(", ")),
        }));
    };
    Ok(Template {
        name: found.template.name.clone(),
        datastore: found.datastore.clone(),
        memory: found.template.memory,
        vcpus: found.template.vcpus,
    })
}
