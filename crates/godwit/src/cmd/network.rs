//! `godwit network …`

use super::datastore::join;
use crate::context::{CliResult, Context};
use crate::output;

/// Networks of the farm.
#[derive(Debug, clap::Subcommand)]
pub enum NetworkCommand {
    /// List the networks
    List,
}

impl NetworkCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let Self::List = self;
        let header = ["name", "vms", "hosts"];
        output::list(
            context,
            &context.farm()?.networks().await?,
            &header,
            |network| {
                vec![
                    network.name.clone(),
                    network.vms.to_string(),
                    join(&network.hosts),
                ]
            },
        )
    }
}
