//! What `fixring run` does over a held data directory: it serves health and metrics, says what is to be done, and waits, without the
//! directory's lock, so that `fixring recover` can run beside it in the same pod.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Exit;
use super::logging::last_words;
use super::run::{IgnoredSignals, WATCH_INTERVAL, exit_of};
use crate::config::Config;
use crate::control::{ControlServer, Shared};
use crate::engine::StartError;
use crate::journal::why_held;

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Answers an exit where it ends otherwise than by the directory being freed.
pub(super) fn wait_until_freed(
    config: &Config,
    held: &StartError,
    stop: &AtomicBool,
    ignored: &IgnoredSignals,
) -> Option<Exit> {
    tracing::error!("{held}");
    let shared = Shared::new(0, 0);
    shared.hold(format!("held: {held}"));
    let control = config.control.listen.map(|address| ControlServer::start(address, shared)).transpose();
    let control = match control {
        Ok(control) => control,
        Err(error) => {
            let error = StartError::Control { place: config.place_of("control.listen"), error };
            last_words(&error.to_string());
            return Some(exit_of(&error));
        }
    };
    let address = control.as_ref().map_or_else(|| "off".into(), |control| control.address().to_string());
    tracing::info!(control = address, "held: waiting for `fixring recover`");
    let mut looked = Instant::now();
    loop {
        if stop.load(Ordering::Relaxed) {
            tracing::info!("stopped while held: nothing was changed");
            return Some(Exit::Ok);
        }
        ignored.say();
        if looked.elapsed() >= LOOK_INTERVAL {
            looked = Instant::now();
            match why_held(&config.engine.data_dir) {
                Ok(Some(_)) => {}
                // Where it cannot be read, the start says what is wrong with it.
                Ok(None) | Err(_) => break,
            }
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
    tracing::info!("no longer held: starting");
    None
}
