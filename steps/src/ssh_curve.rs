//! The curves of ECDSA keys in SSH, for keys of guests and of hosts alike.

/// Whether these bytes are a point of the curve with this name, by which SSH means `nistp256` and its like.
pub fn is_on_curve(curve: &str, point: &[u8]) -> bool {
    // OpenSSH reads points that are not compressed only.
    const UNCOMPRESSED: u8 = 4;
    point.first() == Some(&UNCOMPRESSED)
        && match curve {
            "nistp256" => p256::PublicKey::from_sec1_bytes(point).is_ok(),
            "nistp384" => p384::PublicKey::from_sec1_bytes(point).is_ok(),
            "nistp521" => p521::PublicKey::from_sec1_bytes(point).is_ok(),
            _ => false,
        }
}
