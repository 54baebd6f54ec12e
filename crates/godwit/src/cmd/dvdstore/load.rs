//! `godwit dvdstore load`.

use std::io::IsTerminal;
use std::process::ExitCode;

use godwit_dvdstore::connect::parse_url;
use godwit_dvdstore::load::{LoadOptions, LoadProgress, Phase, load};
use godwit_dvdstore::{Seed, Size};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, print_json};

/// What to load where.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// The database: postgresql://user:password@host/database, or "host=/run/postgresql dbname=ds2 user=ds2"
    url: String,
    /// S, M, L (10MB, 1GB, 100GB) or anything between, such as 300MB
    #[arg(long, default_value = "S")]
    size: Size,
    /// Decides the data
    #[arg(long, value_name = "N", default_value_t = Seed(1))]
    seed: Seed,
    /// Drop a store that is there already
    #[arg(long)]
    replace: bool,
}

impl LoadArgs {
    pub(super) async fn run(self, json: bool) -> Result<ExitCode, Failure> {
        let config = parse_url(&self.url)?;
        let options = LoadOptions {
            size: self.size,
            seed: self.seed,
            replace: self.replace,
        };
        let began = std::time::Instant::now();
        let mut shown = Shown::new();
        let info = load(&config, options, |progress| shown.update(progress)).await?;
        let (rows, seconds) = (shown.rows, began.elapsed().as_secs_f64());
        if json {
            print_json(&serde_json::json!({ "store": info, "rows": rows, "seconds": seconds }));
        } else {
            println!(
                "loaded {} (seed {}): {rows} rows in {seconds:.1} s",
                info.size, info.seed
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A bar for people, a line for each step for logs.
struct Shown {
    bar: Option<ProgressBar>,
    what: &'static str,
    rows: u64,
}

impl Shown {
    fn new() -> Shown {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{msg:12} {wide_bar} {human_pos}/{human_len} rows {eta:>4}",
            );
            let bar =
                ProgressBar::new(0).with_style(style.expect("the template is fixed and right"));
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
            bar
        });
        Shown {
            bar,
            what: "",
            rows: 0,
        }
    }

    fn update(&mut self, progress: LoadProgress) {
        self.rows = progress.rows_done;
        let Some(bar) = &self.bar else {
            if progress.what != self.what && progress.phase != Phase::Done {
                eprintln!(
                    "{}: {} of {} rows so far",
                    progress.what, progress.rows_done, progress.rows_total
                );
                self.what = progress.what;
            }
            return;
        };
        bar.set_length(progress.rows_total);
        bar.set_position(progress.rows_done);
        bar.set_message(progress.what);
        if progress.phase == Phase::Done {
            bar.finish_and_clear();
        }
    }
}
