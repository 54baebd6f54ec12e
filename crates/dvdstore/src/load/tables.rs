//! Each table's rows as COPY text, in chunks, drawn from the seed.

use bytes::Bytes;

use crate::generate::{Baseline, CopyText, Generator, Person, tax};
use crate::record::Cents;
use crate::words::CATEGORIES;

/// The size at which a chunk is sent.
const CHUNK_BYTES: usize = 256 * 1024;

/// A table that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Categories,
    Products,
    Inventory,
    Customers,
    Orders,
    Orderlines,
    History,
}

/// In the order in which they are loaded.
pub(super) const ALL: [Table; 7] = [
    Table::Categories,
    Table::Products,
    Table::Inventory,
    Table::Customers,
    Table::Orders,
    Table::Orderlines,
    Table::History,
];

/// Some rows.
pub(super) struct Chunk {
    pub(super) text: Bytes,
    pub(super) rows: u64,
}

impl Table {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Categories => "categories",
            Table::Products => "products",
            Table::Inventory => "inventory",
            Table::Customers => "customers",
            Table::Orders => "orders",
            Table::Orderlines => "orderlines",
            Table::History => "cust_hist",
        }
    }

    /// Its name with the columns that are copied, where not all are.
    pub(super) fn target(self) -> &'static str {
        match self {
            Table::Orders => "orders (orderid, orderdate, customerid, netamount, tax, totalamount)",
            other => other.name(),
        }
    }

    /// How many rows it gets.
    pub(super) fn rows(self, baseline: &Baseline) -> u64 {
        match self {
            Table::Orderlines | Table::History => baseline.lines,
            other => u64::from(other.items(baseline)),
        }
    }

    /// What is drawn for it: rows, or orders of which each gives several rows.
    fn items(self, baseline: &Baseline) -> u32 {
        match self {
            Table::Categories => u32::try_from(CATEGORIES.len()).unwrap_or(u32::MAX),
            Table::Products | Table::Inventory => baseline.size.products(),
            Table::Customers => baseline.size.customers(),
            Table::Orders | Table::Orderlines | Table::History => baseline.size.orders(),
        }
    }

    /// Draws all rows and gives them to `send` in chunks, until it says no.
    pub(super) fn generate(self, baseline: &Baseline, mut send: impl FnMut(Chunk) -> bool) {
        let generator = Generator::new(baseline.seed, baseline.size);
        let fresh = || CopyText::with_capacity(CHUNK_BYTES + 4096);
        let (mut text, mut rows) = (fresh(), 0);
        for id in 1..=self.items(baseline) {
            rows += self.write(&generator, baseline, id, &mut text);
            if text.len() >= CHUNK_BYTES {
                let full = std::mem::replace(&mut text, fresh());
                if !send(Chunk {
                    text: full.into_bytes(),
                    rows,
                }) {
                    return;
                }
                rows = 0;
            }
        }
        send(Chunk {
            text: text.into_bytes(),
            rows,
        });
    }

    /// Writes the rows of item `id`; returns how many.
    fn write(
        self,
        generator: &Generator,
        baseline: &Baseline,
        id: u32,
        text: &mut CopyText,
    ) -> u64 {
        match self {
            Table::Categories => text.column(id).column(CATEGORIES[id as usize - 1]).end(),
            Table::Products => product(generator, id, text),
            Table::Inventory => {
                let i = id as usize - 1;
                text.column(id)
                    .column(baseline.in_stock[i])
                    .column(baseline.sold[i])
                    .end();
            }
            Table::Customers => customer(generator, id, text),
            Table::Orders => {
                let order = generator.order(id);
                let tax = tax(order.net);
                text.column(id).column(order.date).column(order.customer);
                text.money(order.net)
                    .money(tax)
                    .money(Cents(order.net.0 + tax.0))
                    .end();
            }
            Table::Orderlines => {
                let order = generator.order(id);
                for (n, line) in (1..).zip(&order.lines) {
                    text.column::<i32>(n)
                        .column(id)
                        .column(line.product)
                        .column(line.quantity);
                    text.column(order.date).end();
                }
                return order.lines.len() as u64;
            }
            Table::History => {
                let order = generator.order(id);
                for line in &order.lines {
                    text.column(order.customer)
                        .column(id)
                        .column(line.product)
                        .end();
                }
                return order.lines.len() as u64;
            }
        }
        1
    }
}

fn product(generator: &Generator, id: u32, text: &mut CopyText) {
    let p = generator.product(id);
    text.column(id)
        .column(p.category)
        .column(p.title)
        .column(p.actor)
        .money(Cents(p.price_cents.into()));
    text.column(i32::from(p.special)).column(p.recommends).end();
}

fn customer(generator: &Generator, id: u32, text: &mut CopyText) {
    let p = generator.customer(id);
    text.column(id)
        .column(p.firstname)
        .column(p.lastname)
        .column(p.address1)
        .nullable(p.address2);
    text.column(p.city)
        .nullable(p.state)
        .column(p.zip)
        .column(p.country)
        .column(p.region);
    text.column(p.email)
        .column(p.phone)
        .column(p.card_type)
        .column(p.card)
        .column(p.card_expires);
    text.column(Person::loaded_username(id))
        .column(Person::PASSWORD);
    text.column(p.age).column(p.income).column(p.gender).end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::FORMAT;
    use crate::random::Seed;
    use crate::size::Size;

    #[test]
    fn the_rows_announced_are_the_rows_sent() {
        let baseline = Baseline::compute(Seed(5), Size::SMALLEST);
        for table in ALL {
            let (mut rows, mut lines) = (0, 0);
            table.generate(&baseline, |chunk| {
                rows += chunk.rows;
                lines += chunk.text.iter().filter(|&&b| b == b'\n').count() as u64;
                true
            });
            assert_eq!(
                (rows, lines),
                (table.rows(&baseline), table.rows(&baseline)),
                "{table:?}"
            );
        }
    }

    /// If this fails, the data of every seed has changed: raise `FORMAT`, or stores loaded before would be audited
    /// against rows that they never held.
    #[test]
    fn the_data_of_a_seed_is_pinned() {
        let baseline = Baseline::compute(Seed(1), Size::SMALLEST);
        let mut digest = 0xcbf2_9ce4_8422_2325u64; // FNV-1a
        for table in ALL {
            table.generate(&baseline, |chunk| {
                for byte in chunk.text {
                    digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
                true
            });
        }
        assert_eq!(
            (FORMAT, format!("{digest:016x}").as_str()),
            (1, "b1a1e36bb5503f82")
        );
    }

    #[test]
    fn one_seed_gives_one_text() {
        let text = |seed| {
            let mut all = Vec::new();
            Table::Customers.generate(&Baseline::compute(Seed(seed), Size::SMALLEST), |chunk| {
                all.extend_from_slice(&chunk.text);
                true
            });
            all
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }
}
