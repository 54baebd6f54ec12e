//! The echo probe as a run uses it: closely into a VM that moves, rarely into the others.
//!
//! Each probe wakes a guest. Under emulation 200 a second cost each VM 2 % of the machine's core it shares: with 20 VMs
//! on two cores the instrument would be a fifth of the load that it measures.

use std::net::Ipv4Addr;
use std::time::Duration;

use godwit_net::echo::{EchoError, Options, Prober};

use crate::profile::Profile;
use crate::run::farm::Guest;

/// Shorter silences are not written down: on a busy machine there are many, and no pause of a VM
/// that a client could feel is among them.
const SILENCE: Duration = Duration::from_millis(20);
/// Milliseconds between two probes into a VM of which nothing is expected.
pub const RELAXED_MS: u32 = 100;

/// Starts probing all guests at the relaxed pace.
///
/// # Errors
/// The probe cannot run.
pub fn start(guests: &[Guest], profile: &Profile) -> Result<Prober, EchoError> {
    let addresses: Vec<Ipv4Addr> = guests.iter().map(|guest| guest.address).collect();
    let options = Options {
        interval: Duration::from_millis(u64::from(profile.probe_ms)),
        relaxed: (RELAXED_MS / profile.probe_ms.max(1)).max(1),
        threshold: SILENCE,
    };
    Prober::start(&addresses, options)
}
