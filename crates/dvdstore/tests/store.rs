//! Loading a store, and that its queries are backed by indexes.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod support;

use godwit_dvdstore::connect::{Link, parse_url};
use godwit_dvdstore::load::{LoadError, LoadOptions, Phase, inspect, load};
use godwit_dvdstore::order::{INDEXED_QUERIES, SESSION_SETTINGS};
use godwit_dvdstore::{Seed, Size};
use support::Postgres;

fn options(size: Size, replace: bool) -> LoadOptions {
    LoadOptions {
        size,
        seed: Seed(11),
        replace,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_loaded_once_and_replaced_only_on_demand() {
    let server = Postgres::start();
    let config = parse_url(&server.url()).unwrap();
    assert!(matches!(inspect(&config).await, Err(LoadError::NoStore)));

    let mut seen = Vec::new();
    let began = std::time::Instant::now();
    let info = load(&config, options(Size::S, false), |p| seen.push(p))
        .await
        .unwrap();
    eprintln!("S loaded in {:?}", began.elapsed());
    assert_eq!(inspect(&config).await.unwrap(), info);
    assert!(
        seen.windows(2).all(|w| w[0].rows_done <= w[1].rows_done),
        "progress goes backwards"
    );
    let last = seen.last().unwrap();
    assert_eq!((last.phase, last.rows_done), (Phase::Done, last.rows_total));

    let refused = load(&config, options(Size::SMALLEST, false), |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(refused, LoadError::Occupied(_)) && refused.to_string().contains("--replace"),
        "{refused}"
    );
    assert_eq!(inspect(&config).await.unwrap().size, Size::S);
    load(&config, options(Size::SMALLEST, true), |_| {})
        .await
        .unwrap();
    assert_eq!(inspect(&config).await.unwrap().size, Size::SMALLEST);

    let link = Link::for_tool(&config).await.unwrap();
    let row = link
        .client()
        .query_one(
            "SELECT nextval('orders_orderid_seq')::int, nextval('customers_customerid_seq')::int",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, i32>(0), row.get::<_, i32>(1)),
        (1_201, 2_001),
        "sequences continue after the rows"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_an_order_finds_its_rows_by_an_index() {
    let server = Postgres::start();
    let config = parse_url(&server.url()).unwrap();
    load(&config, options(Size::S, false), |_| {})
        .await
        .unwrap();
    let link = Link::for_tool(&config).await.unwrap();
    let client = link.client();
    client.batch_execute(SESSION_SETTINGS).await.unwrap();
    for (name, query, parameters) in INDEXED_QUERIES {
        client
            .batch_execute(&format!("PREPARE {name} AS {query}"))
            .await
            .unwrap();
        let rows = client
            .query(
                &format!("EXPLAIN (ANALYZE) EXECUTE {name}({parameters})"),
                &[],
            )
            .await
            .unwrap();
        let plan: String = rows
            .iter()
            .map(|row| row.get::<_, String>(0) + "\n")
            .collect();
        eprintln!("{name}:\n{plan}");
        assert!(
            !plan.contains("Seq Scan"),
            "{name} reads a whole table:\n{plan}"
        );
        assert!(plan.contains("Index"), "{name} uses no index:\n{plan}");
    }
    let plan = client
        .query("EXPLAIN EXECUTE category(1::smallint, 5)", &[])
        .await
        .unwrap();
    let plan: String = plan.iter().map(|row| row.get::<_, String>(0)).collect();
    assert!(
        plan.contains("ix_prod_cat_special"),
        "all specials are read: {plan}"
    );
    for (query, parameter) in [("actor", "Blackwell"), ("title", "Ambergate")] {
        let rows = client
            .query(&format!("EXECUTE {query}('{parameter}', 5)"), &[])
            .await
            .unwrap();
        assert!(!rows.is_empty(), "no {query} {parameter} found");
        let column = if query == "actor" { 3 } else { 2 };
        assert!(
            rows.iter()
                .all(|r| r.get::<_, &str>(column).contains(parameter)),
            "wrong {query} found"
        );
    }
}
