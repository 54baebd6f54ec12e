//! `godwit lab status` for people.

use comfy_table::{Table, presets};
use godwit_lab::status::{BladeStatus, Status};
use godwit_lab::storage::Mode;

/// The lab as it is, and how to use it, for people.
pub(super) fn text(status: &Status) -> String {
    let mut text = blades(&status.blades);
    text.push('\n');
    for blade in &status.blades {
        for (name, mode) in blade.storage.iter().filter(|(_, mode)| **mode != Mode::Ok) {
            text += &format!("storage of {}: {name} behaves {mode}\n", blade.name);
        }
    }
    for datastore in &status.datastores {
        text += &format!(
            "datastore {}: {}\n",
            datastore.name,
            datastore.path.display()
        );
    }
    if let Some(manager) = &status.manager {
        let answers = if manager.answers {
            "answers"
        } else {
            "DOES NOT ANSWER"
        };
        text += &format!(
            "manager: https://{} {answers}; log {}\n",
            manager.address,
            manager.log.display()
        );
        text += "\nTo use it:\n";
        text += &format!("  export GODWIT_MANAGER={}\n", manager.address);
        text += &format!("  export GODWIT_CA={}\n", manager.ca.display());
        text += &format!("  export GODWIT_TOKEN_FILE={}\n", manager.token.display());
    }
    text
}

fn blades(blades: &[BladeStatus]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "BLADE",
        "PID",
        "AGENT",
        "STARTS",
        "VMS",
        "CORES",
        "MANAGEMENT",
        "VM, MIGRATION",
        "RATE",
        "LOG",
    ]);
    for blade in blades {
        let [management, shared] = &blade.cards;
        let agent = match (blade.program.program, blade.answers) {
            (_, true) => "up",
            (Some(_), false) => "starting",
            (None, false) => "DOWN",
        };
        let cores: Vec<String> = blade.cores.iter().map(ToString::to_string).collect();
        let rate = shared
            .bandwidth
            .map(|rate| format!("{} Mb/s", rate.bits_per_second() / 1_000_000));
        table.add_row([
            blade.name.clone(),
            blade
                .pid
                .map_or_else(|| "none".into(), |pid| pid.to_string()),
            agent.into(),
            blade.program.starts.to_string(),
            blade.vms.to_string(),
            cores.join(","),
            management.address.to_string(),
            shared.address.to_string(),
            rate.unwrap_or_else(|| "unshaped".into()),
            blade.log.display().to_string(),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}
