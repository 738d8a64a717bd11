//! From a checked configuration to a running target, and what signals do to it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lunmirror::config::{self, Loaded};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use target_core::portal::{Daemon, StartError};
use target_core::target::config::Config;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::admin::{self, Admin, DoorError, Served, Target};
use crate::notify;

/// Why the target could not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the state directory {} cannot be used: {source}", path.display())]
    StateDirectory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Admin(#[from] DoorError),
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error("a second signal to end: what was in flight is cut off")]
    CutShort,
}

/// Serve until told to end. `prepare` comes first.
pub async fn serve(file: PathBuf, config: Config) -> Result<(), ServeError> {
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let volumes = config.volumes.len();
    let targets = config.targets.len();
    let daemon = Arc::new(Daemon::start(config.clone()).await?);
    let served: Arc<dyn Target> = Arc::new(Served::new(Arc::clone(&daemon)));
    let admin = match Admin::default().changed(&config.admin, &served) {
        Ok(admin) => admin,
        Err(error) => {
            daemon.shutdown(Duration::ZERO).await;
            return Err(error.into());
        }
    };
    let mut running = Running {
        reloader: Reloader { daemon, served, file },
        now: InForce { config: Arc::new(config), admin },
        reload: None,
        reload_again: false,
        told: String::new(),
    };
    let portals = running.portals();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %portals, targets, volumes, "serving");
    running.tell_ready();

    let mut alive = notify::alive_interval().map(ticker);
    let mut look = notify::is_listening().then(|| ticker(STATUS_INTERVAL));
    let name = loop {
        tokio::select! {
            told = signals.recv() => match told {
                Told::End(name) => break name,
                Told::Reload => running.start_reload(),
            },
            changed = running.reloaded() => running.finish_reload(changed),
            () = tick(&mut look) => running.tell_status(),
            () = tick(&mut alive) => notify::alive(),
        }
    };

    let grace = running.now.config.limits.shutdown_grace;
    tracing::info!(signal = name, grace = %humantime::format_duration(grace), "ending in good order");
    notify::stopping(grace);
    let shutdown = running.reloader.daemon.shutdown(grace);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            told = signals.recv() => match told {
                Told::End(_) => return Err(ServeError::CutShort),
                Told::Reload => (),
            },
            () = tick(&mut alive) => notify::alive(),
        }
    }
    tracing::info!("ended in good order");
    Ok(())
}

struct Running {
    reloader: Reloader,
    now: InForce,
    /// Gives what is in force afterwards, where it is another.
    reload: Option<JoinHandle<Option<InForce>>>,
    /// SIGHUP came while one was under way: the file may have changed since it was read.
    reload_again: bool,
    /// The status that the service manager knows.
    told: String,
}

/// What a reload changes, whole or not at all.
#[derive(Clone)]
struct InForce {
    config: Arc<Config>,
    admin: Admin,
}

impl Running {
    fn start_reload(&mut self) {
        if self.reload.is_some() {
            self.reload_again = true;
            return;
        }
        notify::reloading();
        self.reload = Some(tokio::spawn(self.reloader.clone().reload(self.now.clone())));
    }

    /// Pending for ever where none is under way.
    async fn reloaded(&mut self) -> Option<InForce> {
        match &mut self.reload {
            Some(task) => task.await.expect("a reload neither panics nor is cancelled"),
            None => std::future::pending().await,
        }
    }

    fn finish_reload(&mut self, changed: Option<InForce>) {
        self.reload = None;
        if let Some(changed) = changed {
            self.now = changed;
        }
        self.tell_ready();
        if std::mem::take(&mut self.reload_again) {
            self.start_reload();
        }
    }

