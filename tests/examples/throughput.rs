//! What one async volume gives its peer in a second, by the number of connections: a host keeps the queue filled, and what
//! the peer has acknowledged is counted. Over the line of the environment, or loopback: `tests/mirror/wan.py throughput`.

use std::time::{Duration, Instant};

use iscsi_proto::pdu::ScsiStatus;
use scenarios::bystander::write10;
use scenarios::note;
use scenarios::pair::{Pair, Setup, Volume};

const BLOCK: usize = 512;
/// Of one write, and how many of them the volume takes.
const WRITE_BLOCKS: u16 = 1024;
const PLACES: u32 = 256;
/// What waits for the peer is kept above this, a multiple of what any line here holds, and below the queue's memory.
const QUEUED_BYTES: u64 = 48 << 20;
/// Until connections have found their pace.
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(10);

fn main() {
    for connections in [1, 4, 16] {
        let volume = Volume { size: "128MiB", ..Volume::new("db", "alpha", "mode: async, queue: { memory: 128MiB }") };
        // Nobody is to be taken for dead while a lossy line makes up for what it lost.
        let setup =
            Setup { volumes: vec![volume], connections, timeout: "5s", idle_timeout: "20s", ..Setup::default() };
        let bytes_per_second = measure(&Pair::established(&setup));
        note!("{connections:>4} connections: {:6.1} MB/s", bytes_per_second / 1e6);
    }
}

fn measure(pair: &Pair) -> f64 {
    let mut session = pair.alpha.log_in().expect("logged in");
    let data = vec![0xa5; usize::from(WRITE_BLOCKS) * BLOCK];
    let (begun, mut written, mut warm) = (Instant::now(), 0_u64, None);
    loop {
        let group = pair.alpha.group("db");
        assert_eq!(group["link"], "established", "{group}");
        let pending = group["rpo"]["bytes"].as_u64().expect("a number of bytes");
        let (at, acknowledged) = (Instant::now(), written.saturating_sub(pending));
        match warm {
            None if begun.elapsed() >= WARM_UP => warm = Some((at, acknowledged)),
            Some((since, before)) if at.duration_since(since) >= MEASURED => {
                return (acknowledged - before) as f64 / at.duration_since(since).as_secs_f64();
            }
            _ => {}
        }
        for _ in 0..QUEUED_BYTES.saturating_sub(pending) / data.len() as u64 {
            let place = (written / data.len() as u64) as u32 % PLACES;
            let write = write10(place * u32::from(WRITE_BLOCKS), WRITE_BLOCKS);
            let outcome = session.command(0, &write, data.clone(), 0).expect("it answers");
            assert_eq!(outcome.status, ScsiStatus::GOOD, "{outcome:?}");
            written += data.len() as u64;
        }
    }
}
