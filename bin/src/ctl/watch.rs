//! What changes on a terminal while one looks: the status, and a command that takes its time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lunmirror::api::client::{Client, ClientError};
use lunmirror::api::shown::{bytes, word};
use lunmirror::api::{GroupReport, NodeStatus, ResyncStatus, VerifyStatus};
use tokio::time::{MissedTickBehavior, interval};

use super::show;

/// The status, again and again. Ends only where it cannot begin.
pub async fn status(client: &Client, every: Duration, json: bool) -> Result<(), ClientError> {
    let mut node: NodeStatus = client.get("/v1/status").await?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut screen = Screen::new();
    ticks.tick().await;
    loop {
        match (&mut screen, json) {
            (_, true) => super::say_json_line(&node),
            (Some(screen), false) => screen.draw(&node),
            (None, false) => super::say(&show::status(&node, true)),
        }
        // It may be started anew while one looks.
        node = loop {
            ticks.tick().await;
            match client.get("/v1/status").await {
                Ok(node) => break node,
                Err(error) => match &mut screen {
                    Some(screen) if !json => screen.text.set_message(super::failure(&error).to_string()),
                    _ => return Err(error),
                },
            }
        };
    }
}

/// Tables, and a bar for each resync, drawn over themselves.
struct Screen {
    all: MultiProgress,
    text: ProgressBar,
    bars: BTreeMap<String, ProgressBar>,
}

impl Screen {
    /// `None` where nobody looks at a terminal.
    fn new() -> Option<Screen> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let text = all.add(ProgressBar::no_length().with_style(style("{msg}")));
        Some(Screen { all, text, bars: BTreeMap::new() })
    }

    fn draw(&mut self, node: &NodeStatus) {
        self.text.set_message(show::status(node, false));
        self.bars.retain(|name, bar| {
            let goes_on = node.groups.iter().any(|group| group.name == *name && group.status.resync.is_some());
            if !goes_on {
                bar.finish_and_clear();
            }
            goes_on
        });
        for group in &node.groups {
            let Some(resync) = &group.status.resync else { continue };
            let bar = self.bars.entry(group.name.clone()).or_insert_with(|| {
                let bar = ProgressBar::new(resync.total_bytes).with_style(style(BAR)).with_prefix(group.name.clone());
                self.all.add(bar)
            });
            advance(bar, resync);
        }
    }
}

/// A command that may take its time: what goes on meanwhile, where somebody looks. Gone when it is done.
pub struct Waiting {
    bar: ProgressBar,
    verb: String,
}

impl Waiting {
    pub fn new(verb: &str, name: &str) -> Waiting {
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed}"));
        bar.set_draw_target(ProgressDrawTarget::stderr());
        let verb = format!("{verb} {name}");
        bar.set_message(verb.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        Waiting { bar, verb }
    }

    /// Until it is dropped. `path` is the group's.
    pub async fn look(&self, client: &Client, path: &str) -> Infallible {
        let mut ticks = interval(Duration::from_millis(500));
        loop {
            ticks.tick().await;
            if let Ok(group) = client.get::<GroupReport>(path).await {
                self.show(&group);
            }
        }
    }

    fn show(&self, group: &GroupReport) {
        let status = &group.status;
        if let Some(resync) = &status.resync {
            self.bar.set_style(style(BAR));
            self.bar.set_prefix(self.verb.clone());
            self.bar.set_length(resync.total_bytes);
            advance(&self.bar, resync);
            return;
        }
        let left = match status.rpo.map_or(0, |rpo| rpo.bytes) {
            0 => String::new(),
            left => format!(", {} not yet with {}", bytes(left), group.peer),
        };
        let message = format!("{}: {:?}, link {}{left},", self.verb, status.role, word(status.link));
        self.bar.set_style(style("{spinner} {msg} {elapsed}"));
        self.bar.set_message(message);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A verify that somebody looks on at. Gone when it is dropped.
pub struct Walk(ProgressBar);

impl Walk {
    pub fn new(verb: &'static str) -> Walk {
        let bar = ProgressBar::new(0).with_style(style(BAR)).with_prefix(verb);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        Walk(bar)
    }

    pub fn show(&self, told: &VerifyStatus) {
        self.0.set_length(told.total_bytes);
        self.0.set_position(told.done_bytes);
        self.0.set_message(show::verify_left(told));
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn advance(bar: &ProgressBar, resync: &ResyncStatus) {
    // More may become dirty while it goes on.
    bar.set_length(resync.total_bytes);
    bar.set_position(resync.total_bytes.saturating_sub(resync.left_bytes));
    bar.set_message(show::resync_left(resync));
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("our templates are sound").progress_chars("=> ")
}

const BAR: &str = "{prefix} [{bar:30}] {percent} % {msg}";
