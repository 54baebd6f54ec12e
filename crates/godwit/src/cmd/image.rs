//! `godwit image …`: disks to clone VMs from, built here or brought along.
//!
//! Building is the lab crate's business and importing QEMU's; here they are only asked for and
//! shown. Nobody waits in silence: a terminal gets a line that moves, a log one every few seconds.

use godwit_dvdstore::{Seed, Size};
use godwit_lab::image::{Built, ImageSpec, Progress, build};
use godwit_lab::up::Stop;
use godwit_model::vm::DiskFormat;
use godwit_qemu::image::{ImageTool, SourceFormat};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

mod boot;
mod shown;

use shown::Shown;

/// Build a golden image, or import a disk that exists
#[derive(Debug, clap::Subcommand)]
pub enum ImageCommand {
    /// Build a bootable Debian guest with PostgreSQL and the DVD Store in it
    Build(BuildArgs),
    /// Copy a disk (qcow2, raw or vmdk) into a qcow2 file fit for a template
    Import(ImportArgs),
    /// Boot an image once in a VM of its own, thrown away afterwards, and time it
    Boot(boot::BootArgs),
}

/// What the image shall hold.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Size of the DVD Store: S (10MB), M (1GB), or any such as 300MB
    #[arg(long, value_name = "SIZE", default_value_t = Size::S)]
    size: Size,
    /// Decides the store's data
    #[arg(long, value_name = "N", default_value_t = Seed(1))]
    seed: Seed,
    /// The file [default: one in /var/cache/godwit, named after size and seed]
    #[arg(long = "to", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Build anew even if the image is there
    #[arg(long)]
    force: bool,
}

/// What to import.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The disk
    file: PathBuf,
    /// The qcow2 file to make; it must not exist
    target: PathBuf,
    /// Format of the disk: raw, qcow2 or vmdk [default: looked at]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<SourceFormat>,
}

type Failure = Box<dyn Error + Send + Sync>;

impl ImageCommand {
    /// Does it, and prints for a program if `json` is set.
    pub async fn run(self, json: bool) -> ExitCode {
        let done = match self {
            Self::Build(args) => build_image(args, json).await,
            Self::Import(args) => import(args, json).await,
            Self::Boot(args) => boot::run(args, json).await,
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("godwit image: {error}");
                let mut cause = error.source();
                while let Some(error) = cause {
                    eprintln!("  because: {error}");
                    cause = error.source();
                }
                ExitCode::FAILURE
            }
        }
    }
}

async fn build_image(args: BuildArgs, json: bool) -> Result<(), Failure> {
    let spec = ImageSpec {
        size: args.size,
        seed: args.seed,
        output: args.file.map(std::path::absolute).transpose()?,
        force: args.force,
        ..ImageSpec::default()
    };
    let stop = Stop::default();
    let listening = tokio::spawn(stop_on_signals(stop.clone())?);
    let built = tokio::task::spawn_blocking(move || {
        let shown = Shown::new();
        let built = build(&spec, &shown, &stop);
        shown.end();
        built
    });
    let built = built.await?;
    listening.abort();
    report(&built?, json)
}

fn report(built: &Built, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(built)?);
    } else {
        let how = if built.cached {
            "was built before"
        } else {
            "is built"
        };
        let (path, size) = (built.path.display(), built.bytes);
        println!(
            "{path} {how}: {size}, DVD Store {} (seed {})",
            built.size, built.seed
        );
        println!("next: godwit template create NAME --image {path}");
    }
    Ok(())
}

fn stop_on_signals(stop: Stop) -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.stop();
    })
}

async fn import(args: ImportArgs, json: bool) -> Result<(), Failure> {
    let tool = ImageTool::find()?;
    let output = std::path::absolute(&args.target)?;
    let shown = Shown::new();
    shown.step(&format!("importing {}", args.file.display()));
    let importing = tool.import(&args.file, args.format, &output, |percent| {
        shown.line(&format!("{percent:.0} %"));
    });
    // Dropping it ends qemu-img and removes what is half made.
    let imported = tokio::select! {
        imported = importing => imported.map_err(Failure::from),
        interrupted = tokio::signal::ctrl_c() => Err(interrupted.err().map_or_else(|| "interrupted".into(), Failure::from)),
    };
    shown.end();
    imported?;
    let info = tool.info(&output, Some(DiskFormat::Qcow2)).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&info)?);
    } else {
        println!(
            "{} is imported: {} for the guest, {} on disk",
            output.display(),
            info.virtual_size,
            info.actual_size
        );
    }
    Ok(())
}

fn format(text: &str) -> Result<SourceFormat, String> {
    let all = [SourceFormat::Raw, SourceFormat::Qcow2, SourceFormat::Vmdk];
    let found = all.into_iter().find(|format| format.as_str() == text);
    found.ok_or_else(|| format!("`{text}` cannot be imported: give raw, qcow2 or vmdk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_qemus_names_and_others_are_named_in_the_error() {
        assert_eq!(format("vmdk"), Ok(SourceFormat::Vmdk));
        assert!(format("iso").unwrap_err().contains("iso"));
    }
}
