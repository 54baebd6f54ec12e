//! The comparison itself: what the store began with, what the driver was told, what the database holds. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::report::AuditReport;
use super::snapshot::{DbHistory, DbLine, DbLoaded, DbOrder, Snapshot};
use crate::generate::{Baseline, tax};
use crate::record::{Cents, OrderRecord, Outcome};
use crate::script::CartLine;

/// Compares; `log` is `None` if only the database's own consistency can be checked.
pub(super) fn reconcile(
    baseline: &Baseline,
    log: Option<&[OrderRecord]>,
    db: &Snapshot,
) -> AuditReport {
    let mut report = AuditReport {
        log_checked: log.is_some(),
        loaded_rows_checked: db.loaded.is_some(),
        orders_in_database: db.orders.len() as u64,
        customers_new: db.customers.len() as u64,
        restocks: db.restocks.len() as u64,
        ..AuditReport::default()
    };
    let lines = by_order(&db.lines, |line| line.order);
    let history = by_order(&db.history, |row| row.order);
    orders(&mut report, baseline, db, &lines, &history);
    strays(&mut report, db, &lines, &history);
    doubles(&mut report, db);
    if let Some(log) = log {
        compare_log(&mut report, log, db, &lines);
        customers(&mut report, log, db);
    }
    stock(&mut report, baseline, db);
    if let Some(loaded) = &db.loaded {
        loaded_rows(&mut report, baseline, loaded);
    }
    report.ok = report.differences_total == 0;
    report
}

/// Rows by the order that they belong to; they come sorted by it.
type ByOrder<'a, T> = HashMap<i32, &'a [T]>;

fn by_order<T>(rows: &[T], order: impl Fn(&T) -> i32) -> ByOrder<'_, T> {
    rows.chunk_by(|a, b| order(a) == order(b))
        .map(|chunk| (order(&chunk[0]), chunk))
        .collect()
}

/// Each order in itself: amounts follow from lines and prices, history from lines.
fn orders(
    report: &mut AuditReport,
    baseline: &Baseline,
    db: &Snapshot,
    lines: &ByOrder<'_, DbLine>,
    history: &ByOrder<'_, DbHistory>,
) {
    for order in &db.orders {
        let id = order.id;
        let lines = lines.get(&id).copied().unwrap_or_default();
        if order.token.is_none() {
            report.orders_unsent += 1;
            report.differ(format!(
                "order {id} came after the load but has no token: no driver sent it"
            ));
        }
        if lines.is_empty() {
            report.differ(format!("order {id} has no lines"));
        }
        if (1i16..).zip(lines).any(|(n, line)| line.number != n) {
            report.differ(format!(
                "order {id}: its lines are not numbered 1 to {}",
                lines.len()
            ));
        }
        let products: HashSet<i32> = lines.iter().map(|line| line.product).collect();
        if products.len() < lines.len() {
            report.differ(format!("order {id} has a product on two lines"));
        }
        amounts(report, baseline, order, lines);
        let mut bought: Vec<i32> = lines.iter().map(|line| line.product).collect();
        bought.sort_unstable();
        let rows = history.get(&id).copied().unwrap_or_default();
        let remembered: Vec<i32> = rows.iter().map(|row| row.product).collect();
        if bought != remembered {
            report.differ(format!(
                "order {id}: history has products {remembered:?}, its lines have {bought:?}"
            ));
        }
        if rows.iter().any(|row| Some(row.customer) != order.customer) {
            report.differ(format!("order {id}: history names another customer"));
        }
    }
}

fn amounts(report: &mut AuditReport, baseline: &Baseline, order: &DbOrder, lines: &[DbLine]) {
    let price = |line: &DbLine| {
        let index = usize::try_from(line.product - 1).ok()?;
        Some(i64::from(*baseline.prices.get(index)?) * i64::from(line.quantity))
    };
    let Some(net) = lines.iter().map(price).sum::<Option<i64>>() else {
        report.differ(format!(
            "order {} has a product that the store never had",
            order.id
        ));
        return;
    };
    let tax = tax(Cents(order.net)).0;
    if order.net != net {
        let (is, should) = (Cents(order.net), Cents(net));
        report.differ(format!(
            "order {}: net amount is {is}, its lines make {should}",
            order.id
        ));
    }
    if (order.tax, order.total) != (tax, order.net + tax) {
        report.differ(format!(
            "order {}: tax or total does not follow from its net amount",
            order.id
        ));
    }
}

