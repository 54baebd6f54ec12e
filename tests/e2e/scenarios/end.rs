//! After all that: the audit, and a machine that looks as before.

use std::sync::Arc;

use godwit_lab::processes;

use crate::farm::Farm;
use crate::lab::PREFIX;

/// One load over all faults: the database agrees with everything that its customers were told.
pub async fn no_order_is_lost_or_doubled(farm: Arc<Farm>) {
    let shop = &farm.shops().await.first;
    shop.load.goes_on().await;
    let report = shop.load.audit(&shop.database).await;
    println!(
        "{}: {} orders, {} unknown to their customers and resolved, {} lost, {} doubled",
        shop.name,
        report.orders_committed,
        report.orders_unknown,
        report.orders_lost,
        report.orders_doubled
    );
    assert!(report.ok && report.log_checked, "{report:?}");
    assert_eq!((report.orders_lost, report.orders_doubled), (0, 0));
    assert!(report.orders_committed > 0);
}

/// No process, namespace, interface or mount.
pub async fn nothing_is_left_of_the_lab(farm: Arc<Farm>) {
    farm.lab.down().unwrap();
    let dir = farm.lab.dir.display().to_string();
    assert!(!farm.lab.dir.exists());
    assert_eq!(processes::inits(&farm.lab.dir), []);
    let names = |folder: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|one| one.file_name().to_string_lossy().into_owned())
    };
    for folder in ["/sys/class/net", "/run/netns"] {
        let left: Vec<_> = names(folder)
            .filter(|name| name.starts_with(PREFIX))
            .collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&dir), "{mounts}");
    farm.lab.down().unwrap();
}
