//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lunmirror::api::{self, Command, WhatIf};
use target_core::target::config::{Mode, OnLinkLoss};

use super::bench::BenchArguments;

/// Shows how a running lunmirror-target and its mirrors stand, and tells it what to do.
#[derive(Debug, Parser)]
#[command(name = "lunmirrorctl", version, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    pub place: Place,

    /// Print answers, and what goes wrong, as JSON
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub action: Action,
}

/// Where the target listens for us.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The target's admin socket [default: that of FILE, or /run/lunmirror/admin.sock]
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "config")]
    pub socket: Option<PathBuf>,

    /// The target's configuration file, which says where its admin socket is
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Everything at a glance: roles, copies, links, lag, resyncs
    ///
    /// LAG is what would be lost with the Primary, as this node knows it. A MODE in parentheses is what a Secondary would
    /// use if it were promoted: the Primary's counts.
    Status {
        /// Show it anew every so often, with progress bars of resyncs, until interrupted
        #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s", value_parser = interval)]
        watch: Option<Duration>,
    },

    /// The way to each peer: addresses, heartbeats, and the array of connections
    Peers,

    /// What is served: sizes, stores, LUNs, mirrors
    Volumes,

    /// Why a volume's mirror stands as it does, and what can be done
    Explain {
        #[command(flatten)]
        named: Named,
        /// What would happen instead; nothing does
        #[arg(long, value_name = "EVENT", value_enum)]
        what_if: Option<WhatIfWord>,
    },

    #[command(flatten)]
    Order(Order),

    /// Compare both copies, all of them, while hosts go on; to be run on the Primary
    ///
    /// Says where they differ, to 4 KiB. It goes on when this command is interrupted, and begins anew when the pair was apart.
    /// Exit status 1 where the copies differ (and are not made alike), or not all of them was compared.
    Verify {
        #[command(flatten)]
        named: Named,
        /// Copy what differs from here to the peer
        #[arg(long)]
        repair: bool,
        /// Read at most so much of each copy, such as 100MiB/s [default: as fast as a resync]
        #[arg(long, value_name = "RATE", value_parser = api::rate)]
        rate: Option<u64>,
        /// End the one that is under way
        #[arg(long, conflicts_with_all = ["repair", "rate"])]
        stop: bool,
    },

    /// End a split brain: choose whose copy is kept
    ///
    /// To be run on the node whose copy is NOT kept: it becomes Secondary, and what hosts wrote there since the two parted
    /// is overwritten. On the node that is kept it says what to run on the other.
    Resolve {
        #[command(flatten)]
        named: Named,
        /// Whose copy hosts go on with: this node's name, or the peer's
        #[arg(long, value_name = "NODE")]
        keep: String,
    },

    /// What the two nodes of a pair know each other by
    #[command(subcommand)]
    Secret(SecretAction),

    /// Blocks that were written here alone, and that a resync from the other node has written over
    ///
    /// They are kept on the node that lost them, in state_dir, as long as `undo` of the volume's mirror says.
    #[command(subcommand)]
    Undo(UndoAction),

    /// The copy as it was before a resync, while that is not done: clones of its files, where their file system can (reflink)
    #[command(subcommand)]
    Snapshot(SnapshotAction),

    /// What a node keeps of its mirrors on disk; needs no running target
    #[command(subcommand)]
    Metadata(MetadataAction),

    /// Measure a LUN as a host would use it: commands a second, latencies, CPU time
    ///
    /// Any iSCSI target is measured, over its portal; the admin interface is not needed. Exit status 1 where commands failed,
    /// or what was read is not what was written.
    Bench(Box<BenchArguments>),
}

/// What changes something.
#[derive(Debug, Subcommand)]
pub enum Order {
    /// Become Primary: hosts use the volume here from now on
    ///
    /// The other node must have been demoted, or be unreachable. Writes that this copy received without those that
    /// precede them are dropped and listed.
    Promote {
        #[command(flatten)]
        named: Named,
        /// Also with a copy that lacks acknowledged writes, which are lost then
        #[arg(long)]
        force: bool,
    },

    /// Become Secondary, once the peer has everything
    Demote {
        #[command(flatten)]
        named: Named,
        /// Also without the peer having everything; of two Primaries, give this one's writes up
        #[arg(long)]
        force: bool,
    },

    /// When a host's write is done; until the target starts again, which reads its file
    Mode {
        #[command(flatten)]
        named: Named,
        #[arg(value_enum)]
        mode: ModeWord,
    },

    /// What becomes of writes while the peer is away; until the target starts again, which reads its file
    OnLinkLoss {
        #[command(flatten)]
        named: Named,
        #[arg(value_enum)]
        policy: PolicyWord,
    },

    /// How long a write may wait for the peer; until the target starts again, which reads its file
    MaxStall {
        #[command(flatten)]
        named: Named,
        /// Such as 500ms or 5s
        #[arg(value_name = "TIME", value_parser = max_stall)]
        time: Duration,
    },

