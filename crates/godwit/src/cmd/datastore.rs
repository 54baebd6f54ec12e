//! `godwit datastore …`

use crate::context::{CliResult, Context};
use crate::output;

/// Datastores of the farm.
#[derive(Debug, clap::Subcommand)]
pub enum DatastoreCommand {
    /// List the datastores
    List,
}

impl DatastoreCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let Self::List = self;
        let header = [
            "name",
            "size",
            "free",
            "vms",
            "hosts",
            "something else there",
        ];
        output::list(
            context,
            &context.farm()?.datastores().await?,
            &header,
            |store| {
                vec![
                    store.name.clone(),
                    store.total.to_string(),
                    store.free.to_string(),
                    store.vms.to_string(),
                    join(&store.hosts),
                    join(&store.mismatched),
                ]
            },
        )
    }
}

/// Ids with commas between them.
pub(super) fn join(ids: &[godwit_model::ids::HostId]) -> String {
    ids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
