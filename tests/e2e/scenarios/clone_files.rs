//! The paper's clone file, by the command line: good ones make VMs, bad ones nothing.

use std::fs;
use std::sync::Arc;

use crate::farm::{Farm, text};
use crate::lab::PRODUCTION;
use crate::shop::TEMPLATE;

/// Every bad line is named, and nothing is made, whether the file itself is wrong or the farm lacks what it asks for.
pub async fn a_bad_clone_file_makes_nothing(farm: Arc<Farm>) {
    farm.template().await;
    let before = farm.client.vms().await.unwrap().len();
    let good = format!("good1 {} [SAN1]", PRODUCTION.host(91));
    let second = PRODUCTION.host(92);
    let written = refused(
        &farm,
        &format!("{good}\nbad_name 1.2.3\ngood1 {second}\nx {second} [SAN1\n"),
    )
    .await;
    for line in ["line 2", "line 3", "line 4"] {
        assert!(written.contains(line), "{line} is not named: {written}");
    }
    let asked = refused(&farm, &format!("{good}\n\ngood2 {second} SAN7\n")).await;
    assert!(
        asked.contains("line 3") && asked.contains("SAN7"),
        "{asked}"
    );
    let nothing = refused(&farm, "# nobody\n").await;
    assert!(nothing.contains("no clone"), "{nothing}");

    assert_eq!(farm.client.vms().await.unwrap().len(), before);
    for store in ["SAN1", "SAN2"] {
        let folder = farm.lab.datastore(store).join("vms");
        let left = fs::read_dir(&folder).map_or(0, Iterator::count);
        assert!(left <= before, "{} holds {left} VMs", folder.display());
    }
}

async fn refused(farm: &Farm, lines: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clones.txt");
    fs::write(&file, lines).unwrap();
    let file = file.display().to_string();
    let output = farm
        .godwit(&["vm", "clone", TEMPLATE, "--from", &file])
        .await;
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    said
}

/// Names, addresses and datastores are those of the file, the disks are overlays, and customers are served.
pub async fn clones_from_a_file_answer(farm: Arc<Farm>) {
    let shops = farm.shops().await;
    println!("{}", shops.said.trim());
    for (shop, store, last) in [(&shops.first, "SAN1", 11), (&shops.second, "SAN2", 12)] {
        let vm = farm.vm(shop.name).await;
        let definition = &vm.definition;
        assert_eq!(definition.datastore, store);
        assert_eq!(definition.address, Some(PRODUCTION.host(last)));
        assert_eq!(definition.template.as_deref(), Some(TEMPLATE));
        let disk = farm.lab.datastore(store).join(&definition.disks[0].path);
        let template = farm.lab.datastore("SAN1").join("templates").join(TEMPLATE);
        let whole = fs::metadata(template.join("disk.qcow2")).unwrap().len();
        let overlay = fs::metadata(&disk).unwrap().len();
        assert!(overlay < whole, "{overlay} bytes is no overlay of {whole}");
        shop.load.goes_on().await;
        assert_eq!(
            own_address(&shop.database).await,
            PRODUCTION.host(last).to_string()
        );
    }
    let clones = farm.client.templates().await.unwrap()[0].clones;
    assert_eq!(clones, 2);
}

/// The guest's own idea of its address.
async fn own_address(database: &tokio_postgres::Config) -> String {
    let (client, connection) = database.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let query = "SELECT host(inet_server_addr())";
    client.query_one(query, &[]).await.unwrap().get(0)
}
