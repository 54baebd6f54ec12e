//! A datastore without room: new VMs are refused without a trace, running ones wait for room and lose nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use godwit_api::farm::{CloneVm, Power};
use godwit_model::task::TaskState;
use godwit_model::vm::VmState;

use crate::farm::Farm;
use crate::shop::TEMPLATE;
use crate::wait::until_so;

/// Writes so much that a guest must ask for room on its datastore.
const FILL: &str = "CREATE TABLE filler AS SELECT repeat(md5(i::text), 60) AS x FROM generate_series(1, 20000) AS i";

/// Takes all room of a datastore until it is dropped.
struct Hog(PathBuf);

impl Hog {
    fn take(folder: &Path) -> Self {
        let path = folder.join("hog");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
        Self(path)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Both.
pub async fn a_full_datastore_refuses_clones_and_holds_vms(farm: Arc<Farm>) {
    let shop = &farm.shops().await.second;
    let blade = farm.vm(shop.name).await.host.to_string();
    let store = farm.lab.datastore("SAN2");
    let folders = || fs::read_dir(store.join("vms")).unwrap().count();
    let before = (folders(), farm.client.vms().await.unwrap().len());
    let hog = Hog::take(&store);

    let request = CloneVm {
        template: TEMPLATE.into(),
        name: "late".into(),
        host: None,
        datastore: Some("SAN2".into()),
        memory: None,
        vcpus: None,
        full: false,
        network: None,
        customization: None,
        power_on: true,
    };
    let task = farm.client.clone_vm(&request).await.unwrap();
    let task = farm.ended(task).await;
    assert_eq!(task.state, TaskState::Failed, "{task:?}");
    let error = task.error.unwrap_or_default();
    assert!(
        error.contains("No space") || error.contains("full"),
        "{error}"
    );
    assert_eq!((folders(), farm.client.vms().await.unwrap().len()), before);

    // The guest is stopped at the write that found no room, and learns nothing of it.
    let database = shop.database.clone();
    let writer = tokio::spawn(async move {
        let (client, connection) = database.connect(tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        client.batch_execute(FILL).await?;
        client
            .batch_execute("CHECKPOINT; DROP TABLE filler")
            .await
            .ok();
        client.batch_execute("DROP TABLE IF EXISTS filler").await?;
        connection.abort();
        Ok::<_, tokio_postgres::Error>(())
    });
    farm.is(shop.name, &blade, VmState::IoError).await;
    let problem = farm.vm(shop.name).await.problem.unwrap_or_default();
    assert!(problem.contains("make room"), "{problem}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(hog);
    until_so("the VM goes on", async || {
        if let Ok(task) = farm.client.power(shop.name, &Power::Resume).await {
            farm.ended(task).await;
        }
        farm.vm(shop.name).await.state == Some(VmState::Running)
    })
    .await;
    writer.await.unwrap().expect("the writer only waited");
    shop.load.goes_on().await;
    assert_eq!(farm.vm(shop.name).await.problem, None);
}
