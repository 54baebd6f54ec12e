//! The statements of an order, prepared once per connection.

use tokio_postgres::{Client, Error, Statement};

/// Plans are made once and assume that what a query needs is in memory, as it is in a shop that is in use. With the
/// usual costs the specials of a category are found by reading all specials.
#[doc(hidden)]
pub const SESSION_SETTINGS: &str =
    "SET plan_cache_mode = force_generic_plan; SET seq_page_cost = 0.1; SET random_page_cost = 0.1";

const LOGIN: &str = "
    SELECT c.customerid, bought.title, bought.recommended
      FROM customers c
      LEFT JOIN LATERAL (
           SELECT p.title, r.title AS recommended
             FROM (SELECT prod_id FROM cust_hist WHERE customerid = c.customerid
                    ORDER BY orderid DESC LIMIT 10) h
             JOIN products p ON p.prod_id = h.prod_id
             JOIN products r ON r.prod_id = p.common_prod_id) bought ON true
     WHERE c.username = $1 AND c.password = $2";

const REGISTER: &str = "
    INSERT INTO customers (firstname, lastname, address1, address2, city, state, zip, country, region, email, phone,
                           creditcardtype, creditcard, creditcardexpiration, username, password, age, income, gender)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
    ON CONFLICT (username) DO NOTHING
    RETURNING customerid";

const BROWSE_CATEGORY: &str = "
    SELECT prod_id, category, title, actor, price::float8, special, common_prod_id
      FROM products WHERE category = $1 AND special = 1 LIMIT $2";

const BROWSE_ACTOR: &str = "
    SELECT prod_id, category, title, actor, price::float8, special, common_prod_id
      FROM products WHERE to_tsvector('simple', actor) @@ plainto_tsquery('simple', $1) LIMIT $2";

const BROWSE_TITLE: &str = "
    SELECT prod_id, category, title, actor, price::float8, special, common_prod_id
      FROM products WHERE to_tsvector('simple', title) @@ plainto_tsquery('simple', $1) LIMIT $2";

const PURCHASE: &str = "SELECT r_orderid, r_net_cents FROM godwit_purchase($1, $2, $3, $4)";

/// The queries that must find their rows by an index, for the test that explains them.
#[doc(hidden)]
pub const INDEXED_QUERIES: [(&str, &str, &str); 4] = [
    ("login", LOGIN, "'user1', 'password'"),
    ("category", BROWSE_CATEGORY, "1::smallint, 5"),
    ("actor", BROWSE_ACTOR, "'Blackwell', 5"),
    ("title", BROWSE_TITLE, "'Ambergate', 5"),
];

#[derive(Debug)]
pub(super) struct Statements {
    pub(super) login: Statement,
    pub(super) register: Statement,
    pub(super) category: Statement,
    pub(super) actor: Statement,
    pub(super) title: Statement,
    pub(super) purchase: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Statements, Error> {
        client.batch_execute(SESSION_SETTINGS).await?;
        // One after the other would be six round trips.
        let (login, register, category, actor, title, purchase) = futures::try_join!(
            client.prepare(LOGIN),
            client.prepare(REGISTER),
            client.prepare(BROWSE_CATEGORY),
            client.prepare(BROWSE_ACTOR),
            client.prepare(BROWSE_TITLE),
            client.prepare(PURCHASE),
        )?;
        Ok(Statements {
            login,
            register,
            category,
            actor,
            title,
            purchase,
        })
    }
}
