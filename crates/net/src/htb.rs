//! Who may use a card that VMs and migration share.
//!
//! ```text
//!            1:    htb, default 10
//!            1:1   the card: rate = ceil = bandwidth
//!   ┌────────┼──────────────┐
//!  1:10     1:20           1:30
//!  VMs      migration      the host itself
//!  70 %     5 %            5 %      rate: guaranteed
//!  100 %    100 %          100 %    ceil: what is left over may be used up to here
//!  prio 0   prio 1         prio 0   who is offered the left-over first
//! ```
//!
//! What VMs send crosses the bridge without a mark and falls into the default class. A migration's sockets choose
//! theirs by SO_PRIORITY ([`set_priority`]); the mark is taken from the socket, so it costs no filter.
//!
//! Sizes. Cards of VMs and veth pass packets of up to 64 KiB (segmentation offload), which HTB sees as one. `burst`
//! and `cburst` therefore hold 2 such packets: less, and each would overdraw the class and wait for a timer; more, and
//! bursts would reach the wire above the rate. `quantum`, the share of a turn, is one such packet, so that classes of
//! one priority alternate packet by packet. Each class queues in a `bfifo` of 5 ms at the card's rate (at least four
//! packets): a migration that fills its own queue does not lengthen that of the VMs. No qdisc but `htb` and `bfifo`
//! is needed.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use crate::command::NetError;
use crate::netns::Netns;

/// The largest packet that reaches the card, with its headers.
const LARGEST_PACKET: u64 = 65_536 + 1_500;
const QUEUE: Duration = Duration::from_millis(5);

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bandwidth(u64);

impl Bandwidth {
    /// One gigabit per second, as in the paper.
    pub const GIGABIT: Self = Self(1_000_000_000);

    /// That many bits per second.
    #[must_use]
    pub const fn from_bits_per_second(bits: u64) -> Self {
        Self(bits)
    }

    /// That many megabits (10^6) per second.
    #[must_use]
    pub const fn from_megabits(megabits: u64) -> Self {
        Self(megabits * 1_000_000)
    }

    /// Bits per second.
    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    fn percent(self, percent: u8) -> Self {
        Self(self.0 / 100 * u64::from(percent))
    }

    fn bytes_in(self, time: Duration) -> u64 {
        self.0 / 8 * crate::clock::nanos(time) / 1_000_000_000
    }
}

/// A class of traffic on a shared card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassId {
    /// What VMs send, and whatever carries no mark.
    Vm,
    /// What a migration sends.
    Migration,
    /// What the host sends for itself and wants kept apart.
    Host,
}

impl ClassId {
    /// All classes.
    pub const ALL: [Self; 3] = [Self::Vm, Self::Migration, Self::Host];

    const fn minor(self) -> u32 {
        match self {
            Self::Vm => 0x10,
            Self::Migration => 0x20,
            Self::Host => 0x30,
        }
    }

    /// The SO_PRIORITY that selects the class: its handle, `1:<minor>`, as one number.
    #[must_use]
    pub const fn priority(self) -> u32 {
        (1 << 16) | self.minor()
    }

    fn handle(self) -> String {
        format!("1:{:x}", self.minor())
    }
}

/// How a shared card is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardPlan {
    /// What the card carries. On a real card a few percent below its line rate, so that the queue forms here, where
    /// it is divided, and not in the card.
    pub bandwidth: Bandwidth,
    /// Percent guaranteed to VMs.
    pub vm_percent: u8,
    /// Percent guaranteed to migration, so that it never starves.
    pub migration_percent: u8,
    /// Percent guaranteed to the host itself.
    pub host_percent: u8,
}

impl CardPlan {
    /// The usual division: 70 % for VMs, 5 % for migration, 5 % for the host, the rest for whoever needs it.
    #[must_use]
    pub const fn new(bandwidth: Bandwidth) -> Self {
        Self {
            bandwidth,
            vm_percent: 70,
            migration_percent: 5,
            host_percent: 5,
        }
    }

    fn guarantee(&self, class: ClassId) -> u8 {
        match class {
            ClassId::Vm => self.vm_percent,
            ClassId::Migration => self.migration_percent,
            ClassId::Host => self.host_percent,
        }
    }
}

/// Divides a card. What was there before is replaced, so that a restarted agent gets what its configuration says.
///
/// # Errors
/// As [`crate::command::run`]; a kernel without HTB is named as such.
pub fn share_card(netns: &Netns, card: &str, plan: &CardPlan) -> Result<(), NetError> {
    root(netns, card, plan.bandwidth)?;
    for class in ClassId::ALL {
        let handle = class.handle();
        let rate = plan.bandwidth.percent(plan.guarantee(class).clamp(1, 100));
        let prio = if class == ClassId::Migration {
            "1"
        } else {
            "0"
        };
        add_class(netns, card, "1:1", &handle, rate, plan.bandwidth, prio)?;
        add_queue(netns, card, &handle, plan.bandwidth)?;
    }
    Ok(())
}

/// Limits a card without dividing it: the lab's switches do this towards the blades.
///
/// # Errors
/// As [`share_card`].
pub fn limit_card(netns: &Netns, card: &str, bandwidth: Bandwidth) -> Result<(), NetError> {
    root(netns, card, bandwidth)?;
    let handle = ClassId::Vm.handle();
    add_class(netns, card, "1:1", &handle, bandwidth, bandwidth, "0")?;
    add_queue(netns, card, &handle, bandwidth)
}

