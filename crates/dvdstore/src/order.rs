//! Runs one order on a connection: enter, browse, purchase.
//!
//! Five round trips on average, because the server is often a small guest on an emulated processor: the login brings
//! the recommendations along, a browse is one indexed query, and the purchase is one call in one transaction. All are
//! prepared once per connection, with plans that do not depend on the parameters, or the server would plan them anew
//! for each order.

mod statements;

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Error, Row, Statement};

use crate::connect::{ConnectError, Link, chain};
use crate::generate::Person;
use crate::record::{Cents, CustomerId, Failure, OrderId, Outcome, Registration, StepTimes, Token};
use crate::script::{Browse, Entry, Script};
use statements::Statements;

#[doc(hidden)]
pub use statements::{INDEXED_QUERIES, SESSION_SETTINGS};

/// Tries for a free user name. Names are drawn from 2^64, so even the second is rare.
const NAME_ATTEMPTS: u32 = 100;

/// Raised by the purchase when there is too little stock (see `sql/routines.sql`).
const TOO_LITTLE_STOCK: &str = "GW001";

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The store's tables or routines are not as expected.
    #[error(
        "the database does not know the store's statements: load it with `godwit dvdstore load`"
    )]
    Prepare(#[source] Error),
    /// Preparing took too long.
    #[error("the database did not prepare the statements within {0:?}: is it overloaded?")]
    Slow(Duration),
}

/// A connection that is ready to order.
#[derive(Debug)]
pub struct Session {
    link: Link,
    statements: Statements,
    timeout: Duration,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// How it ended.
    pub outcome: Outcome,
    /// Times of its steps.
    pub steps: StepTimes,
    /// Who ordered, once known.
    pub customer_id: Option<CustomerId>,
    /// Who registered, once tried.
    pub registration: Option<Registration>,
}

/// Why a statement brought nothing.
struct Broken {
    reason: Failure,
    detail: String,
    /// The server itself said that the statement failed, so that it had no effect.
    definite: bool,
    code: Option<SqlState>,
}

impl Session {
    /// Connects and prepares. `statement` is the time after which a silent server is given up.
    ///
    /// # Errors
    /// If there is no connection in time, or the database holds no store.
    pub async fn open(
        config: &Config,
        connect: Duration,
        statement: Duration,
    ) -> Result<Session, OpenError> {
        // The kernel must be more patient than the statement timeout, or it would cut short what that allows.
        let link = Link::open(config, connect, statement + Duration::from_secs(30)).await?;
        let prepare = Statements::prepare(link.client());
        let statements = tokio::time::timeout(statement, prepare).await;
        let statements = statements
            .map_err(|_| OpenError::Slow(statement))?
            .map_err(OpenError::Prepare)?;
        Ok(Session {
            link,
            statements,
            timeout: statement,
        })
    }

