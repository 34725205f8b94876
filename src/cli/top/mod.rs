//! `gristmill top`: the pool and the jobs, live on a terminal, once elsewhere.

mod frame;
mod sample;
mod screen;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Client, ServerArgument};
use super::failure::may_pass;
use super::streams::{is_terminal, print};
use crate::units;
use frame::Frame;
use sample::Sample;
use screen::Screen;

/// How long CPU time is measured for what is shown once.
const ONCE: Duration = Duration::from_millis(300);
const SHORTEST: Duration = Duration::from_millis(100);

/// The arguments of `top`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How often it is drawn again, 100ms at the least
    #[arg(short, long, value_name = "DURATION", default_value = "500ms", value_parser = units::duration)]
    interval: Duration,
    #[command(flatten)]
    server: ServerArgument,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| {
        let first = Frame::new(arguments.server.address(), Sample::take(&client).await?);
        if is_terminal() {
            live(&client, first, arguments.interval.max(SHORTEST)).await?;
        } else {
            once(&client, first).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn once(client: &Client, mut frame: Frame) -> Result<()> {
    sleep(ONCE).await;
    frame.update(Sample::take(client).await?);
    print(frame.lines(None, false).join("\n") + "\n")
}

async fn live(client: &Client, frame: Frame, interval: Duration) -> Result<()> {
    let (_screen, mut keys) = Screen::enter()?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = redraw(client, frame, interval) => outcome,
        _ = keys.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Draws for ever, also while the server is away.
async fn redraw(client: &Client, mut frame: Frame, interval: Duration) -> Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    loop {
        let next = Instant::now() + interval;
        Screen::draw(&frame)?;
        while tokio::select! { () = sleep_until(next) => false, _ = resized.recv() => true } {
            Screen::draw(&frame)?;
        }
        match Sample::take(client).await {
            Ok(sample) => frame.update(sample),
            Err(error) if may_pass(&error) => frame.is_old(&error),
            Err(error) => return Err(error),
        }
    }
}
