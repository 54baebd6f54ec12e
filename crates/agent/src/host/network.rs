//! Cards, bridges and taps of this host.

use crate::answer::{Answer, Tell, refused};
use crate::config::{AgentConfig, CardConfig};
use godwit_api::error::ErrorCode;
use godwit_model::ids::VmId;
use godwit_model::vm::VmDefinition;
use godwit_net::htb::{Bandwidth, CardPlan};
use godwit_net::{NetError, Netns, address, bridge, htb, link, tap};
use godwit_qemu::hardware::NicDevice;
use std::path::Path;

/// Makes bridges, plugs in uplinks, divides shared cards. What is right already is left.
///
/// # Errors
/// If the kernel refuses; the message says what to do.
pub fn ensure(config: &AgentConfig) -> Result<(), NetError> {
    let here = Netns::Here;
    if !config.switches.is_empty() {
        bridge::bypass_packet_filter()?;
    }
    for switch in &config.switches {
        bridge::ensure(&here, &switch.bridge)?;
        if let Some(uplink) = &switch.uplink {
            bridge::attach(&here, &switch.bridge, uplink)?;
            link::set_up(&here, uplink)?;
        }
        if let Some(cidr) = switch.address {
            address::ensure(&here, &switch.bridge, cidr)?;
        }
    }
    for card in config.cards.iter().filter(|card| card.is_shared()) {
        divide(card, &config.run_dir)?;
    }
    Ok(())
}

/// Dividing a card anew drops what is queued on it, so a card that is divided already, by the
/// same figures, is left.
fn divide(card: &CardConfig, run_dir: &Path) -> Result<(), NetError> {
    let Some(mbit) = card.mbit else {
        tracing::warn!(
            card = card.name,
            "VMs and migration share it, but it has no mbit: it is not divided"
        );
        return Ok(());
    };
    let note = run_dir.join(format!("card-{}", card.name));
    let wanted = mbit.to_string();
    let divided = htb::counters(&Netns::Here, &card.name).is_ok_and(|classes| !classes.is_empty());
    if divided && std::fs::read_to_string(&note).is_ok_and(|noted| noted == wanted) {
        return Ok(());
    }
    let plan = CardPlan::new(Bandwidth::from_megabits(mbit.into()));
    htb::share_card(&Netns::Here, &card.name, &plan)?;
    // Best effort: without the note the card is divided once more at the next start.
    let _ = std::fs::write(note, wanted);
    Ok(())
}

/// Makes the taps of a VM's cards, plugged into their bridges. Nothing is left after an error.
///
/// # Errors
/// Refused if this host lacks a network; else what the kernel said.
pub fn make_taps(config: &AgentConfig, definition: &VmDefinition) -> Answer<Vec<NicDevice>> {
    let mut devices = Vec::new();
    for (index, nic) in definition.nics.iter().enumerate() {
        let made = bridge_of(config, &nic.network).and_then(|bridge| {
            tap::ensure(&Netns::Here, &key(definition.id, index), bridge).told(ErrorCode::Internal)
        });
        match made {
            Ok(tap) => devices.push(NicDevice {
                tap,
                mac: nic.mac.clone(),
            }),
            Err(error) => {
                remove_taps(definition);
                return Err(error);
            }
        }
    }
    Ok(devices)
}

/// Removes the taps of a VM's cards; undoes [`make_taps`].
pub fn remove_taps(definition: &VmDefinition) {
    for index in 0..definition.nics.len() {
        if let Err(error) = tap::remove(&Netns::Here, &key(definition.id, index)) {
            tracing::warn!(vm = %definition.id, %error, "a tap cannot be removed");
        }
    }
}

/// The names of a VM's taps, for counters.
#[must_use]
pub fn tap_names(definition: &VmDefinition) -> Vec<String> {
    (0..definition.nics.len())
        .map(|index| key(definition.id, index).tap_name())
        .collect()
}

/// The bridge that a network is on this host.
///
/// # Errors
/// Refused if there is none.
pub fn bridge_of<'a>(config: &'a AgentConfig, network: &str) -> Answer<&'a str> {
    config
        .switch(network)
        .map(|switch| switch.bridge.as_str())
        .ok_or_else(|| {
            refused(format!(
                "host {} has no network `{network}`: add a switch of that name to its agent.toml",
                config.id
            ))
        })
}

fn key(vm: VmId, index: usize) -> tap::Nic {
    // A definition has at most 8 cards.
    tap::Nic::new(vm.to_string(), u8::try_from(index).unwrap_or(u8::MAX))
}
