//! Any datagrams: none is believed without the secret, and of those with it none twice, nor from before.

#![no_main]

use std::time::Instant;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mirror_link::config::PairSecret;
use mirror_link::ids::Instance;
use mirror_link::wire::datagram::{Datagram, Echo};
use mirror_link::wire::keys::PairKeys;
use mirror_link::wire::replay_guard::{ReplayGuard, Verdict};

fuzz_target!(|input: &[u8]| {
    let secret = PairSecret([7; 32].into());
    let (alpha, beta) = (PairKeys::derive(&secret, "alpha", "beta"), PairKeys::derive(&secret, "beta", "alpha"));
    let _ = Datagram::claimed_sender(input);
    assert!(Datagram::decode(input, &beta).is_err(), "believed without the secret");

    let (now, ours) = (Instant::now(), Instance(1));
    let mut guard = ReplayGuard::new(ours);
    let (mut sent, mut echoed, mut believed) = (0, 0, None);
    for &[instance, number, echo, damage, value] in input.as_chunks().0 {
        if echo & 0x80 != 0 {
            sent = guard.next_number();
        }
        let echo = (echo & 0x40 != 0).then(|| {
            let (instance, number) = (Instance(u64::from(echo >> 4 & 3)), u64::from(echo & 15));
            Echo { instance, number, held_us: 0 }
        });
        let (instance, number) = (Instance(u64::from(instance & 3)), u64::from(number));
        let datagram =
            Datagram { node: "alpha".into(), instance, session: None, number, echo, groups: Default::default() };
        let mut wire = BytesMut::new();
        datagram.encode(&alpha, &mut wire);
        let before = wire.clone();
        let at = usize::from(damage) % wire.len();
        wire[at] ^= value;
        let decoded = Datagram::decode(&wire, &beta);
        assert_eq!(decoded.is_ok(), wire == before, "changed and believed, or the other way round");
        let Ok(decoded) = decoded else { continue };
        assert_eq!(decoded, datagram);

        let proof = echo.filter(|echo| echo.instance == ours && echo.number <= sent).map(|echo| echo.number);
        let verdict = guard.receive(now, &decoded);
        match verdict {
            Verdict::Fresh => assert!(believed.is_some_and(|(i, n)| i == instance && n < number)),
            Verdict::NewInstance => {
                assert!(believed.is_none_or(|(i, _)| i != instance) && proof.is_some_and(|p| p > echoed));
            }
            Verdict::Replayed => assert!(believed.is_some_and(|(i, n)| i == instance && number <= n)),
            Verdict::Unproven(echo) => assert_eq!((echo.instance, echo.number), (instance, number)),
        }
        if matches!(verdict, Verdict::Fresh | Verdict::NewInstance) {
            believed = Some((instance, number));
            echoed = echoed.max(proof.unwrap_or(0));
        }
        assert_eq!(guard.echo(now).map(|echo| (echo.instance, echo.number)), believed);
    }
});
