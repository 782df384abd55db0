//! Tests of contracts, on their own and against the `openssl` command.

mod compose;
mod form;
mod openssl;
mod plain;

use super::*;

fn codes(contract: &str) -> Vec<(Severity, &'static str, Option<u64>)> {
    let report = inspect(contract.as_bytes(), &CheckInputs::default());
    let found = report.findings.iter();
    found.map(|f| (f.severity, f.code, f.line)).collect()
}

fn code(contract: &str) -> Option<String> {
    check(contract.as_bytes())
        .err()
        .map(|failure| failure.code.as_str().to_owned())
}

/// A token of the right form that cannot be decrypted.
fn token_of(prefix: &str, password: usize, data: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    let password = BASE64.encode(vec![7; password]);
    format!("{prefix}{password}.{}", BASE64.encode(data))
}

fn good_token(prefix: &str) -> String {
    token_of(
        prefix,
        512,
        &[b"Salted__".as_slice(), &[9; 8 + 32]].concat(),
    )
}
