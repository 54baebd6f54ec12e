//! Deleting a stopped VM: the last epoch is won, then the files go; the epoch files stay.

use super::actor::Actor;
use crate::answer::{Answer, Tell, conflict, tell};
use crate::config::AgentConfig;
use godwit_api::error::ErrorCode;
use godwit_lease::{Claim, ClaimError, Lease, Purpose, VmHome};
use godwit_model::epoch::Epoch;
use godwit_model::vm::VmDefinition;

/// Deletes the VM and its files. May be asked again after a failure.
///
/// # Errors
/// If another host runs it, or the storage refuses.
pub async fn delete(actor: &mut Actor) -> Answer<()> {
    let (home, definition) = (actor.home.clone(), actor.definition.clone());
    let config = actor.host.config.clone();
    actor
        .host
        .lease(move |lease| {
            let claim = win(lease, &home)?;
            // After the epoch is won nobody can start the VM any more.
            for path in other_folders(&config, &definition) {
                match std::fs::remove_dir_all(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(tell(ErrorCode::Unavailable, &error));
                    }
                    _ => {}
                }
            }
            home.remove(&claim).told(ErrorCode::Unavailable)
        })
        .await?;
    actor.event("vm.deleted", "deleted with its disks");
    actor.leave().await;
    Ok(())
}

/// The VM's folders on datastores other than its own.
fn other_folders(config: &AgentConfig, definition: &VmDefinition) -> Vec<std::path::PathBuf> {
    let others = definition.datastores().into_iter();
    let others = others.filter(|name| *name != definition.datastore);
    others
        .filter_map(|name| config.datastore(name))
        .map(|datastore| VmHome::new(&datastore.path, definition.id).dir().to_owned())
        .collect()
}

fn win(lease: &dyn Lease, home: &VmHome) -> Answer<Claim> {
    lease
        .release_former_boot(home)
        .told(ErrorCode::Unavailable)?;
    // A deletion that was interrupted goes on.
    if let Some(claim) = lease.held(home).told(ErrorCode::Unavailable)?
        && *claim.purpose() == Purpose::Delete
    {
        return Ok(claim);
    }
    let newest = lease.newest(home).told(ErrorCode::Unavailable)?;
    let epoch = newest.map_or(Epoch::FIRST, |newest| newest.epoch().next());
    lease
        .claim(home, epoch, Purpose::Delete)
        .map_err(|error| match error {
            ClaimError::Refused(_) | ClaimError::Lost { .. } => conflict(format!(
                "the VM cannot be deleted: {}",
                crate::answer::whole(&error)
            )),
            other => tell(ErrorCode::Unavailable, &other),
        })
}
