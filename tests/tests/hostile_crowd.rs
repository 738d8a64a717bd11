//! Ten thousand connections: the daemon's own bounds hold, not the kernel's, and whoever works goes on working.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use scenarios::bystander::{Bystander, config, options, settle};
use scenarios::daemon::{Daemon, wait_until};
use scenarios::initiator::Session;
use scenarios::limits::raise_open_files;
use scenarios::note;

const CROWD: usize = 10_000;
const CONNECTIONS_MAX: usize = 512;

#[test]
fn ten_thousand_connections_are_bounded_and_harm_nobody() {
    raise_open_files(CROWD as u64 + 2000);
    let limits = format!("max_connections: {CONNECTIONS_MAX}, max_pending_logins: 256, login_timeout: 5s");
    let mut daemon = Daemon::start(&config(&limits, ""));
    let bystander = Bystander::start(daemon.address());
    let (idle, memory, cpu) = (daemon.open_files(), daemon.rss(), daemon.cpu_time());
    let since = Instant::now();
    let mut crowd = Vec::with_capacity(CROWD);
    let mut open_max = 0;
    for n in 0..CROWD {
        let mut stream = TcpStream::connect(daemon.address()).expect("the kernel accepts");
        // Half of them are silent, half begin a header.
        if n % 2 == 0 {
            let _ = stream.write_all(&[0x43, 0x87, 0, 0]);
        }
        crowd.push(stream);
        if n % 100 == 0 {
            open_max = open_max.max(daemon.open_files());
        }
    }
    let took = since.elapsed();
    bystander.wait_rounds(20);
    open_max = open_max.max(daemon.open_files());
    let grown = daemon.rss_max().saturating_sub(memory);
    let cpu = daemon.cpu_time() - cpu;
    assert!(open_max <= idle + CONNECTIONS_MAX + 16, "{open_max} descriptors at once");
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes more at the most");

    // Those over the bound have been closed, not left hanging.
    let hanging = || {
        crowd.iter().filter(|stream| {
            let mut stream = *stream;
            stream.set_nonblocking(true).expect("a socket option");
            matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        })
    };
    wait_until("the crowd is dispersed", Duration::from_secs(20), || hanging().count() == 0);
    let mut session = Session::login(daemon.address(), options(1)).expect("an honest initiator logs in afterwards");
    settle(&mut session);
    drop(crowd);
    wait_until("their descriptors are gone", Duration::from_secs(10), || daemon.open_files() <= idle + 4);
    let report = bystander.finish();
    note!(
        "{CROWD} connections in {took:?}: {open_max} descriptors at most (idle {idle}), {grown} bytes more at most, \
         {cpu:?} of processor; the bystander: {report:?}"
    );
    assert!(report.slowest < Duration::from_secs(5), "{report:?}");
    daemon.assert_well();
}
