//! A mirrored volume on two nodes, by the commands of its hosts.

mod pair;

use mirror_link::replica::io::Command;
use pair::cdb::{cdb10, cdb16, copy, data, short16, unmap};
use pair::{Answer, BLOCK, GOOD, Line, Node};
use target_core::target::config::{Mode, OnLinkLoss, Role, Store, VolumeConfig};

const SERIAL: [u8; 6] = [0x12, 1, 0x80, 0, 255, 0];
const DESIGNATORS: [u8; 6] = [0x12, 1, 0x83, 0, 255, 0];
const STANDBY: Answer = Answer::Check(2, 0x04, 0x0B);

#[tokio::test]
async fn both_nodes_show_one_disk_before_they_have_met() {
    let (alpha, beta) = (Node::start("alpha").await, Node::start("beta").await);
    let (at_alpha, at_beta) = (alpha.session("host"), beta.session("host"));
    assert_eq!(at_beta.ready().await, STANDBY);
    at_alpha.ready().await;
    for page in [SERIAL, DESIGNATORS] {
        let told = at_alpha.send(&page, &[]).await;
        assert!(matches!(&told, Answer::Good(data) if data.len() > 12));
        if page == SERIAL {
            assert_eq!(at_beta.send(&page, &[]).await, told);
        }
    }
    let report = |session| async move {
        let session: &pair::Session = session;
        match session.send(&[0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0], &[]).await {
            Answer::Good(report) => (report[4] & 0x0F, report[7]),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(report(&at_beta).await, (2, 2), "standby, in a target port group of its own");
    assert_eq!(report(&at_alpha).await.1, 1);
}

#[tokio::test]
async fn every_command_has_the_same_effect_on_both() {
    let alpha = Node::start("alpha").await;
    // A store that can't give space back, beside one that can.
    let beta = Node::start_with("beta", |config| {
        config.volumes.values_mut().for_each(|volume| volume.thin = Some(false));
    })
    .await;
    let line = Line::join(&alpha, &beta);
    line.settled().await;
    let host = alpha.session("host");
    assert_eq!(host.ready().await, GOOD);
    let naa: Vec<Vec<u8>> = alpha.catalog.volumes().map(|volume| volume.unit.naa()).collect();
    let copy_list = copy(1, &naa[0], &naa[1]);
    let pattern = vec![0, 0x88, 0, 0, 0, 1, 0, 2, 0xC3, 0x3C];
    let overwrite = [&[1, 0, 2, 0][..], &data(1, 0x77)].concat();
    let both = [data(4, 1), data(4, 0x55)].concat();
    let steps: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("WRITE(6)", vec![0x0A, 0, 0, 0, 4, 0], data(4, 1)),
        ("WRITE(10)", cdb10(0x2A, 0, 8, 16).into(), data(16, 2)),
        ("WRITE(10) with FUA", cdb10(0x2A, 8, 24, 16).into(), data(16, 3)),
        ("WRITE(16)", cdb16(0x8A, 0, 40, 600).into(), data(600, 4)),
        ("WRITE AND VERIFY", cdb10(0x2E, 2, 700, 8).into(), data(8, 5)),
        ("WRITE SAME", cdb10(0x41, 0, 800, 3000).into(), data(1, 6)),
        ("WRITE SAME of zeroes", cdb10(0x41, 0, 810, 100).into(), vec![0; BLOCK]),
        ("WRITE SAME(16) with UNMAP and NDOB", cdb16(0x93, 9, 1000, 64).into(), vec![]),
        ("UNMAP", vec![0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], unmap(1200, 300)),
        ("COMPARE AND WRITE", short16(0x89, 0, 4).into(), both),
        ("ORWRITE", cdb16(0x8B, 0, 8, 8).into(), data(8, 0xF0)),
        ("WRITE ATOMIC", short16(0x9C, 64, 8).into(), data(8, 7)),
        ("EXTENDED COPY", vec![0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, copy_list.len() as u8, 0, 0], copy_list),
        ("SYNCHRONIZE CACHE", cdb10(0x35, 0, 0, 0).into(), vec![]),
        ("FORMAT UNIT", vec![0x04, 0x10, 0, 0, 0, 0], pattern),
        ("WRITE before SANITIZE", cdb10(0x2A, 0, 0, 16).into(), data(16, 8)),
        ("SANITIZE, OVERWRITE", vec![0x48, 1, 0, 0, 0, 0, 0, 2, 4, 0], overwrite),
        ("SANITIZE, BLOCK ERASE", vec![0x48, 2, 0, 0, 0, 0, 0, 0, 0, 0], vec![]),
    ];
    for (name, cdb, list) in steps {
        let before = [alpha.contents("a").await, alpha.contents("b").await];
        assert_eq!(host.send(&cdb, &list).await, GOOD, "{name}");
        pair::alike(&alpha, &beta, &line, name).await;
        let after = [alpha.contents("a").await, alpha.contents("b").await];
        assert_eq!(before != after, name != "SYNCHRONIZE CACHE", "{name} has an effect");
    }
    alpha.spoil("a").await;
    assert!(alpha.contents("a").await != beta.contents("a").await, "the comparison can tell");
}

#[tokio::test]
async fn a_promoted_node_serves_what_was_written_under_the_same_reservation() {
    let (alpha, beta) = (Node::start("alpha").await, Node::start("beta").await);
    let line = Line::join(&alpha, &beta);
    line.settled().await;
    let host = alpha.session("host");
    assert_eq!(host.ready().await, GOOD);
    let register = [[0; 8], 7u64.to_be_bytes(), [0; 8]].concat();
    assert_eq!(host.send(&[0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0], &register).await, GOOD);
    let reserve = [7u64.to_be_bytes(), [0; 8], [0; 8]].concat();
    assert_eq!(host.send(&[0x5F, 1, 3, 0, 0, 0, 0, 0, 24, 0], &reserve).await, GOOD);
    assert_eq!(host.send(&cdb10(0x2A, 0, 0, 8), &data(8, 9)).await, GOOD);
    line.settled().await;

    alpha.group().command(Command::Demote { force: false }).await.expect("everything is with the peer");
    assert_eq!(host.send(&[0; 6], &[]).await, Answer::Check(6, 0x2A, 6));
    assert_eq!(host.send(&cdb10(0x2A, 0, 0, 8), &data(8, 1)).await, STANDBY);
    let at_beta = beta.session("host");
    beta.hears_of(Role::Secondary).await;
    beta.group().command(Command::Promote { force: false }).await.expect("it is up to date");
    assert_eq!(at_beta.ready().await, GOOD);
    assert_eq!(at_beta.send(&cdb10(0x28, 0, 0, 8), &[]).await, Answer::Good(data(8, 9).into()));
    assert_eq!(at_beta.send(&cdb10(0x2A, 0, 0, 8), &data(8, 10)).await, GOOD);
    let other = beta.session("other");
    assert_eq!(other.ready().await, GOOD);
    assert_eq!(
        other.send(&cdb10(0x2A, 0, 0, 8), &data(8, 11)).await,
        Answer::Other(target_core::scsi::status::Status::ReservationConflict)
    );
    pair::alike(&alpha, &beta, &line, "a promotion").await;
}

#[tokio::test]
async fn without_its_peer_a_held_write_is_busy() {
    let alpha = Node::start_with("alpha", |config| {
        for volume in config.volumes.values_mut() {
            let policy = &mut volume.mirror.as_mut().expect("it is mirrored").policy;
            (policy.on_link_loss, policy.max_stall) = (OnLinkLoss::Hold, std::time::Duration::from_millis(100));
        }
    })
    .await;
    let beta = Node::start("beta").await;
    let line = Line::join(&alpha, &beta);
    line.settled().await;
    let host = alpha.session("host");
    assert_eq!(host.ready().await, GOOD);
    line.cut();
    let busy = Answer::Other(target_core::scsi::status::Status::Busy);
    assert_eq!(host.send(&cdb10(0x2A, 0, 0, 8), &data(8, 9)).await, busy);
    let register = [[0; 8], 7u64.to_be_bytes(), [0; 8]].concat();
    assert_eq!(host.send(&[0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0], &register).await, busy);
}

#[tokio::test]
async fn a_reload_changes_the_rules_and_nothing_else() {
    let alpha = Node::start("alpha").await;
    let mut changed = alpha.config();
    for volume in changed.volumes.values_mut() {
        let policy = &mut volume.mirror.as_mut().expect("it is mirrored").policy;
        (policy.mode, policy.on_link_loss) = (Mode::Async, OnLinkLoss::Hold);
        policy.max_stall = std::time::Duration::from_secs(1);
    }
    let (catalog, changes) = alpha.catalog.reopen(changed).await.expect("that changes live");
    assert_eq!(changes.to_string(), "mirroring changed: g");
    let status = alpha.group().status();
    assert_eq!((status.mode, status.on_link_loss), (Mode::Async, OnLinkLoss::Hold));
    let (_, changes) = catalog.reopen(catalog.config.clone()).await.expect("nothing is new");
    assert_eq!(changes.to_string(), "nothing changed");
}

#[tokio::test]
async fn a_refused_reload_has_changed_no_rule() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let store = Store::File { path: file.path().to_owned(), direct_io: false };
    let plain = VolumeConfig::new(store, Some(1 << 20));
    let alpha = Node::start_with("alpha", |config| drop(config.volumes.insert("plain".into(), plain))).await;
    let mut changed = alpha.config();
    for volume in changed.volumes.values_mut() {
        match &mut volume.mirror {
            Some(mirror) => mirror.policy.mode = Mode::Async,
            None => volume.size = Some(i64::MAX as u64 & !511),
        }
    }
    let before = alpha.group().status().mode;
    let refused = alpha.catalog.reopen(changed).await.expect_err("no file system has it").to_string();
    assert!(refused.starts_with("volumes.plain: ") && refused.contains("the largest has "), "{refused}");
    assert_eq!(alpha.group().status().mode, before);
}