    fn portals(&self) -> String {
        self.reloader.daemon.portals().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    fn tell_ready(&mut self) {
        self.told = self.status();
        notify::ready(&self.told);
    }

    /// Where it is another than it was.
    fn tell_status(&mut self) {
        let status = self.status();
        if status != self.told {
            self.told = status;
            notify::status(&self.told);
        }
    }

    /// `1 target, 2 volumes, 1 of them mirrored on 127.0.0.1:3260; db Primary, UpToDate, established`
    fn status(&self) -> String {
        let mut status = format!("{} on {}", config::summary(&self.now.config), self.portals());
        for group in self.reloader.served.groups() {
            status.push_str(&format!("; {}", admin::in_short(&group)));
        }
        status
    }
}

#[derive(Clone)]
struct Reloader {
    daemon: Arc<Daemon>,
    served: Arc<dyn Target>,
    file: PathBuf,
}

impl Reloader {
    /// The file as it is now, applied whole or refused whole; either way the target goes on.
    async fn reload(self, now: InForce) -> Option<InForce> {
        let file = self.file;
        tracing::info!(file = %file.display(), "reading the configuration again");
        let loaded =
            tokio::task::spawn_blocking(move || config::load(&file)).await.expect("reading a file does not panic");
        let Loaded { config, warnings } = match loaded {
            Ok(loaded) => loaded,
            Err(errors) => {
                for fault in &errors.faults {
                    let line = fault.line.unwrap_or_default();
                    tracing::error!(line, place = %fault.place, remedy = fault.remedy, "{}", fault.message);
                }
                tracing::error!(
                    faults = errors.faults.len(),
                    "the changed configuration is refused; the old one stays"
                );
                return None;
            }
        };
        log_warnings(&warnings);
        if config.state_dir != now.config.state_dir {
            tracing::error!(
                place = "state_dir",
                remedy = "end the target, move the directory, start it again",
                "cannot change while the target runs; the old configuration stays"
            );
            return None;
        }
        // The new doors of the admin interface first: they are undone by dropping them.
        let admin = match now.admin.changed(&config.admin, &self.served) {
            Ok(admin) => admin,
            Err(refused) => {
                tracing::error!(%refused, "the changed configuration is refused; the old one stays");
                return None;
            }
        };
        match self.daemon.apply(config.clone()).await {
            Ok(applied) => {
                tracing::info!(%applied, "the changed configuration is in force");
                Some(InForce { config: Arc::new(config), admin })
            }
            Err(refused) => {
                tracing::error!(%refused, "the changed configuration is refused; the old one stays");
                None
            }
        }
    }
}

pub fn log_warnings(warnings: &[config::Fault]) {
    for warning in warnings {
        let line = warning.line.unwrap_or_default();
        tracing::warn!(line, place = %warning.place, remedy = warning.remedy, "{}", warning.message);
    }
}

/// What must be so before the first volume is opened. Blocks.
pub fn prepare(config: &Config) -> Result<(), ServeError> {
    make_state_directory(&config.state_dir)
        .map_err(|source| ServeError::StateDirectory { path: config.state_dir.clone(), source })?;
    let wanted = config.limits.max_connections + DESCRIPTORS_PER_VOLUME * config.volumes.len() + DESCRIPTORS_OF_OURS;
    let allowed = raise_open_files();
    if allowed.is_some_and(|allowed| allowed < wanted as u64) {
        tracing::warn!(
            ?allowed,
            wanted,
            "the process may not open as many files as limits.max_connections and the volumes need; raise LimitNOFILE"
        );
    }
    Ok(())
}

/// Reservation keys and serial numbers are nobody else's business.
fn make_state_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// To as many as the hard limit allows. `None`: no limit.
fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current == limit.maximum {
        return limit.maximum;
    }
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the number of files the process may open cannot be raised");
            limit.current
        }
    }
}

/// What a signal means.
enum Told {
    End(&'static str),
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn recv(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End("SIGTERM"),
            _ = self.interrupt.recv() => Told::End("SIGINT"),
            _ = self.reload.recv() => Told::Reload,
        }
    }
}

fn ticker(period: Duration) -> Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

async fn tick(ticker: &mut Option<Interval>) {
    match ticker {
        Some(ticker) => {
            ticker.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// How often the service manager's status is looked at.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// The store itself, and one more while it is opened again.
const DESCRIPTORS_PER_VOLUME: usize = 2;

/// Standard streams, listeners, the runtime's own, records being written.
const DESCRIPTORS_OF_OURS: usize = 64;