/// Lines and history without an order.
fn strays(
    report: &mut AuditReport,
    db: &Snapshot,
    lines: &ByOrder<'_, DbLine>,
    history: &ByOrder<'_, DbHistory>,
) {
    let known: HashSet<i32> = db.orders.iter().map(|order| order.id).collect();
    let mut strays: Vec<(i32, &str)> = lines.keys().map(|id| (*id, "lines")).collect();
    strays.extend(history.keys().map(|id| (*id, "history")));
    strays.retain(|(id, _)| !known.contains(id));
    strays.sort_unstable();
    for (id, what) in strays {
        report.differ(format!("there is {what} of order {id}, but no such order"));
    }
}

/// Orders with a token that another has.
fn doubles(report: &mut AuditReport, db: &Snapshot) {
    let mut seen: HashMap<Uuid, i32> = HashMap::new();
    for order in &db.orders {
        let Some(token) = order.token else { continue };
        if let Some(first) = seen.insert(token, order.id) {
            report.orders_doubled += 1;
            report.differ(format!(
                "orders {first} and {} are the same purchase {token}",
                order.id
            ));
        }
    }
}

/// What the driver was told against what there is.
fn compare_log(
    report: &mut AuditReport,
    log: &[OrderRecord],
    db: &Snapshot,
    lines: &ByOrder<'_, DbLine>,
) {
    let stored: HashMap<Uuid, &DbOrder> = db
        .orders
        .iter()
        .filter_map(|o| Some((o.token?, o)))
        .collect();
    let mut sent = HashSet::new();
    for order in log {
        let (token, found) = (order.token, stored.get(&order.token.0));
        if !sent.insert(token.0) {
            report.differ(format!(
                "the log has the purchase {token} twice: give each log once"
            ));
        }
        if let Some(found) = found {
            compare_order(
                report,
                order,
                found,
                lines.get(&found.id).copied().unwrap_or_default(),
            );
        }
        match &order.outcome {
            Outcome::Committed { order_id, .. } => {
                report.orders_committed += 1;
                if found.is_none() {
                    report.orders_lost += 1;
                    report.differ(format!(
                        "order {order_id} ({token}) was committed and is lost"
                    ));
                }
            }
            Outcome::RolledBack | Outcome::Failed { .. } => {
                if let Some(found) = found {
                    report.orders_contradicted += 1;
                    report.differ(format!(
                        "order {} ({token}) is there, but the driver was told it failed",
                        found.id
                    ));
                }
            }
            Outcome::Unknown { .. } => {
                report.orders_unknown += 1;
                report.orders_unknown_resolved += u64::from(found.is_some());
            }
        }
    }
    for order in &db.orders {
        if let Some(token) = order.token.filter(|token| !sent.contains(token)) {
            report.orders_unsent += 1;
            report.differ(format!(
                "order {} ({token}) is not in the log: was the driver killed, or a log left out?",
                order.id
            ));
        }
    }
}

fn compare_order(report: &mut AuditReport, told: &OrderRecord, found: &DbOrder, lines: &[DbLine]) {
    let id = found.id;
    if let Outcome::Committed { order_id, net } = told.outcome {
        if order_id.0 != id {
            report.differ(format!(
                "the driver was told of order {order_id}, its purchase is order {id}"
            ));
        }
        if net.0 != found.net {
            report.differ(format!(
                "order {id}: net amount is {}, the driver was told {net}",
                Cents(found.net)
            ));
        }
    }
    if told.customer_id.map(|c| c.0) != found.customer {
        report.differ(format!(
            "order {id} belongs to another customer than the one that sent it"
        ));
    }
    let cart: Vec<CartLine> = lines
        .iter()
        .map(|line| CartLine {
            product: line.product,
            quantity: line.quantity,
        })
        .collect();
    if cart != told.cart {
        let text = |cart: &[CartLine]| {
            let lines: Vec<String> = cart
                .iter()
                .map(|l| format!("{}x{}", l.product, l.quantity))
                .collect();
            lines.join(" ")
        };
        report.differ(format!(
            "order {id} has the lines {}, sent were {}",
            text(&cart),
            text(&told.cart)
        ));
    }
}

