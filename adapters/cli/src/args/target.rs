//! Labels of a host's settings, as commands accept them.

use std::collections::BTreeMap;

use vsiflow_workflows::spec::meta::check_label_pair;

/// Labels and their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostLabels(pub(crate) BTreeMap<String, String>);

/// The key of a label if only its value is given.
const CONFIG: &str = "config";

/// `KEY=VALUE,…`, or a value alone.
pub(super) fn labels(text: &str) -> Result<HostLabels, String> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((CONFIG, part));
        if key.is_empty() || value.is_empty() {
            return Err("write labels of the host's settings, such as `config=lab`".to_owned());
        }
        check_label_pair(key, value)?;
        Ok((key.to_owned(), value.to_owned()))
    };
    text.split(',')
        .map(pair)
        .collect::<Result<_, _>>()
        .map(HostLabels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_alone_is_the_value_of_the_label_config() {
        let read = |text: &str| labels(text).unwrap().0.into_iter().collect::<Vec<_>>();
        assert_eq!(read("lab"), [("config".into(), "lab".into())]);
        let two = [("a".into(), "b".into()), ("c".into(), "d".into())];
        assert_eq!(read("a=b,c=d"), two);
        assert!(labels("a=").is_err() && labels("").is_err());
        assert!(labels("a_=b").is_err() && labels("a=b c").is_err());
    }
}