/// Takes the division or limit away. None there is no error.
///
/// # Errors
/// As [`crate::command::run`].
pub fn free_card(netns: &Netns, card: &str) -> Result<(), NetError> {
    match netns.tc(&["qdisc", "delete", "dev", card, "root"]) {
        Err(error @ NetError::Refused { .. }) if !is_unshaped(&error) => Err(error),
        Err(error @ (NetError::NoTool { .. } | NetError::System { .. })) => Err(error),
        _ => Ok(()),
    }
}

fn is_unshaped(error: &NetError) -> bool {
    let shown = error.to_string();
    error.is_missing() || shown.contains("handle of zero") || shown.contains("Invalid argument")
}

fn root(netns: &Netns, card: &str, bandwidth: Bandwidth) -> Result<(), NetError> {
    free_card(netns, card)?;
    let default = format!("{:x}", ClassId::Vm.minor());
    netns.tc(&[
        "qdisc", "add", "dev", card, "root", "handle", "1:", "htb", "default", &default,
    ])?;
    add_class(netns, card, "1:", "1:1", bandwidth, bandwidth, "0")
}

fn add_class(
    netns: &Netns,
    card: &str,
    parent: &str,
    class: &str,
    rate: Bandwidth,
    ceil: Bandwidth,
    prio: &str,
) -> Result<(), NetError> {
    let bits = |bandwidth: Bandwidth| format!("{}bit", bandwidth.bits_per_second());
    let (rate, ceil) = (bits(rate), bits(ceil));
    let (burst, quantum) = ((2 * LARGEST_PACKET).to_string(), LARGEST_PACKET.to_string());
    let place = [
        "class", "add", "dev", card, "parent", parent, "classid", class, "htb",
    ];
    let speed = [
        "rate", &rate, "ceil", &ceil, "burst", &burst, "cburst", &burst,
    ];
    let turn = ["quantum", quantum.as_str(), "prio", prio];
    netns
        .tc(&[place.as_slice(), &speed, &turn].concat())
        .map(drop)
}

fn add_queue(netns: &Netns, card: &str, class: &str, bandwidth: Bandwidth) -> Result<(), NetError> {
    let limit = bandwidth
        .bytes_in(QUEUE)
        .max(4 * LARGEST_PACKET)
        .to_string();
    netns
        .tc(&[
            "qdisc", "add", "dev", card, "parent", class, "bfifo", "limit", &limit,
        ])
        .map(drop)
}

/// Makes everything that a socket sends belong to a class. Needs CAP_NET_ADMIN; the mark stays when rights are
/// dropped afterwards. On a card that is not divided it has no effect.
///
/// # Errors
/// [`NetError::System`].
pub fn set_priority(socket: &impl AsFd, class: ClassId) -> Result<(), NetError> {
    let priority = i32::try_from(class.priority()).unwrap_or(i32::MAX);
    setsockopt(socket, sockopt::Priority, &priority).map_err(|error| NetError::System {
        action: "setting a socket's priority",
        remedy: "set it before rights are dropped: it needs CAP_NET_ADMIN",
        source: error.into(),
    })
}

/// What one class has sent so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounters {
    /// Which class.
    pub class: ClassId,
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent; one large packet that the card segments counts once.
    pub packets: u64,
    /// Packets dropped since the queue was full.
    pub drops: u64,
    /// Bytes waiting.
    pub backlog: u64,
}

impl ClassCounters {
    const fn none(class: ClassId) -> Self {
        Self {
            class,
            bytes: 0,
            packets: 0,
            drops: 0,
            backlog: 0,
        }
    }
}

/// Figures of a divided card's classes; none when it is not divided.
///
/// # Errors
/// As [`crate::command::run`].
pub fn counters(netns: &Netns, card: &str) -> Result<Vec<ClassCounters>, NetError> {
    Ok(read_counters(
        &netns.tc(&["-s", "class", "show", "dev", card])?,
    ))
}

/// Reads `tc -s class show`, which prints HTB's classes as text only, whatever is asked for:
/// `class htb 1:10 …`, then ` Sent 12 bytes 3 pkt (dropped 0, …`, then ` backlog 0b 0p …`.
fn read_counters(shown: &str) -> Vec<ClassCounters> {
    let mut all: Vec<ClassCounters> = Vec::new();
    let mut known = false;
    for line in shown.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| {
            let digits = words
                .get(at)
                .map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()));
            digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        match (words.first(), all.last_mut()) {
            (Some(&"class"), _) => {
                let class = ClassId::ALL
                    .into_iter()
                    .find(|class| words.get(2) == Some(&class.handle().as_str()));
                known = class.is_some();
                all.extend(class.map(ClassCounters::none));
            }
            (Some(&"Sent"), Some(last)) if known => {
                (last.bytes, last.packets, last.drops) = (number(1), number(3), number(6));
            }
            (Some(&"backlog"), Some(last)) if known => last.backlog = number(1),
            _ => {}
        }
    }
    all.sort_by_key(|counters| counters.class.minor());
    all
}

#[cfg(test)]
mod tests;