/// Customers that registered: each the driver was told of, and none that it never sent.
fn customers(report: &mut AuditReport, log: &[OrderRecord], db: &Snapshot) {
    let stored: HashMap<&str, i32> = db
        .customers
        .iter()
        .map(|c| (c.username.as_str(), c.id))
        .collect();
    if stored.len() < db.customers.len() {
        report.differ("two customers have one user name".to_owned());
    }
    let mut sent = HashSet::new();
    for registration in log.iter().filter_map(|order| order.registration.as_ref()) {
        let name = registration.username.as_str();
        sent.insert(name);
        match (registration.customer_id, stored.get(name)) {
            (Some(told), None) => report.differ(format!(
                "customer {told} ({name}) had registered and is lost"
            )),
            (Some(told), Some(id)) if told.0 != *id => {
                report.differ(format!(
                    "customer {name} has number {id}, the driver was told {told}"
                ));
            }
            // Without a number the driver never learned whether it worked: either is right.
            _ => {}
        }
    }
    for customer in db
        .customers
        .iter()
        .filter(|c| !sent.contains(c.username.as_str()))
    {
        report.differ(format!(
            "customer {} ({}) never registered",
            customer.id, customer.username
        ));
    }
}

/// Stock is what there was, less what was sold, plus what was reordered; sales are what there was plus what was sold.
fn stock(report: &mut AuditReport, baseline: &Baseline, db: &Snapshot) {
    let mut sold: BTreeMap<i32, i64> = BTreeMap::new();
    for line in &db.lines {
        *sold.entry(line.product).or_default() += i64::from(line.quantity);
    }
    let mut restocked: BTreeMap<i32, i64> = BTreeMap::new();
    for restock in &db.restocks {
        *restocked.entry(restock.product).or_default() += i64::from(restock.units);
    }
    let rows: HashMap<i32, _> = db.stock.iter().map(|row| (row.product, row)).collect();
    if (rows.len(), db.stock.len()) != (baseline.in_stock.len(), baseline.in_stock.len()) {
        let (is, should) = (db.stock.len(), baseline.in_stock.len());
        report.differ(format!(
            "inventory has {is} rows for {} products, the store has {should}",
            rows.len()
        ));
    }
    for (product, (&in_stock, &sales)) in (1..).zip(baseline.in_stock.iter().zip(&baseline.sold)) {
        let Some(row) = rows.get(&product) else {
            report.differ(format!("product {product} is missing from the inventory"));
            continue;
        };
        let sold = sold.get(&product).copied().unwrap_or(0);
        let should = i64::from(in_stock) - sold + restocked.get(&product).copied().unwrap_or(0);
        if i64::from(row.in_stock) != should {
            report.differ(format!(
                "product {product}: stock is {}, should be {should}",
                row.in_stock
            ));
        }
        let should = i64::from(sales) + sold;
        if i64::from(row.sold) != should {
            report.differ(format!(
                "product {product}: sales are {}, should be {should}",
                row.sold
            ));
        }
    }
}

fn loaded_rows(report: &mut AuditReport, baseline: &Baseline, loaded: &DbLoaded) {
    let (size, lines) = (baseline.size, baseline.lines.cast_signed());
    let units: i64 = baseline.sold.iter().map(|&units| i64::from(units)).sum();
    let rows = [
        ("customers", loaded.customers, i64::from(size.customers())),
        ("orders", loaded.orders, i64::from(size.orders())),
        ("cents of net amount", loaded.net, baseline.net_cents),
        ("order lines", loaded.lines, lines),
        ("units on order lines", loaded.units, units),
        ("history rows", loaded.history, lines),
        ("products", loaded.products, i64::from(size.products())),
    ];
    for (what, is, should) in rows {
        if is != should {
            report.differ(format!(
                "of the {should} loaded {what}, the database has {is}"
            ));
        }
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
