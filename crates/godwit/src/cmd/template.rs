//! `godwit template …`

use crate::context::{CliResult, Context};
use crate::output;
use crate::progress::follow;
use godwit_api::farm::CreateTemplate;
use godwit_model::ids::HostId;
use godwit_model::units::Bytes;

/// Templates of the farm.
#[derive(Debug, clap::Subcommand)]
pub enum TemplateCommand {
    /// List the templates
    List,
    /// Make a template of a disk image
    Create(CreateArgs),
    /// Remove a template that no clone needs
    Delete {
        /// Its name
        name: String,
    },
}

/// `godwit template create`
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The template's name
    name: String,
    /// The image, a path on the host (qcow2, raw, vmdk)
    #[arg(long, value_name = "FILE")]
    image: String,
    /// The host that reads the image (any that is up unless given)
    #[arg(long)]
    host: Option<HostId>,
    /// The datastore (the one with the most room unless given)
    #[arg(long)]
    datastore: Option<String>,
    /// Memory of clones
    #[arg(long, default_value = "512M")]
    memory: Bytes,
    /// Virtual CPUs of clones
    #[arg(long, default_value_t = 1)]
    vcpus: u32,
    /// Free text
    #[arg(long, default_value = "")]
    notes: String,
}

impl TemplateCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let farm = context.farm()?;
        match self {
            Self::List => {
                let header = [
                    "name",
                    "datastore",
                    "memory",
                    "vcpus",
                    "disk",
                    "clones",
                    "notes",
                ];
                output::list(context, &farm.templates().await?, &header, |info| {
                    let template = &info.template;
                    vec![
                        template.name.clone(),
                        info.datastore.clone(),
                        template.memory.to_string(),
                        template.vcpus.to_string(),
                        template.disk_size.to_string(),
                        info.clones.to_string(),
                        template.notes.clone(),
                    ]
                })
            }
            Self::Create(args) => {
                let request = CreateTemplate {
                    name: args.name,
                    image: args.image,
                    host: args.host,
                    datastore: args.datastore,
                    memory: args.memory,
                    vcpus: args.vcpus,
                    notes: args.notes,
                };
                let task = farm.create_template(&request).await?;
                follow(context, &farm, vec![task]).await
            }
            Self::Delete { name } => {
                let task = farm.delete_template(&name).await?;
                follow(context, &farm, vec![task]).await
            }
        }
    }
}
