//! Tells public SSH keys from other lines.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// The options of a line of `authorized_keys`: sshd ignores a line with another one.
const OPTIONS: [&str; 23] = [
    "agent-forwarding",
    "cert-authority",
    "command",
    "environment",
    "expiry-time",
    "from",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "principals",
    "pty",
    "restrict",
    "touch-required",
    "tunnel",
    "user-rc",
    "verify-required",
    "x11-forwarding",
];

/// Whether a line is a public key as `authorized_keys` has it: options, type, data and a comment.
pub fn is_public_key(line: &str) -> bool {
    let fields = fields(line, &[' ', '\t']);
    let key_at = |at: usize| match (fields.get(at), fields.get(at.saturating_add(1))) {
        (Some(kind), Some(data)) => is_key(kind, data),
        _ => false,
    };
    let has_options = || fields.first().is_some_and(|options| are_options(options));
    key_at(0) || key_at(1) && has_options()
}

fn are_options(options: &str) -> bool {
    fields(options, &[',']).iter().all(|option| {
        let (name, _) = option.split_once('=').unwrap_or((option, ""));
        OPTIONS.contains(&name.to_lowercase().as_str())
    })
}

/// Whether the data of a key is whole: fields with their lengths, of which the first is its type.
fn is_key(kind: &str, data: &str) -> bool {
    let Ok(bytes) = BASE64.decode(data) else {
        return false;
    };
    let mut rest = bytes.as_slice();
    let mut number = 0_usize;
    while !rest.is_empty() {
        let Some((field, after)) = split_field(rest) else {
            return false;
        };
        if number == 0 && field != kind.as_bytes() {
            return false;
        }
        rest = after;
        number = number.saturating_add(1);
    }
    match kind {
        "ssh-ed25519" => number == 2,
        "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => {
            number == 3
        }
        _ => number > 1,
    }
}

/// A field after its length, and what follows it.
fn split_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}

/// The words between separators; one between quotation marks does not end a word.
fn fields<'t>(line: &'t str, separators: &[char]) -> Vec<&'t str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let words = line.split(|c: char| {
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        !is_quoted && separators.contains(&c)
    });
    words.filter(|word| !word.is_empty()).collect()
}
