//! What is known about one order after the driver is through with it: the row that everything else is made from.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::MonotonicNs;
use crate::script::CartLine;

/// One run of the driver. Two runs on one database must differ, or their tokens would collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl RunId {
    /// A number that no other run has.
    #[must_use]
    pub fn fresh() -> RunId {
        RunId(Uuid::new_v4().as_u64_pair().0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Position of an order among those that a target was sent, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one purchase for good. It is stored with the order in the purchase's own transaction, so that whoever holds
/// the token can ask the database what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub Uuid);

impl Token {
    /// The token of an order: the run, the target (24 bits) and the sequence (40 bits). Tokens of one target ascend,
    /// so that the database's index grows at its right edge.
    #[must_use]
    pub fn new(run: RunId, target: u32, sequence: Sequence) -> Token {
        let low = u64::from(target) << 40 | (sequence.0 & ((1 << 40) - 1));
        Token(Uuid::from_u64_pair(run.0, low))
    }

    /// The run that the order belongs to.
    #[must_use]
    pub fn run(self) -> RunId {
        RunId(self.0.as_u64_pair().0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Token {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Token, uuid::Error> {
        text.parse().map(Token)
    }
}

/// An order's number in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub i32);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A customer's number in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomerId(pub i32);

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An amount of money, in cents.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cents(pub i64);

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}.{:02}",
            if self.0 < 0 { "-" } else { "" },
            self.0.abs() / 100,
            self.0.abs() % 100
        )
    }
}

/// How an order ended, as the driver was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The database said that the purchase is committed.
    Committed {
        /// The order's number.
        order_id: OrderId,
        /// Its net amount, as the database computed it.
        net: Cents,
    },
    /// Too little stock: the database rolled the whole order back. An expected outcome, about 2 % at first.
    RolledBack,
    /// The order did certainly not happen.
    Failed {
        /// What went wrong.
        reason: Failure,
        /// The error's text.
        detail: String,
    },
    /// The connection broke, or nothing was heard for too long, after the purchase had been sent: only the database
    /// knows. The audit resolves it by the token.
    Unknown {
        /// What went wrong.
        reason: Failure,
        /// The error's text.
        detail: String,
    },
}

impl Outcome {
    /// Whether the shop answered: committed, or rolled back for want of stock.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self, Outcome::Committed { .. } | Outcome::RolledBack)
    }
}

/// Kinds of failure, to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// An established connection broke.
    ConnectionLost,
    /// The statement timeout passed without an answer.
    Timeout,
    /// The database answered with an error.
    Sql,
    /// The customer was not there, or no free user name was found: the data is not what the driver expects.
    Refused,
}

impl Failure {
    /// All kinds, with the names they have in logs.
    pub const NAMES: [(Failure, &'static str); 5] = [
        (Failure::Connect, "connect"),
        (Failure::ConnectionLost, "connection_lost"),
        (Failure::Timeout, "timeout"),
        (Failure::Sql, "sql"),
        (Failure::Refused, "refused"),
    ];

    /// The name it has in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        Failure::NAMES
            .iter()
            .find(|(f, _)| *f == self)
            .map_or("other", |(_, name)| name)
    }
}

/// What each step of an order took; a step that was not reached is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTimes {
    /// Making the connection, if the order had to wait for a new one.
    pub connect: Duration,
    /// Logging in.
    pub login: Duration,
    /// Registering a new customer.
    pub register: Duration,
    /// All browses together.
    pub browse: Duration,
    /// How many browses were answered.
    pub browses: u32,
    /// The purchase.
    pub purchase: Duration,
}

impl StepTimes {
    /// The classic response time: the sum of the order's database calls, without making the connection.
    #[must_use]
    pub fn response(&self) -> Duration {
        self.login + self.register + self.browse + self.purchase
    }
}

/// A customer that an order registered, or tried to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The user name last tried.
    pub username: String,
    /// The new customer's number; `None` if the driver was never told (the audit looks for the name).
    pub customer_id: Option<CustomerId>,
}

/// One order, as the driver saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// The target's name.
    pub target: String,
    /// Position among the orders of this target in this run.
    pub sequence: Sequence,
    /// The user whose script it was (0 in an open loop).
    pub user: u32,
    /// The number of that user's script.
    pub script: u64,
    /// Whether it was started during warm-up: audited, but not part of the figures.
    pub warm_up: bool,
    /// When it should have started: in an open loop its arrival, in a closed loop the end of the user's thinking.
    pub intended: MonotonicNs,
    /// When it started.
    pub started: MonotonicNs,
    /// When its outcome was known.
    pub ended: MonotonicNs,
    /// The part of `started - intended` that is the generator's own fault, not waiting for a free connection.
    pub generator_lag: Duration,
    /// Times of its steps.
    pub steps: StepTimes,
    /// Its token.
    pub token: Token,
    /// How it ended.
    pub outcome: Outcome,
    /// The customer that ordered; `None` if it did not get that far.
    pub customer_id: Option<CustomerId>,
    /// The new customer, if it was to register one and got that far.
    pub registration: Option<Registration>,
    /// What was ordered, sorted by product.
    pub cart: Vec<CartLine>,
}

impl OrderRecord {
    /// From the intended start to the end: what a customer waited, free of coordinated omission.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.ended.since(self.intended)
    }
}
