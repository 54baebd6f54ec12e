//! What this host's network can do, tried out in a throw-away namespace rather than guessed from its version.

use godwit_model::doctor::Check;

use crate::command::NetError;
use crate::htb::{self, Bandwidth, CardPlan};
use crate::tap::{self, Nic};
use crate::{bridge, netns, veth};
use crate::{command, netns::Netns};

/// Tries namespaces, bridges, taps and HTB. Takes a fraction of a second; needs root, and says so if it is missing.
#[must_use]
pub fn checks() -> Vec<Check> {
    let Some(tool) = tool() else {
        return vec![no_tool()];
    };
    let name = format!("gw-doctor-{}", std::process::id());
    let mut all = vec![Check::ok("net.iproute2", "iproute2", tool)];
    match netns::ensure(&name) {
        Ok(scratch) => {
            all.push(Check::ok(
                "net.namespace",
                "Network namespaces",
                "one was made",
            ));
            all.extend(inside(&scratch));
        }
        Err(error) => all.push(failed("net.namespace", "Network namespaces", &error)),
    }
    // Nothing to report if this fails: the check above has said why.
    drop(netns::remove(&name));
    all
}

fn inside(scratch: &Netns) -> Vec<Check> {
    let bridge = bridge::ensure(scratch, "br0");
    let tap = bridge
        .as_ref()
        .ok()
        .map(|()| tap::ensure(scratch, &Nic::new("doctor", 0), "br0"));
    let cable = veth::ensure(scratch, "v0", scratch, "v1");
    let shared =
        cable.and_then(|()| htb::share_card(scratch, "v0", &CardPlan::new(Bandwidth::GIGABIT)));
    let mut all = vec![outcome("net.bridge", "Bridge", "forwards at once", bridge)];
    if let Some(tap) = tap {
        all.push(outcome(
            "net.tap",
            "Tap",
            "made and attached to a bridge",
            tap.map(drop),
        ));
    }
    all.push(outcome(
        "net.htb",
        "HTB (dividing a shared card)",
        "classes were made",
        shared,
    ));
    all
}

fn tool() -> Option<String> {
    command::run("ip", &["-V"])
        .ok()
        .map(|version| version.trim().to_owned())
}

fn no_tool() -> Check {
    Check::failed(
        "net.iproute2",
        "iproute2",
        "`ip` is not there",
        "Install the package iproute2",
    )
}

fn outcome(id: &str, title: &str, found: &str, result: Result<(), NetError>) -> Check {
    match result {
        Ok(()) => Check::ok(id, title, found),
        Err(error) => failed(id, title, &error),
    }
}

fn failed(id: &str, title: &str, error: &NetError) -> Check {
    match error {
        NetError::Refused {
            command,
            stderr,
            remedy,
        } => Check::failed(id, title, format!("`{command}`: {stderr}"), *remedy),
        other => Check::failed(
            id,
            title,
            other.to_string(),
            "Run as root on a kernel with this feature",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::doctor::CheckState;

    #[test]
    fn all_checks_are_made_and_nothing_stays() {
        let ids: Vec<String> = checks().into_iter().map(|check| check.id).collect();
        assert_eq!(
            ids,
            [
                "net.iproute2",
                "net.namespace",
                "net.bridge",
                "net.tap",
                "net.htb"
            ]
        );
        assert!(!netns::exists(&format!("gw-doctor-{}", std::process::id())));
    }

    #[test]
    fn a_refusal_keeps_its_remedy() {
        let error = NetError::Refused {
            command: "tc x".into(),
            stderr: "no".into(),
            remedy: "Load it",
        };
        let check = outcome("net.htb", "HTB", "", Err(error));
        assert_eq!(check.state, CheckState::Failed);
        assert_eq!(check.remedy.as_deref(), Some("Load it"));
        assert_eq!(check.found, "`tc x`: no");
    }
}
