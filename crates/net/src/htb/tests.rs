//! What the division of a card does to real traffic. Bounds are generous: the machine may be busy.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::address::{self, Cidr};
use crate::testing::ScratchNetns;
use crate::veth;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 2);

/// Two namespaces and a cable; `near`'s end is the card under test.
struct Wire {
    near: ScratchNetns,
    far: ScratchNetns,
}

impl Wire {
    fn new() -> Self {
        let wire = Self {
            near: ScratchNetns::new(),
            far: ScratchNetns::new(),
        };
        veth::ensure(&wire.near, "card", &wire.far, "peer").unwrap();
        address::ensure(&wire.near, "card", Cidr::new(NEAR, 24)).unwrap();
        address::ensure(&wire.far, "peer", Cidr::new(FAR, 24)).unwrap();
        wire
    }

    /// Sends flat out over one connection per class for a while; megabits per second that arrived, per class.
    fn flood(&self, classes: &[ClassId], time: Duration) -> Vec<f64> {
        let stop = Arc::new(AtomicBool::new(false));
        let flows: Vec<_> = classes
            .iter()
            .map(|class| self.flow(*class, &stop))
            .collect();
        let start = Instant::now();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let megabits = |bytes: u64| bytes as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64();
        flows
            .into_iter()
            .map(|flow| megabits(flow.join().unwrap()))
            .collect()
    }

    fn flow(&self, class: ClassId, stop: &Arc<AtomicBool>) -> thread::JoinHandle<u64> {
        let listener = self
            .far
            .run(|| TcpListener::bind((FAR, 0)).unwrap())
            .unwrap();
        let address = listener.local_addr().unwrap();
        let mut sender = self
            .near
            .run(|| TcpStream::connect(address).unwrap())
            .unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        if class != ClassId::Vm {
            set_priority(&sender, class).unwrap();
        }
        let (stop, stop_too) = (Arc::clone(stop), Arc::clone(stop));
        thread::spawn(move || {
            let block = vec![0_u8; 256 << 10];
            while !stop.load(Ordering::Relaxed) && sender.write_all(&block).is_ok() {}
        });
        thread::spawn(move || {
            let mut block = vec![0_u8; 256 << 10];
            let mut total = 0_u64;
            while !stop_too.load(Ordering::Relaxed) {
                match receiver.read(&mut block) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => total += count as u64,
                }
            }
            total
        })
    }
}

fn bytes_of(counters: &[ClassCounters], class: ClassId) -> u64 {
    counters
        .iter()
        .find(|one| one.class == class)
        .unwrap()
        .bytes
}

#[test]
fn marked_traffic_goes_to_its_class_and_the_rest_to_the_vms() {
    let wire = Wire::new();
    share_card(
        &wire.near,
        "card",
        &CardPlan::new(Bandwidth::from_megabits(100)),
    )
    .unwrap();
    wire.flood(&[ClassId::Migration], Duration::from_millis(300));
    let after_marked = counters(&wire.near, "card").unwrap();
    assert!(
        bytes_of(&after_marked, ClassId::Migration) > 200_000,
        "{after_marked:?}"
    );
    assert!(
        bytes_of(&after_marked, ClassId::Vm) < 100_000,
        "{after_marked:?}"
    );
    wire.flood(&[ClassId::Vm], Duration::from_millis(300));
    let after_both = counters(&wire.near, "card").unwrap();
    assert!(
        bytes_of(&after_both, ClassId::Vm) > 200_000,
        "{after_both:?}"
    );
}

#[test]
fn vms_keep_most_of_the_card_beside_a_migration() {
    let wire = Wire::new();
    share_card(
        &wire.near,
        "card",
        &CardPlan::new(Bandwidth::from_megabits(100)),
    )
    .unwrap();
    let rates = wire.flood(&[ClassId::Migration, ClassId::Vm], Duration::from_secs(2));
    assert!(
        rates[1] > 2.0 * rates[0],
        "migration {:.0}, VMs {:.0} Mb/s",
        rates[0],
        rates[1]
    );
    assert!(
        rates[0] > 0.5,
        "migration must not starve: {:.2} Mb/s",
        rates[0]
    );
}

#[test]
fn a_limited_card_stays_below_its_limit_until_it_is_freed() {
    let wire = Wire::new();
    limit_card(&wire.near, "card", Bandwidth::from_megabits(50)).unwrap();
    limit_card(&wire.near, "card", Bandwidth::from_megabits(20)).unwrap();
    // What lies in socket buffers and bursts counts as arrived only when it has: no slack but the burst is needed.
    let rate = wire.flood(&[ClassId::Vm], Duration::from_secs(1))[0];
    assert!(rate < 40.0, "{rate:.0} Mb/s through a limit of 20");
    free_card(&wire.near, "card").unwrap();
    free_card(&wire.near, "card").unwrap();
    assert!(counters(&wire.near, "card").unwrap().is_empty());
}

#[test]
fn figures_are_read_from_what_tc_prints() {
    let shown = "\
class htb 1:1 root rate 1Gbit ceil 1Gbit burst 134000b cburst 134000b
 Sent 99 bytes 9 pkt (dropped 9, overlimits 9 requeues 0)
 backlog 9b 9p requeues 0
class htb 1:20 parent 1:1 leaf 8005: prio 1 rate 50Mbit ceil 1Gbit burst 134000b cburst 134000b
 Sent 70 bytes 2 pkt (dropped 3, overlimits 4 requeues 0)
 backlog 5b 6p requeues 0
class htb 1:10 parent 1:1 leaf 8004: prio 0 rate 700Mbit ceil 1Gbit burst 134000b cburst 134000b
 Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
";
    let migration = ClassCounters {
        class: ClassId::Migration,
        bytes: 70,
        packets: 2,
        drops: 3,
        backlog: 5,
    };
    assert_eq!(
        read_counters(shown),
        [ClassCounters::none(ClassId::Vm), migration]
    );
}

#[test]
fn a_priority_is_its_handle_as_a_number() {
    assert_eq!(ClassId::Migration.priority(), 0x0001_0020);
    assert_eq!(
        Bandwidth::GIGABIT.percent(70),
        Bandwidth::from_megabits(700)
    );
    assert_eq!(Bandwidth::GIGABIT.bytes_in(QUEUE), 625_000);
}

/// Not a test but a measurement: `cargo test -p godwit-net --release -- --ignored --nocapture throughput`.
#[test]
#[ignore = "a measurement, for people"]
fn throughput() {
    let wire = Wire::new();
    let time = Duration::from_secs(5);
    println!("unshaped: {:.0?} Mb/s", wire.flood(&[ClassId::Vm], time));
    share_card(&wire.near, "card", &CardPlan::new(Bandwidth::GIGABIT)).unwrap();
    println!("VMs alone: {:.0?} Mb/s", wire.flood(&[ClassId::Vm], time));
    println!(
        "migration alone: {:.0?} Mb/s",
        wire.flood(&[ClassId::Migration], time)
    );
    println!(
        "migration, VMs: {:.0?} Mb/s",
        wire.flood(&[ClassId::Migration, ClassId::Vm], time)
    );
    println!("{:#?}", counters(&wire.near, "card").unwrap());
}
