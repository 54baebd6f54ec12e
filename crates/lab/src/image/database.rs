//! The guest's database: made and loaded by the guest's own PostgreSQL, natively, in the tree.

use super::error::ImageError;
use super::recipe::{PG_HBA_CONF, POSTGRES_BIN, POSTGRES_DATA, POSTGRESQL_CONF};
use super::tree::Tree;
use super::work::{Running, Work, inside};
use super::{ImageSpec, Progress};
use godwit_dvdstore::connect::parse_url;
use godwit_dvdstore::load::{LoadError, LoadOptions, LoadProgress, Phase, load};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Where the server puts its socket, in the guest.
const SOCKET_FOLDER: &str = "run/postgresql";
/// A unix socket's path has 107 bytes; the last part is `/.s.PGSQL.5432`.
const LONGEST_FOLDER: usize = 107 - 14;

/// Only while loading, when nothing can be lost: no waiting for the disk, more memory.
const LOADING: &[&str] = &[
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "dynamic_shared_memory_type=mmap",
    "listen_addresses=",
    "shared_buffers=256MB",
    "maintenance_work_mem=256MB",
    "max_wal_size=512MB",
    "autovacuum=off",
];

/// Makes the database `ds2`, owned by the user `ds2`, and loads the store into it.
pub(super) fn make(work: &Work<'_>, tree: &Tree, spec: &ImageSpec) -> Result<(), ImageError> {
    let sockets = tree.root().join(SOCKET_FOLDER);
    if sockets.as_os_str().len() > LONGEST_FOLDER {
        return Err(ImageError::LongPath(tree.root().to_owned()));
    }
    work.progress.step("making the database");
    initialize(work, tree)?;
    let mut server = start(work, tree)?;
    sql(
        work,
        tree,
        "postgres",
        &[
            "CREATE ROLE ds2 LOGIN PASSWORD 'ds2'",
            "CREATE DATABASE ds2 OWNER ds2",
            "GRANT pg_read_all_stats TO ds2",
        ],
    )?;
    work.progress
        .step(&format!("loading the DVD Store of {}", spec.size));
    load_store(work, &sockets, spec)?;
    work.progress.step("vacuuming");
    server.still_runs(work)?;
    // Frozen, with all hints set: clones do not rewrite the pages that they only read.
    sql(
        work,
        tree,
        "ds2",
        &["VACUUM (FREEZE, ANALYZE)", "CHECKPOINT"],
    )?;
    work.progress.step("shutting the database down");
    server.signal(Signal::SIGINT); // "fast": ends sessions, writes everything down
    while server.line(work)?.is_some() {}
    server.finish()?;
    finish(tree)
}

fn initialize(work: &Work<'_>, tree: &Tree) -> Result<(), ImageError> {
    let script = format!(
        "install -d -o postgres -g postgres /{SOCKET_FOLDER} /var/lib/postgresql/15 /var/log/postgresql && \
         install -d -o postgres -g postgres -m 0700 {POSTGRES_DATA}"
    );
    let mut command = inside(tree.root(), "root");
    command.args(["sh", "-ec", &script]);
    work.run("making the database's folders", command)?;
    let mut command = inside(tree.root(), "postgres");
    command.arg(format!("{POSTGRES_BIN}/initdb")).args([
        "-D",
        POSTGRES_DATA,
        "-U",
        "postgres",
        "-A",
        "trust",
    ]);
    command.args([
        "--locale=C.UTF-8",
        "-E",
        "UTF8",
        "--no-sync",
        "--no-instructions",
    ]);
    work.run("initializing the database (initdb)", command)?;
    let path = tree.root().join(data("postgresql.conf"));
    let mut text = fs::read_to_string(&path).map_err(ImageError::file("read", &path))?;
    text.push_str(POSTGRESQL_CONF);
    fs::write(&path, text).map_err(ImageError::file("write", &path))
}

/// A path below the data folder, relative to the tree.
fn data(name: &str) -> String {
    format!("{}/{name}", POSTGRES_DATA.trim_start_matches('/'))
}

fn start(work: &Work<'_>, tree: &Tree) -> Result<Running, ImageError> {
    let mut command = inside(tree.root(), "postgres");
    command
        .arg(format!("{POSTGRES_BIN}/postgres"))
        .args(["-D", POSTGRES_DATA]);
    LOADING.iter().for_each(|setting| {
        command.args(["-c", setting]);
    });
    let mut server = Running::start("running the database (postgres)", command)?;
    let state = tree.root().join(data("postmaster.pid"));
    // The server writes its state into the last line of this file.
    while !fs::read_to_string(&state)
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "ready"))
    {
        server.still_runs(work)?;
    }
    Ok(server)
}

fn sql(
    work: &Work<'_>,
    tree: &Tree,
    database: &str,
    statements: &[&str],
) -> Result<(), ImageError> {
    let mut command = inside(tree.root(), "postgres");
    command.arg(format!("{POSTGRES_BIN}/psql"));
    command.args([
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        &format!("/{SOCKET_FOLDER}"),
        "-U",
        "postgres",
        database,
    ]);
    statements.iter().for_each(|statement| {
        command.args(["-c", statement]);
    });
    work.run("preparing the database (psql)", command).map(drop)
}

fn load_store(work: &Work<'_>, sockets: &Path, spec: &ImageSpec) -> Result<(), ImageError> {
    let url = format!(
        "host={} user=ds2 password=ds2 dbname=ds2",
        sockets.display()
    );
    let config = parse_url(&url).map_err(|_| ImageError::LongPath(sockets.to_owned()))?;
    let options = LoadOptions {
        size: spec.size,
        seed: spec.seed,
        replace: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ImageError::Start {
            program: "the loader".into(),
            source,
        })?;
    let progress = work.progress;
    runtime.block_on(async {
        let loading = load(&config, options, |at| show(progress, at));
        tokio::select! {
            loaded = loading => loaded.map(drop).map_err(|error: LoadError| error.into()),
            () = stopped(work) => Err(ImageError::Interrupted),
        }
    })
}

async fn stopped(work: &Work<'_>) {
    while work.check().is_ok() {
        work.progress.tick();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn show(progress: &dyn Progress, at: LoadProgress) {
    let percent = at.rows_done * 100 / at.rows_total.max(1);
    match at.phase {
        Phase::Rows => progress.line(&format!(
            "{}: {} of {} rows ({percent} %)",
            at.what, at.rows_done, at.rows_total
        )),
        Phase::Indexes | Phase::ForeignKeys | Phase::Statistics => progress.line(at.what),
        Phase::Done => {}
    }
}

/// Who may connect from now on; nothing of the build stays in the log.
fn finish(tree: &Tree) -> Result<(), ImageError> {
    let path = tree.root().join(data("pg_hba.conf"));
    // Written in place: the file keeps its owner.
    fs::write(&path, PG_HBA_CONF).map_err(ImageError::file("write", &path))
}
