//! How fast and at what cost relays move data on this machine, over the loopback: `cargo run --release -p
//! godwit-stream --example throughput [GiB]`. Both relays are processes as in a real migration.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{process::ExitCode, time::Instant};

use common::{Rig, connected, random};
use godwit_stream::{DestinationRelay, Event, Events, SourceRelay, process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["relay", "send"] => return process::send(),
        ["relay", "receive"] => return process::receive(),
        _ => {}
    }
    let gib = args.first().map_or(4, |arg| arg.parse().unwrap());
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(measure(gib));
    ExitCode::SUCCESS
}

async fn until(events: &mut Events, wanted: fn(&Event) -> bool) {
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Event::Failed { .. }), "{event:?}");
        if wanted(&event) {
            return;
        }
    }
}

async fn measure(gib: usize) {
    let rig = Rig::new();
    let exe = std::env::current_exe().unwrap();
    let config = rig.destination_config();
    let qemu = UnixListener::bind(&config.socket).unwrap();
    let (destination, mut there) = DestinationRelay::spawn(&exe, &config).await.unwrap();
    let (mut arriving, _) = qemu.accept().await.unwrap();
    let config = rig.source_config(destination.address());
    let (source, mut here) = SourceRelay::spawn(&exe, &config).await.unwrap();
    until(&mut here, connected).await;

    let begin = Instant::now();
    let mut leaving = rig.source_qemu().await;
    tokio::spawn(async move {
        let data = random(1 << 20);
        for _ in 0..gib << 10 {
            leaving.write_all(&data).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let mut ignored = vec![0; 1 << 20];
        while arriving.read(&mut ignored).await.unwrap() > 0 {}
    });
    until(&mut here, |event| *event == Event::Drained).await;
    source.release();
    until(&mut there, |event| matches!(event, Event::Verified { .. })).await;
    let seconds = begin.elapsed().as_secs_f64();
    until(&mut here, |event| matches!(event, Event::Verified { .. })).await;

    let gb = (gib << 30) as f64 / 1e9;
    println!("{gb:.1} GB in {seconds:.2} s: {:.2} GB/s", gb / seconds);
    for (name, totals) in [
        ("source", source.totals()),
        ("destination", destination.totals()),
    ] {
        println!(
            "{name}: {:.2} CPU seconds per GB",
            totals.cpu.as_secs_f64() / gb
        );
    }
}