#[tokio::test]
async fn a_reload_refuses_what_it_cannot_change_and_says_why() {
    let alpha = Node::start("alpha").await;
    let refused = |change: fn(&mut target_core::target::config::Config)| {
        let mut config = alpha.config();
        change(&mut config);
        let catalog = &alpha.catalog;
        async move { catalog.reopen(config).await.expect_err("that can't change live").to_string() }
    };
    let told = refused(|config| drop(config.volumes.remove("b"))).await;
    assert!(told.starts_with("volumes.b: a mirrored volume is removed"), "{told}");
    let told = refused(|config| {
        let volume = config.volumes["a"].clone();
        config.volumes.insert("c".into(), volume);
    })
    .await;
    assert!(told.starts_with("volumes.c.mirror: a mirrored volume is added"), "{told}");
    let told = refused(|config| config.volumes.get_mut("a").expect("it is there").mirror = None).await;
    assert!(told.starts_with("volumes.a.mirror: a mirrored volume is removed"), "{told}");
    let told = refused(|config| config.volumes.get_mut("a").expect("it is there").size = Some(8 << 20)).await;
    assert!(told.starts_with("volumes.a: a mirrored volume does not grow"), "{told}");
    let told = refused(|config| config.peers.values_mut().for_each(|peer| peer.connections = 1)).await;
    assert!(told.starts_with("peers: can't change"), "{told}");
    let told = refused(|config| {
        for volume in config.volumes.values_mut() {
            volume.mirror.as_mut().expect("it is mirrored").queue.memory = 1 << 20;
        }
    })
    .await;
    assert!(told.starts_with("volumes.a.mirror.queue: of `mirror` only mode"), "{told}");
    assert!(alpha.state_dir().join("units").is_dir());
}
