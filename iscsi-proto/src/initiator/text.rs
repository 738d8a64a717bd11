//! key=value text, as much of it as an initiator needs that may also misbehave: nothing is checked on the way out.

use bytes::{BufMut, Bytes, BytesMut};

/// "Every key=value pair, including the last or only pair in a LTDS, MUST be followed by one null (0x00) delimiter." (RFC 7143
/// §6.1)
pub fn encode_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Bytes {
    let mut text = BytesMut::new();
    for (key, value) in pairs {
        text.put_slice(key.as_bytes());
        text.put_u8(b'=');
        text.put_slice(value.as_bytes());
        text.put_u8(0);
    }
    text.freeze()
}

/// In the order received; what has no `=` is a key without a value.
pub fn decode_pairs(text: &[u8]) -> Vec<(String, String)> {
    text.split(|&byte| byte == 0)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let pair = String::from_utf8_lossy(pair);
            let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = encode_pairs([("SendTargets", "All"), ("X-com.example.a", "b=c")]);
        assert_eq!(&text[..], b"SendTargets=All\0X-com.example.a=b=c\0");
        let pairs = decode_pairs(&text);
        assert_eq!(pairs[1], ("X-com.example.a".to_owned(), "b=c".to_owned()));
    }
}
