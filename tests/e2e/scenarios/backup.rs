//! The manager's whole state in a file, and a manager made of it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use godwit_api::farm::client::FarmClient;
use godwit_api::farm::{Connection, CreateVm};
use godwit_model::units::Bytes;

use crate::farm::{Farm, text};
use crate::wait::{until, until_so};

/// What came after the backup.
const LATER: &str = "later";

/// Another machine's manager, made of the backup, is the same farm's: same keys, same inventory as of then, same hosts.
pub async fn a_backup_brings_the_farm_back(farm: Arc<Farm>) {
    farm.shops().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, elsewhere) = (path("farm.backup"), path("elsewhere"));
    let state = farm.lab.manager_state().display().to_string();
    let backup = ["manager", "backup", "--state-dir", &state, &file];
    farm.done(&backup).await;
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds the farm's keys");
    let again = farm.godwit(&backup).await;
    assert!(!again.status.success(), "a backup overwrites nothing");
    farm.succeeded(farm.client.create_vm(&later()).await.unwrap())
        .await;

    let live = farm
        .godwit(&["manager", "restore", "--state-dir", &state, &file])
        .await;
    assert!(
        !live.status.success() && text(&live).contains("stop it"),
        "{}",
        text(&live)
    );
    let wrong = farm
        .godwit(&[
            "manager",
            "restore",
            "--state-dir",
            &elsewhere,
            "/etc/passwd",
        ])
        .await;
    assert!(!wrong.status.success(), "{}", text(&wrong));
    farm.done(&["manager", "restore", "--state-dir", &elsewhere, &file])
        .await;

    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = path("manager.toml");
    fs::write(
        &config,
        format!("listen = \"{port}\"\nstate_dir = \"{elsewhere}\"\n"),
    )
    .unwrap();
    let mut second = tokio::process::Command::new(&farm.lab.godwit)
        .args(["manager", "run", "--config", &config])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let token = fs::read_to_string(&farm.lab.access.token).unwrap();
    let client = FarmClient::new(port, farm.ca(), &token).unwrap();
    let about = until("the second manager", async || client.about().await.ok()).await;
    assert_eq!(about, farm.client.about().await.unwrap());
    until_so("the second manager has its hosts", async || {
        let hosts = client.hosts().await.unwrap_or_default();
        hosts.len() >= 2 && hosts.iter().all(|one| one.connection == Connection::Up)
    })
    .await;
    for vm in farm.client.vms().await.unwrap() {
        let name = &vm.definition.name;
        if name != LATER {
            let known = client.vm(name).await.unwrap();
            assert_eq!((known.definition, known.host), (vm.definition, vm.host));
        }
    }
    assert_eq!(
        client.templates().await.unwrap(),
        farm.client.templates().await.unwrap()
    );
    second.kill().await.unwrap();
    farm.succeeded(farm.client.delete_vm(LATER).await.unwrap())
        .await;
}

fn later() -> CreateVm {
    CreateVm {
        name: LATER.into(),
        host: None,
        datastore: Some("SAN1".into()),
        memory: Bytes::mib(64),
        vcpus: 1,
        disk: Bytes::mib(64),
        import: None,
        iso: None,
        networks: Vec::new(),
        power_on: false,
    }
}
