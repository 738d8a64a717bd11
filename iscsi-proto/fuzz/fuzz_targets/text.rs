//! Any text: what parses comes back from its encoding; negotiations in either phase answer or refuse.

#![no_main]

use iscsi_proto::text::{KeySet, Negotiation, Offers, SessionType, full_feature, pair, value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, text)) = input.split_first() else { return };
    let Ok(pairs) = pair::parse(text) else { return };
    assert_eq!(pair::parse(&pair::encode(&pairs)).as_ref(), Ok(&pairs));
    for pair in &pairs {
        if let Ok(bytes) = value::binary(&pair.value, 1024) {
            assert!(bytes.len() <= 1024);
            assert_eq!(value::binary(&value::encode_binary(&bytes), 1024), Ok(bytes));
        }
    }
    let session_type = if kind & 1 == 0 { SessionType::Normal } else { SessionType::Discovery };
    let mut negotiation = Negotiation::new(Offers::default(), session_type, kind & 2 == 0);
    if let Ok(answers) = negotiation.answer(&pairs) {
        assert!(answers.len() <= pairs.len() + 1);
        let agreed = negotiation.finish().expect("no digest is required");
        assert!(agreed.first_burst_length <= agreed.max_burst_length);
    }
    let _ = full_feature(&pairs, session_type, &mut KeySet::default());
});
