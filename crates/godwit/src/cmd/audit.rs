//! `godwit audit …`

use crate::context::{CliResult, Context};
use crate::output;

/// Who asked for what.
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// List the newest lines of the audit log
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

impl AuditCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let Self::List { limit } = self;
        let header = ["id", "at", "by", "from", "action", "subject", "result"];
        output::list(
            context,
            &context.farm()?.audit(limit).await?,
            &header,
            |record| {
                vec![
                    record.id.to_string(),
                    record.at.to_string(),
                    record.by.clone(),
                    record.from.clone(),
                    record.action.clone(),
                    record.subject.clone(),
                    record.result.clone(),
                ]
            },
        )
    }
}
