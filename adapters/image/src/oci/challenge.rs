//! Parses a registry's `WWW-Authenticate` challenges.

/// What a registry requires before it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token of this server.
    Bearer {
        realm: String,
        service: Option<String>,
    },
    /// A user's password.
    Basic,
}

/// The preferred challenge in these headers: `Bearer` before `Basic`.
pub(super) fn read<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let challenges_given: Vec<_> = headers.flat_map(challenges).collect();
    let challenge_of = |scheme: &str| {
        let same = |(name, _): &&(String, Parameters)| name.eq_ignore_ascii_case(scheme);
        challenges_given.iter().find(same)
    };
    let bearer = challenge_of("bearer").and_then(|(_, parameters)| {
        let value = |name: &str| {
            let same = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
            parameters.iter().find(same).map(|(_, value)| value.clone())
        };
        let (realm, service) = (value("realm")?, value("service"));
        Some(Challenge::Bearer { realm, service })
    });
    bearer.or_else(|| challenge_of("basic").map(|_| Challenge::Basic))
}

type Parameters = Vec<(String, String)>;

/// All challenges of a header: a scheme followed by `name=value`. Each word without `=` begins a new one.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    while let Some(start) = rest.find(|c: char| !c.is_whitespace() && c != ',') {
        rest = rest.get(start..).unwrap_or_default();
        let end = rest.find(|c: char| c.is_whitespace() || c == ',' || c == '=');
        let (word, after) = rest
            .split_at_checked(end.unwrap_or(rest.len()))
            .unwrap_or((rest, ""));
        match after.strip_prefix('=') {
            Some(text) => {
                let (value, following) = value(text);
                if let Some((_, parameters)) = challenges.last_mut() {
                    parameters.push((word.to_owned(), value));
                }
                rest = following;
            }
            None => {
                challenges.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
    }
    challenges
}

/// A value, quoted or not, and the text after it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c.is_whitespace() || c == ',');
        let (value, rest) = text
            .split_at_checked(end.unwrap_or(text.len()))
            .unwrap_or((text, ""));
        return (value.to_owned(), rest);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => {
                let value_end = at.saturating_add(1);
                return (value, quoted.get(value_end..).unwrap_or_default());
            }
            c => {
                escaped = false;
                value.push(c);
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_asked_for_where_the_registry_says() {
        let one =
            "Bearer realm=\"https://auth.example/token\",service=\"a, \\\"b\\\"\",scope=\"x\"";
        let bearer = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("a, \"b\"".to_owned()),
        };
        assert_eq!(read([one].into_iter()), Some(bearer.clone()));
        assert_eq!(read(["Basic realm=\"r\"", one].into_iter()), Some(bearer));
        assert_eq!(
            read(["basic realm=r, other"].into_iter()),
            Some(Challenge::Basic)
        );
        for none in [
            "",
            "Bearer",
            "Bearer service=\"a\"",
            "Digest realm=\"r\"",
            "=,= \"",
            "Bearer realm",
        ] {
            assert_eq!(read([none].into_iter()), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in "\\PC{0,200}") {
            let _ = read([header.as_str()].into_iter());
        }
    }
}