    /// Whether the connection is known to be gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.client().is_closed()
    }

    /// Ends the session in good order.
    pub async fn close(self) {
        self.link.close().await;
    }

    /// Runs one order. After [`Failure::ConnectionLost`] or [`Failure::Timeout`] the session must be dropped.
    pub async fn run(&self, script: &Script, token: Token) -> Execution {
        let mut done = Execution {
            outcome: Outcome::RolledBack,
            steps: StepTimes::default(),
            customer_id: None,
            registration: None,
        };
        done.outcome = match self.steps(script, token, &mut done).await {
            Ok(outcome) => outcome,
            Err(Broken { reason, detail, .. }) => Outcome::Failed { reason, detail },
        };
        done
    }

    async fn steps(
        &self,
        script: &Script,
        token: Token,
        done: &mut Execution,
    ) -> Result<Outcome, Broken> {
        let customer = match &script.entry {
            Entry::Login { username, password } => {
                self.login(username, password, &mut done.steps).await?
            }
            Entry::Register { person, name_seed } => {
                self.register(person, *name_seed, done).await?
            }
        };
        done.customer_id = Some(customer);
        for browse in &script.browses {
            self.browse(browse, &mut done.steps).await?;
        }
        self.purchase(script, customer, token, &mut done.steps)
            .await
    }

    async fn login(
        &self,
        username: &str,
        password: &str,
        steps: &mut StepTimes,
    ) -> Result<CustomerId, Broken> {
        let rows = self
            .query(
                &self.statements.login,
                &[&username, &password],
                &mut steps.login,
            )
            .await?;
        let row = rows
            .first()
            .ok_or_else(|| Broken::refused(format!("there is no customer {username}")))?;
        Ok(CustomerId(row.get(0)))
    }

    async fn register(
        &self,
        p: &Person,
        name_seed: u64,
        done: &mut Execution,
    ) -> Result<CustomerId, Broken> {
        for attempt in 0..NAME_ATTEMPTS {
            let username = Entry::candidate(name_seed, attempt);
            let registration = done.registration.insert(Registration {
                username,
                customer_id: None,
            });
            let parameters: [&(dyn ToSql + Sync); 19] = [
                &p.firstname,
                &p.lastname,
                &p.address1,
                &p.address2,
                &p.city,
                &p.state,
                &p.zip,
                &p.country,
                &p.region,
                &p.email,
                &p.phone,
                &p.card_type,
                &p.card,
                &p.card_expires,
                &registration.username,
                &Person::PASSWORD,
                &p.age,
                &p.income,
                &p.gender,
            ];
            let answer = self
                .query(
                    &self.statements.register,
                    &parameters,
                    &mut done.steps.register,
                )
                .await;
            match answer {
                Ok(rows) => {
                    if let Some(row) = rows.first() {
                        let id = CustomerId(row.get(0));
                        registration.customer_id = Some(id);
                        return Ok(id);
                    }
                }
                Err(broken) => {
                    if broken.definite {
                        done.registration = None;
                    }
                    return Err(broken);
                }
            }
        }
        done.registration = None;
        Err(Broken::refused(format!(
            "{NAME_ATTEMPTS} user names were all taken"
        )))
    }

    async fn browse(&self, browse: &Browse, steps: &mut StepTimes) -> Result<(), Broken> {
        let taken = &mut steps.browse;
        match browse {
            Browse::Category { category, limit } => {
                self.query(&self.statements.category, &[category, limit], taken)
                    .await?;
            }
            Browse::Actor { words, limit } => {
                self.query(&self.statements.actor, &[words, limit], taken)
                    .await?;
            }
            Browse::Title { words, limit } => {
                self.query(&self.statements.title, &[words, limit], taken)
                    .await?;
            }
        }
        steps.browses += 1;
        Ok(())
    }

    async fn purchase(
        &self,
        script: &Script,
        customer: CustomerId,
        token: Token,
        steps: &mut StepTimes,
    ) -> Result<Outcome, Broken> {
        let products: Vec<i32> = script.cart.iter().map(|line| line.product).collect();
        let quantities: Vec<i16> = script.cart.iter().map(|line| line.quantity).collect();
        let parameters: [&(dyn ToSql + Sync); 4] = [&token.0, &customer.0, &products, &quantities];
        // From here on until the answer the order may be committed without our knowing: only an error that the server
        // reports for the statement itself says that it is not. (The answer counts once the server is ready for the
        // next statement, which is after the commit.)
        match self
            .query(&self.statements.purchase, &parameters, &mut steps.purchase)
            .await
        {
            Ok(rows) => match rows.first() {
                Some(row) => Ok(Outcome::Committed {
                    order_id: OrderId(row.get(0)),
                    net: Cents(row.get(1)),
                }),
                None => Err(Broken::refused("the purchase returned no order".to_owned())),
            },
            Err(broken)
                if broken
                    .code
                    .as_ref()
                    .is_some_and(|code| code.code() == TOO_LITTLE_STOCK) =>
            {
                Ok(Outcome::RolledBack)
            }
            Err(broken) if !broken.definite => Ok(Outcome::Unknown {
                reason: broken.reason,
                detail: broken.detail,
            }),
            Err(broken) => Err(broken),
        }
    }

    /// Runs a statement and adds the time it took, answered or not, to `taken`.
    async fn query(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
        taken: &mut Duration,
    ) -> Result<Vec<Row>, Broken> {
        let began = Instant::now();
        let answer = tokio::time::timeout(
            self.timeout,
            self.link.client().query(statement, parameters),
        )
        .await;
        *taken += began.elapsed();
        match answer {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(Broken::from_error(&error)),
            Err(_) => Err(Broken {
                reason: Failure::Timeout,
                detail: format!("no answer within {:?}", self.timeout),
                definite: false,
                code: None,
            }),
        }
    }
}

impl Broken {
    fn refused(detail: String) -> Broken {
        Broken {
            reason: Failure::Refused,
            detail,
            definite: true,
            code: None,
        }
    }

    fn from_error(error: &Error) -> Broken {
        let Some(db) = error.as_db_error() else {
            return Broken {
                reason: Failure::ConnectionLost,
                detail: chain(error),
                definite: false,
                code: None,
            };
        };
        // An ERROR belongs to the statement. FATAL and PANIC end the session, and may strike after the commit.
        let definite = db.severity() == "ERROR"
            || db.parsed_severity() == Some(tokio_postgres::error::Severity::Error);
        let reason = if definite {
            Failure::Sql
        } else {
            Failure::ConnectionLost
        };
        let detail = format!("{} ({})", db.message(), db.code().code());
        Broken {
            reason,
            detail,
            definite,
            code: Some(db.code().clone()),
        }
    }
}
