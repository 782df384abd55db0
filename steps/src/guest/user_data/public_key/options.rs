//! The options before a public key in `authorized_keys`, as sshd reads them: it ignores a line whose options it does
//! not take (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").

/// Options without a value.
const FLAGS: [&str; 15] = [
    "agent-forwarding",
    "cert-authority",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "port-forwarding",
    "pty",
    "restrict",
    "touch-required",
    "user-rc",
    "verify-required",
    "x11-forwarding",
];
/// Options that a line has once.
const ONCE: [&str; 4] = ["command", "from", "principals", "tunnel"];
const AUTHORITY: &str = "cert-authority";

/// Whether sshd takes a line with these options.
pub(super) fn are_taken(options: &[&str]) -> bool {
    let name_of = |option: &str| {
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        name.to_lowercase()
    };
    let names: Vec<_> = options.iter().map(|option| name_of(option)).collect();
    let has = |name: &str| names.iter().any(|option| option == name);
    let is_repeated = |name: &&str| {
        names
            .iter()
            .filter(|option| option.as_str() == *name)
            .nth(1)
            .is_some()
    };
    let is_for_authority = !has("principals") || has(AUTHORITY);
    is_for_authority
        && !ONCE.iter().any(is_repeated)
        && options.iter().all(|option| is_taken(option))
}

fn is_taken(option: &str) -> bool {
    let Some((name, value)) = option.split_once('=') else {
        return FLAGS.contains(&option.to_lowercase().as_str());
    };
    let Some(value) = unquoted(value) else {
        return false;
    };
    match name.to_lowercase().as_str() {
        "command" => true,
        "principals" => !value.is_empty(),
        "environment" => is_assignment(value),
        "expiry-time" => is_time(value),
        "from" => value.split(',').all(is_pattern),
        "permitlisten" => is_destination(value) || is_port(value),
        "permitopen" => is_destination(value),
        "tunnel" => value == "any" || value.parse::<u32>().is_ok(),
        _ => false,
    }
}

/// What is between the quotation marks.
fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

fn is_assignment(value: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    value
        .split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_plain))
}

/// A date, with hours, minutes and seconds or without, in UTC or in the time of the guest.
fn is_time(value: &str) -> bool {
    let digits = value.strip_suffix('Z').unwrap_or(value);
    [8, 12, 14].contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name, an address or a pattern of them, of which networks have a valid length of their prefix.
fn is_pattern(value: &str) -> bool {
    let Some((address, length)) = value.trim_start_matches('!').split_once('/') else {
        return !value.is_empty();
    };
    let most = match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}

fn is_destination(value: &str) -> bool {
    value
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && (port == "*" || is_port(port)))
}

fn is_port(value: &str) -> bool {
    value.parse::<u16>().is_ok_and(|port| port > 0)
}
