//! From a URL to a connection that cannot hang for ever and prepares its statements once.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

/// Shown in `pg_stat_activity`; the audit waits until nobody of this name is in a transaction.
pub(crate) const APPLICATION: &str = "godwit-dvdstore";

/// A URL that is not one.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a PostgreSQL URL: give postgresql://user:password@host/database or \"host=/run/postgresql dbname=ds2\""
)]
pub struct UrlError(#[source] tokio_postgres::Error);

/// A database that does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The attempt failed.
    #[error("cannot connect to {0}: check that PostgreSQL runs there and lets this user in")]
    Refused(String, #[source] tokio_postgres::Error),
    /// Nothing was heard.
    #[error("no answer from {0} within {1:?}: check the address and the network")]
    Silent(String, Duration),
}

/// Reads a PostgreSQL URL or a `key=value` string; a unix socket is `host=/directory`.
///
/// # Errors
/// If it is neither.
pub fn parse_url(url: &str) -> Result<Config, UrlError> {
    url.parse().map_err(UrlError)
}

/// The host, port and database of a configuration, without the password.
#[must_use]
pub fn describe(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_dbname() {
        Some(name) => format!("{host}:{port}/{name}"),
        None => format!("{host}:{port}"),
    }
}

/// An error with all its causes in one line, for records and counters.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A connection and the task that serves it. Dropping it cuts the connection; [`Link::close`] says goodbye first.
#[derive(Debug)]
pub struct Link {
    client: Option<Client>,
    task: JoinHandle<()>,
}

impl Link {
    /// Connects, waiting at most `timeout`.
    ///
    /// `silence` is how long the other side may be silent before the kernel gives the connection up: it must exceed
    /// the longest pause that is to look like a mere delay.
    ///
    /// # Errors
    /// If the server refuses or does not answer in time.
    pub async fn open(
        config: &Config,
        timeout: Duration,
        silence: Duration,
    ) -> Result<Link, ConnectError> {
        let mut config = config.clone();
        config
            .application_name(APPLICATION)
            .connect_timeout(timeout)
            .tcp_user_timeout(silence)
            .keepalives(true)
            .keepalives_idle(silence / 4)
            .keepalives_interval(silence / 4)
            .keepalives_retries(4);
        let silent = || ConnectError::Silent(describe(&config), timeout);
        let connecting = tokio::time::timeout(timeout, config.connect(NoTls));
        let (client, connection) = connecting
            .await
            .map_err(|_| silent())?
            .map_err(|error| ConnectError::Refused(describe(&config), error))?;
        let task = tokio::spawn(async move {
            // The error, if any, reaches whoever waits for an answer of the client.
            let _ = connection.await;
        });
        Ok(Link {
            client: Some(client),
            task,
        })
    }

    /// Connects for a tool that a person waits for: half a minute for the connection.
    ///
    /// # Errors
    /// If the server refuses or does not answer in time.
    pub async fn for_tool(config: &Config) -> Result<Link, ConnectError> {
        Link::open(config, Duration::from_secs(30), Duration::from_secs(120)).await
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.client
            .as_ref()
            .expect("taken by `close` and `drop` only")
    }

    /// The client, for transactions.
    pub fn client_mut(&mut self) -> &mut Client {
        self.client
            .as_mut()
            .expect("taken by `close` and `drop` only")
    }

    /// Ends the session in good order, so that the server has nothing to complain of.
    pub fn close(mut self) -> impl Future<Output = ()> {
        self.client.take();
        async move {
            let _ = tokio::time::timeout(Duration::from_secs(2), &mut self.task).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}
