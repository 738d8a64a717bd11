//! `iscsi://HOST[:PORT]/TARGET-NAME/LUN`.

use std::str::FromStr;

use iscsi_proto::types::Lun;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As it was given.
    pub text: String,
    pub host: String,
    pub port: u16,
    pub target: String,
    pub lun: Lun,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let rest = text.strip_prefix("iscsi://").ok_or(MEANT)?;
        let [place, target, lun] = rest.split('/').collect::<Vec<_>>()[..] else { return Err(MEANT.to_owned()) };
        if place.is_empty() || target.is_empty() {
            return Err(MEANT.to_owned());
        }
        let (host, port) = match (place.strip_prefix('['), place.rsplit_once(':')) {
            (Some(rest), _) => {
                let (host, port) = rest.split_once(']').ok_or("an IPv6 address ends with ]")?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(MEANT)?) })
            }
            (None, Some((host, _))) if host.contains(':') => {
                return Err("write an IPv6 address as in [::1]:3260".into());
            }
            (None, Some((host, port))) => (host, Some(port)),
            (None, None) => (place, None),
        };
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| "the port is a number up to 65535")?;
        let number: u16 = lun.parse().map_err(|_| "the LUN is a number up to 16383")?;
        let lun = Lun::from_u16(number).ok_or("the LUN is a number up to 16383")?;
        Ok(Url { text: text.to_owned(), host: host.to_owned(), port, target: target.to_owned(), lun })
    }
}

const MEANT: &str = "write iscsi://HOST:PORT/TARGET-NAME/LUN";

/// "The well-known TCP port number for iSCSI connections" (RFC 7143 §15).
const DEFAULT_PORT: u16 = 3260;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says() {
        for (text, host, port, lun) in [
            ("iscsi://127.0.0.1:3261/iqn.2026-11.net.example:a/0", "127.0.0.1", 3261, 0),
            ("iscsi://store.example/iqn.2026-11.net.example:a/300", "store.example", 3260, 300),
            ("iscsi://[::1]:4000/iqn.2026-11.net.example:a/1", "::1", 4000, 1),
            ("iscsi://[fe80::2]/iqn.2026-11.net.example:a/1", "fe80::2", 3260, 1),
        ] {
            let url: Url = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.host.as_str(), url.port, url.lun), (host, port, Lun::from_u16(lun).expect("small")));
            assert_eq!((url.target.as_str(), url.text.as_str()), ("iqn.2026-11.net.example:a", text));
        }
    }

    #[test]
    fn what_makes_no_sense() {
        for text in [
            "127.0.0.1/iqn.a/0",
            "iscsi://127.0.0.1",
            "iscsi://127.0.0.1/iqn.a",
            "iscsi:///iqn.a/0",
            "iscsi://h//0",
            "iscsi://h/iqn.a/x",
            "iscsi://h/iqn.a/16384",
            "iscsi://h:70000/iqn.a/0",
            "iscsi://::1/iqn.a/0",
            "iscsi://[::1/iqn.a/0",
            "iscsi://[::1]3260/iqn.a/0",
            "iscsi://h/iqn.a/0/1",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
