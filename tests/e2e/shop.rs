//! The VMs: two shops, cloned from a file as in the paper, one on each datastore. Made when the first scenario needs
//! them, and from then on never without customers.

use std::time::Duration;

use godwit_dvdstore::connect::parse_url;
use godwit_dvdstore::load::inspect;
use tokio_postgres::Config;

use crate::farm::Farm;
use crate::lab::PRODUCTION;
use crate::load::Load;
use crate::wait::until_so;

/// The template's name.
pub const TEMPLATE: &str = "golden";
/// On SAN1.
pub const SHOP: &str = "shop1";
/// On SAN2, which is small.
pub const SMALL_SHOP: &str = "shop2";
/// One look at a database that may not answer.
const ATTEMPT: Duration = Duration::from_secs(10);

/// A VM with a database and its customers.
pub struct Shop {
    /// The VM's name.
    pub name: &'static str,
    /// How its database is reached.
    pub database: Config,
    /// Its customers.
    pub load: Load,
}

/// Both of them, and what the commands said that made them.
pub struct Shops {
    /// On SAN1.
    pub first: Shop,
    /// On SAN2.
    pub second: Shop,
    /// What `godwit vm clone --from` printed.
    pub said: String,
}

impl Farm {
    /// The template, made of the golden image; both are made if they are not there.
    pub async fn template(&self) {
        let templates = self.client.templates().await.unwrap();
        if templates.iter().any(|one| one.template.name == TEMPLATE) {
            return;
        }
        let built = self.done(&["-o", "json", "image", "build"]).await;
        let start = built.find('{').expect("it says what it built");
        let end = built.rfind('}').expect("it says what it built");
        let built: serde_json::Value = serde_json::from_str(&built[start..=end]).unwrap();
        let image = built["path"].as_str().expect("a path").to_owned();
        let words = ["template", "create", TEMPLATE, "--image", &image];
        self.done(&[&words[..], &["--datastore", "SAN1"]].concat())
            .await;
    }

    /// The shops, with customers in them.
    pub async fn shops(&self) -> &Shops {
        let make = async || {
            let failure = "the shops could not be made: see the first scenario that failed";
            let made = std::panic::AssertUnwindSafe(self.make_shops());
            let made = futures::FutureExt::catch_unwind(made).await;
            made.map_err(|_| failure.to_owned())
        };
        let shops = self.shops.get_or_init(make).await;
        shops.as_ref().unwrap_or_else(|problem| panic!("{problem}"))
    }

    async fn make_shops(&self) -> Shops {
        self.template().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clones.txt");
        let lines = format!(
            "# name  address  datastore\n{SHOP}   {}   [SAN1]\n\n{SMALL_SHOP} {} SAN2\n",
            PRODUCTION.host(11),
            PRODUCTION.host(12)
        );
        std::fs::write(&file, lines).unwrap();
        let file = file.display().to_string();
        let gateway = PRODUCTION.gateway().to_string();
        let words = ["vm", "clone", TEMPLATE, "--from", &file];
        let said = self
            .done(&[&words[..], &["--gateway", &gateway]].concat())
            .await;
        Shops {
            first: shop(SHOP, 0).await,
            second: shop(SMALL_SHOP, 1).await,
            said,
        }
    }
}

async fn shop(name: &'static str, number: u8) -> Shop {
    let address = PRODUCTION.host(11 + number);
    let database = parse_url(&format!("postgresql://ds2:ds2@{address}:5432/ds2")).unwrap();
    answers(&database).await;
    let load = Load::begin(name, number.into(), &database);
    Shop {
        name,
        database,
        load,
    }
}

/// Waits until a database answers queries.
pub async fn answers(database: &Config) {
    until_so("the database answers", async || {
        let attempt = tokio::time::timeout(ATTEMPT, inspect(database)).await;
        matches!(attempt, Ok(Ok(_)))
    })
    .await;
}
