//! The farm's keys and join tokens.

use super::{Result, Store};
use rusqlite::{OptionalExtension, params};

/// Why a join token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// Nobody gave this one out.
    #[error("this join token is not known here: make one with `godwit host token`")]
    Unknown,
    /// Used before.
    #[error(
        "this join token was used by host `{0}`: each is good for one host, make another with `godwit host token`"
    )]
    Used(String),
    /// Too late.
    #[error("this join token has expired: make another with `godwit host token`")]
    Expired,
}

impl Store {
    /// A value that is made once, at the farm's first start: `make` is called when there
    /// is none.
    ///
    /// # Errors
    /// The database fails.
    pub fn once<E>(
        &self,
        key: &str,
        make: impl FnOnce() -> std::result::Result<String, E>,
    ) -> Result<std::result::Result<String, E>> {
        self.run(|db| {
            let found: Option<String> = db
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                    row.get(0)
                })
                .optional()?;
            if let Some(value) = found {
                return Ok(Ok(value));
            }
            let value = match make() {
                Ok(value) => value,
                Err(error) => return Ok(Err(error)),
            };
            db.execute("INSERT INTO meta VALUES (?1, ?2)", params![key, value])?;
            Ok(Ok(value))
        })
    }

    /// Remembers a join token by the hash of its secret.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_join_token(&self, hash: &str, expires: i64) -> Result<()> {
        self.run(|db| {
            db.execute(
                "INSERT INTO join_tokens VALUES (?1, ?2, NULL)",
                params![hash, expires],
            )?;
            Ok(())
        })
    }

    /// Uses a join token up, for one host. Of two that come at once, one gets it.
    ///
    /// # Errors
    /// The database fails; whether the token is good is the inner result.
    pub fn use_join_token(
        &self,
        hash: &str,
        host: &str,
        now: i64,
    ) -> Result<std::result::Result<(), JoinRefusal>> {
        self.run(|db| {
            let change = db.transaction()?;
            let found: Option<(i64, Option<String>)> = change
                .query_row(
                    "SELECT expires, used_by FROM join_tokens WHERE hash = ?1",
                    [hash],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let refusal = match found {
                None => Some(JoinRefusal::Unknown),
                Some((_, Some(used_by))) => Some(JoinRefusal::Used(used_by)),
                Some((expires, None)) if expires < now => Some(JoinRefusal::Expired),
                Some(_) => None,
            };
            if let Some(refusal) = refusal {
                return Ok(Err(refusal));
            }
            change.execute(
                "UPDATE join_tokens SET used_by = ?2 WHERE hash = ?1",
                params![hash, host],
            )?;
            change.commit()?;
            Ok(Ok(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_token_is_good_once_and_in_time() {
        let store = Store::in_memory().expect("opens");
        store.put_join_token("a", 100).expect("writes");
        store.put_join_token("b", 100).expect("writes");
        let using = |hash, host, now| store.use_join_token(hash, host, now).expect("reads");
        assert_eq!(using("a", "blade1", 50), Ok(()));
        assert_eq!(
            using("a", "blade2", 50),
            Err(JoinRefusal::Used("blade1".into()))
        );
        assert_eq!(using("b", "blade2", 101), Err(JoinRefusal::Expired));
        assert_eq!(using("c", "blade2", 50), Err(JoinRefusal::Unknown));
    }

    #[test]
    fn what_is_made_once_stays() {
        let store = Store::in_memory().expect("opens");
        let make = |text: &'static str| move || Ok::<_, ()>(text.to_owned());
        assert_eq!(
            store.once("farm", make("one")).expect("writes"),
            Ok("one".to_owned())
        );
        assert_eq!(
            store.once("farm", make("two")).expect("reads"),
            Ok("one".to_owned())
        );
    }
}