    /// How the resync that is under way goes on, or the next one; to be run on the Primary
    ///
    /// A copy that was brought to the peer by other means (a disk sent by post, a snapshot) need not be sent again: with
    /// --compare its blocks are compared by digest, and those that differ sent.
    Resync {
        #[command(flatten)]
        named: Named,
        /// Compare each piece first, and send what differs
        #[arg(long, required_unless_present = "copy", conflicts_with = "copy")]
        compare: bool,
        /// Send each piece
        #[arg(long)]
        copy: bool,
    },

    /// Send the peer nothing until resumed, as if the line were cut
    Pause(Named),

    /// Go on after a pause
    Resume(Named),

    /// The device that failed works again: copy every block from the peer
    Reattach(Named),
}

#[derive(Clone, Debug, Args)]
pub struct Named {
    /// A mirrored volume, which stands for all of its group, or a group
    #[arg(value_name = "VOLUME")]
    pub name: String,
}

#[derive(Debug, Subcommand)]
pub enum SecretAction {
    /// Write 32 random bytes, as 64 hexadecimal digits, to a new file of mode 0600
    New {
        /// For `secret_file` of the peer; the peer needs a copy of it
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum MetadataAction {
    /// Dump records, maps and journals as they lie in the state_dir: whose copy it is, where the copies may differ, and which
    /// writes wait to be sent in order
    ///
    /// They are read only, and without the lock: also beside a running target, whose map is of more than one moment then. A
    /// journal's segment that ends within a frame is torn: that is how a crash leaves it, and no fault.
    Show {
        /// A group; a volume that names none is a group of its own name [default: all]
        #[arg(value_name = "GROUP")]
        group: Option<String>,

        /// The target's state_dir [default: that of FILE]
        #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "socket"])]
        state_dir: Option<PathBuf>,

        /// Also list where hot regions and dirty blocks are
        #[arg(long)]
        regions: bool,

        /// Also list each frame of the journal: its place, its write, and whether its checksums are right
        #[arg(long)]
        writes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum UndoAction {
    /// What is kept: when it was discarded, why, of which generation, and where it lay
    List {
        #[command(flatten)]
        kept: Kept,
    },

    /// Where what is kept differs from the volume as it is now
    Diff {
        #[command(flatten)]
        kept: Kept,
        #[command(flatten)]
        store: StoreName,
        /// Compare with this file or device instead of the volume's own; needs no running target
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },

    /// Write the kept blocks into a new sparse file, each where it lay; FILE.json says which they are
    Export {
        #[command(flatten)]
        kept: Kept,
        #[command(flatten)]
        store: StoreName,
        /// Does not exist yet
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },

    /// Remove what is kept, for good; it frees its space
    Drop {
        #[command(flatten)]
        kept: Kept,
        #[command(flatten)]
        store: StoreName,
    },
}

#[derive(Debug, Subcommand)]
pub enum SnapshotAction {
    /// Which files, since when, of which generation
    List {
        #[command(flatten)]
        kept: Kept,
    },

    /// Put them back, where the resync will never be done: the other node is gone for good
    ///
    /// The target must not run. This node must be Secondary, and its copy Inconsistent. The copy is Outdated then, and of no
    /// generation that the other node knows: start the target and `promote --force`. Should the other node come back after
    /// all, the two refuse each other; the one whose copy is given up has its directory of state_dir/mirror removed, and gets
    /// every block.
    Restore {
        #[command(flatten)]
        kept: Kept,
    },

    /// Remove them, which frees their space
    Drop {
        #[command(flatten)]
        kept: Kept,
    },
}

/// Whose undo stores or clones, and where.
#[derive(Clone, Debug, Args)]
pub struct Kept {
    #[command(flatten)]
    pub named: Named,
    /// The target's state_dir, where it does not run [default: as the running target, or FILE, says]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "socket"])]
    pub state_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct StoreName {
    /// As undo list names it [default: the only one]
    #[arg(value_name = "NAME")]
    pub store: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeWord {
    /// Written here and on the peer
    Sync,
    /// Written here, received by the peer
    Memsync,
    /// Written here
    Async,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyWord {
    /// Record that the peer lacks writes, then go on alone
    Degrade,
    /// Never acknowledge what the peer lacks: hold, then answer BUSY
    Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhatIfWord {
    /// The line to the peer is cut
    Cut,
    /// This node is promoted, without force
    Promote,
    /// The two nodes meet again: who would be the source, and by which row of the table
    Rejoin,
}

impl From<WhatIfWord> for WhatIf {
    fn from(word: WhatIfWord) -> WhatIf {
        match word {
            WhatIfWord::Cut => WhatIf::Cut,
            WhatIfWord::Promote => WhatIf::Promote,
            WhatIfWord::Rejoin => WhatIf::Rejoin,
        }
    }
}

impl Order {
    pub fn verb(&self) -> &'static str {
        match self {
            Order::Promote { .. } => "promote",
            Order::Demote { .. } => "demote",
            Order::Mode { .. } => "mode",
            Order::OnLinkLoss { .. } => "on-link-loss",
            Order::MaxStall { .. } => "max-stall",
            Order::Resync { .. } => "resync",
            Order::Pause(_) => "pause",
            Order::Resume(_) => "resume",
            Order::Reattach(_) => "reattach",
        }
    }

    /// To which group, and what.
    pub fn command(&self) -> (&str, Command) {
        match self {
            Order::Promote { named, force } => (&named.name, Command::Promote { force: *force }),
            Order::Demote { named, force } => (&named.name, Command::Demote { force: *force }),
            Order::Mode { named, mode } => (&named.name, Command::Mode((*mode).into())),
            Order::OnLinkLoss { named, policy } => (&named.name, Command::OnLinkLoss((*policy).into())),
            Order::MaxStall { named, time } => (&named.name, Command::MaxStall(*time)),
            Order::Resync { named, compare, .. } => (&named.name, Command::Resync { compare: *compare }),
            Order::Pause(named) => (&named.name, Command::Pause),
            Order::Resume(named) => (&named.name, Command::Resume),
            Order::Reattach(named) => (&named.name, Command::Reattach),
        }
    }
}

impl From<ModeWord> for Mode {
    fn from(word: ModeWord) -> Mode {
        match word {
            ModeWord::Sync => Mode::Sync,
            ModeWord::Memsync => Mode::Memsync,
            ModeWord::Async => Mode::Async,
        }
    }
}

impl From<PolicyWord> for OnLinkLoss {
    fn from(word: PolicyWord) -> OnLinkLoss {
        match word {
            PolicyWord::Degrade => OnLinkLoss::Degrade,
            PolicyWord::Hold => OnLinkLoss::Hold,
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100)..=Duration::from_secs(3600))
}

/// The range of the configuration's `max_stall`.
fn max_stall(text: &str) -> Result<Duration, String> {
    within(text, api::MAX_STALL)
}

pub fn within(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}, as in 500ms or 5s"))?;
    api::within(time, range).map(|()| time)
}

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 refused or failed, 2 wrong command line or configuration file, 3 the target cannot be reached

After a disk or node is lost, on the other node:    lunmirrorctl promote VOLUME
To change places, first on the Primary, then on the other:    lunmirrorctl demote VOLUME, lunmirrorctl promote VOLUME
What a node wrote alone and lost when it followed the other again, on that node:    lunmirrorctl undo list VOLUME
In the midst of a resync, with the other node gone for good:    lunmirrorctl snapshot restore VOLUME -c FILE
Out of a split brain, on the node whose copy is not kept:    lunmirrorctl resolve VOLUME --keep OTHER-NODE";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["lunmirrorctl"].into_iter().chain(line.split(' ')))
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_ordered() {
        for (line, command) in [
            ("promote db", Command::Promote { force: false }),
            ("promote --force db", Command::Promote { force: true }),
            ("demote db --force", Command::Demote { force: true }),
            ("mode db memsync", Command::Mode(Mode::Memsync)),
            ("on-link-loss db hold", Command::OnLinkLoss(OnLinkLoss::Hold)),
            ("max-stall db 2s", Command::MaxStall(Duration::from_secs(2))),
            ("resync db --compare", Command::Resync { compare: true }),
            ("resync --copy db", Command::Resync { compare: false }),
            ("pause db", Command::Pause),
            ("resume db --json", Command::Resume),
            ("reattach db", Command::Reattach),
        ] {
            let arguments = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let Action::Order(order) = arguments.action else { panic!("{line} is an order") };
            assert_eq!(order.command(), ("db", command), "{line}");
            assert!(line.split(' ').any(|word| word == order.verb()), "{line}");
        }
    }

    #[test]
    fn the_socket_may_be_named_before_or_after() {
        for line in ["--socket /x status", "status --socket /x", "status --watch --socket /x"] {
            let arguments = parse(line).expect("it is sound");
            assert_eq!(arguments.place.socket, Some(PathBuf::from("/x")), "{line}");
        }
        let watch = |line| match parse(line).expect("it is sound").action {
            Action::Status { watch } => watch,
            other => panic!("{other:?}"),
        };
        assert_eq!(watch("status"), None);
        assert_eq!(watch("status --watch"), Some(Duration::from_secs(1)));
        assert_eq!(watch("status --watch 500ms"), Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_makes_no_sense() {
        for line in ["", "mode db synch", "mode db", "promote", "max-stall db 5", "max-stall db 1ms", "secret new"] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
        for line in ["resync db", "resync db --copy --compare", "verify db --stop --repair", "verify db --rate 5"] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
        let Ok(Arguments { action: Action::Verify { rate, .. }, .. }) = parse("verify db --rate 100MiB/s") else {
            panic!("it is sound");
        };
        assert_eq!(rate, Some(100 << 20));
        for line in ["explain db --what-if fire", "resolve db", "metadata show --state-dir x -c y.yaml"] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
        assert!(
            parse("metadata show db --regions --writes --state-dir x").is_ok() && parse("resolve db --keep a").is_ok()
        );
        assert!(parse("undo list db --state-dir x").is_ok() && parse("undo drop db 2026 -c y").is_ok());
        assert!(parse("snapshot list db").is_ok() && parse("snapshot restore db -c y").is_ok());
        assert!(parse("undo export db").is_err() && parse("undo diff").is_err());
        assert!(parse("--socket /x -c y.yaml status").is_err(), "one place only");
    }
}
