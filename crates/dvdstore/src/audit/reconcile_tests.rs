//! A store of three orders that agrees, and one thing broken at a time.

use super::*;
use crate::audit::snapshot::{DbCustomer, DbRestock, DbStock};
use crate::orderlog::tests::record;
use crate::random::Seed;
use crate::record::{CustomerId, Failure, OrderId, Registration};
use crate::size::Size;

/// What the audit must complain of, and what breaks a sound store so.
type Broken = (&'static str, fn(&mut Case));

struct Case {
    baseline: Baseline,
    log: Vec<OrderRecord>,
    db: Snapshot,
}

impl Case {
    /// Orders 12,001 (committed) and 12,002 (unknown, committed) of product 17 twice and product 404 once; one that
    /// rolled back, one unknown that never happened, one new customer.
    fn sound() -> Case {
        let baseline = Baseline {
            seed: Seed(1),
            size: Size::S,
            in_stock: vec![100; 500],
            sold: vec![7; 500],
            prices: vec![1_000; 500],
            lines: 0,
            net_cents: 0,
        };
        let lost = || (Failure::ConnectionLost, String::new());
        let unknown = || Outcome::Unknown {
            reason: lost().0,
            detail: lost().1,
        };
        let mut log = vec![
            record(
                0,
                Outcome::Committed {
                    order_id: OrderId(12_001),
                    net: Cents(3_000),
                },
            ),
            record(1, unknown()),
            record(2, Outcome::RolledBack),
            record(3, unknown()),
            record(
                4,
                Outcome::Failed {
                    reason: Failure::Timeout,
                    detail: String::new(),
                },
            ),
        ];
        log[0].customer_id = Some(CustomerId(20_001));
        log[0].registration = Some(Registration {
            username: "newa".into(),
            customer_id: Some(CustomerId(20_001)),
        });
        log[4].registration = Some(Registration {
            username: "newb".into(),
            customer_id: None,
        });
        let mut db = Snapshot::default();
        for (id, sequence, customer) in [(12_001, 0, 20_001), (12_002, 1, 4)] {
            let token = Some(log[sequence].token.0);
            db.orders.push(DbOrder {
                id,
                token,
                customer: Some(customer),
                net: 3_000,
                tax: 248,
                total: 3_248,
            });
            for (number, product, quantity) in [(1, 17, 2), (2, 404, 1)] {
                db.lines.push(DbLine {
                    order: id,
                    number,
                    product,
                    quantity,
                });
                db.history.push(DbHistory {
                    order: id,
                    customer,
                    product,
                });
            }
        }
        db.stock = (1..=500)
            .map(|product| DbStock {
                product,
                in_stock: 100,
                sold: 7,
            })
            .collect();
        db.stock[16] = DbStock {
            product: 17,
            in_stock: 96,
            sold: 11,
        };
        db.stock[403] = DbStock {
            product: 404,
            in_stock: 98 + 40,
            sold: 9,
        };
        db.restocks.push(DbRestock {
            product: 404,
            units: 40,
        });
        db.customers.push(DbCustomer {
            id: 20_001,
            username: "newa".into(),
        });
        Case { baseline, log, db }
    }

    fn audit(&self) -> AuditReport {
        reconcile(&self.baseline, Some(&self.log), &self.db)
    }
}

#[test]
fn a_sound_store_passes_and_its_unknown_orders_are_resolved() {
    let report = Case::sound().audit();
    assert_eq!(report.differences, Vec::<String>::new());
    assert!(report.ok && report.log_checked);
    assert_eq!((report.orders_in_database, report.orders_committed), (2, 1));
    assert_eq!(
        (report.orders_unknown, report.orders_unknown_resolved),
        (2, 1)
    );
    assert_eq!(
        (
            report.orders_lost,
            report.orders_doubled,
            report.orders_unsent
        ),
        (0, 0, 0)
    );
}

#[test]
fn an_unknown_registration_may_have_worked() {
    let mut case = Case::sound();
    case.db.customers.push(DbCustomer {
        id: 20_002,
        username: "newb".into(),
    });
    assert!(case.audit().ok);
}

/// Each row breaks one thing and says what the audit must call it.
#[test]
fn everything_that_is_wrong_is_found() {
    let cases: [Broken; 17] = [
        ("is lost", |c| {
            c.db.orders = c.db.orders.split_off(1);
        }),
        ("there is lines of order 12001", |c| {
            c.db.orders = c.db.orders.split_off(1);
        }),
        ("same purchase", |c| {
            c.db.orders[1].token = c.db.orders[0].token;
        }),
        ("has no token", |c| {
            c.db.orders[0].token = None;
        }),
        ("is not in the log", |c| {
            c.log.truncate(1);
        }),
        ("told it failed", |c| {
            c.log[1].outcome = Outcome::RolledBack;
        }),
        ("told 29.99", |c| {
            c.log[0].outcome = Outcome::Committed {
                order_id: OrderId(12_001),
                net: Cents(2_999),
            };
        }),
        ("its purchase is order", |c| {
            c.log[0].outcome = Outcome::Committed {
                order_id: OrderId(9),
                net: Cents(3_000),
            };
        }),
        ("two lines", |c| {
            c.db.lines[1].product = 17;
        }),
        ("not numbered", |c| {
            c.db.lines[1].number = 3;
        }),
        ("sent were 17x2 404x1", |c| {
            c.db.lines[0].quantity = 3;
        }),
        ("its lines make 20.00", |c| {
            c.db.lines.truncate(1);
        }),
        ("tax or total", |c| {
            c.db.orders[0].tax = 247;
        }),
        ("history has products [17]", |c| {
            c.db.history.truncate(1);
        }),
        ("another customer", |c| {
            c.db.orders[1].customer = Some(5);
        }),
        ("newa) had registered and is lost", |c| {
            c.db.customers.clear();
        }),
        ("never registered", |c| {
            c.db.customers.push(DbCustomer {
                id: 20_002,
                username: "who".into(),
            });
        }),
    ];
    for (complaint, break_it) in cases {
        let mut case = Case::sound();
        break_it(&mut case);
        let report = case.audit();
        assert!(!report.ok, "{complaint}: not noticed");
        assert!(
            report.differences.iter().any(|d| d.contains(complaint)),
            "{complaint}: {:?}",
            report.differences
        );
    }
}

#[test]
fn stock_and_sales_must_follow_from_lines_and_restocks() {
    let cases: [Broken; 4] = [
        ("product 17: stock is 95, should be 96", |c| {
            c.db.stock[16].in_stock = 95;
        }),
        ("product 3: sales are 8, should be 7", |c| {
            c.db.stock[2].sold = 8;
        }),
        ("product 404: stock is 138, should be 98", |c| {
            c.db.restocks.clear();
        }),
        ("product 500 is missing", |c| {
            c.db.stock.truncate(499);
        }),
    ];
    for (complaint, break_it) in cases {
        let mut case = Case::sound();
        break_it(&mut case);
        let found = reconcile(&case.baseline, None, &case.db).differences;
        assert!(
            found
                .iter()
                .any(|d| d == complaint || d.starts_with(complaint)),
            "{complaint}: {found:?}"
        );
    }
}

#[test]
fn the_figures_count_lost_doubled_and_unsent_orders() {
    let mut case = Case::sound();
    case.db.orders[1].token = case.db.orders[0].token;
    assert_eq!(case.audit().orders_doubled, 1);
    let mut case = Case::sound();
    case.db.orders.clear();
    assert_eq!(case.audit().orders_lost, 1);
    let mut case = Case::sound();
    case.log.clear();
    assert_eq!(case.audit().orders_unsent, 2);
}
