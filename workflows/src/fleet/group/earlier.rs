//! Records which outputs earlier versions filled into the templates of a group's pools.
//!
//! Earlier versions recorded what was read, and not what a pool was filled with. Where the document took an output
//! from another place since, only the pool's own texts have the value of its members. They are compared with the
//! template, so that the pool keeps that value and nothing restarts.

use std::collections::BTreeMap;

use vsiflow_engine::secret::{Secret, SecretError};

use crate::fleet::{
    Fleet, FleetError,
    group::{outputs::output_references, values::value},
    known::{KnownGroup, KnownPool},
};
use crate::{
    group::{FilledOutput, ItemRecord, OutputValue},
    spec::{
        ResolvedVsi,
        substitute::{self, TooLong},
        template_texts::{TemplateText, texts},
    },
};

/// Stands around the name of an output in a text, in the place of its value. No template has it.
const MARK: char = '\u{1}';

/// The texts of outputs, by name.
type OutputTexts = BTreeMap<String, String>;

impl Fleet {
    /// Records the outputs that pools of earlier versions were filled with. Returns whether there were any.
    pub(super) async fn record_earlier_outputs(
        &self,
        group: &KnownGroup,
        pools: &BTreeMap<String, KnownPool>,
    ) -> Result<bool, FleetError> {
        if group.record.outputs.is_empty() || group.is_deleting() {
            return Ok(false);
        }
        let mut record = group.record.clone();
        for item in group.record.items() {
            if let Some(pool) = pools.get(&item.name) {
                let earlier = Box::pin(self.earlier_outputs(group, item, pool)).await?;
                if !earlier.is_empty() {
                    let of_item = record.filled.entry(item.name.clone()).or_default();
                    of_item.extend(earlier);
                }
            }
        }
        if record == group.record {
            return Ok(false);
        }
        self.record_progress(group, record, "the outputs of an earlier version")
            .await
    }

    /// The outputs that a pool was filled with and that are not recorded; none if its template is another one now.
    async fn earlier_outputs(
        &self,
        group: &KnownGroup,
        item: &ItemRecord,
        pool: &KnownPool,
    ) -> Result<BTreeMap<String, FilledOutput>, FleetError> {
        let mut filled = BTreeMap::new();
        let template = match self.template_of(item).await {
            Ok(template) => template,
            // Its secret comes with the next document.
            Err(_) => return Ok(filled),
        };
        let mut names = output_references(&template);
        names.retain(|name| !group.record.has_filled(&item.name, name));
        let of_group = pool.record.of_group.as_ref();
        let is_its =
            of_group.is_some_and(|of| item.has_template_of(&of.revision, pool.record.strategy));
        if names.is_empty() || !is_its {
            return Ok(filled);
        }
        let recorded = &pool.record.template;
        let contract = match self.secrets.get(&recorded.contract).await {
            Ok(contract) => contract,
            Err(SecretError::Missing(_)) => return Ok(filled),
            Err(error) => return Err(error.into()),
        };
        let desired = recorded.vsi.as_ref().clone();
        let made = ResolvedVsi::of_record(desired, contract, None, String::new());
        let Some(values) = values_in(group, item, &template, &made) else {
            return Ok(filled);
        };
        for name in names {
            let Some(text) = values.get(&name) else {
                continue;
            };
            let output = self.earlier_output(group, &template, &name, text).await?;
            filled.insert(name, output);
        }
        Ok(filled)
    }

    /// A value that a pool was filled with: what was read, if it is that, or else one whose place is not known.
    async fn earlier_output(
        &self,
        group: &KnownGroup,
        template: &ResolvedVsi,
        name: &str,
        text: &str,
    ) -> Result<FilledOutput, FleetError> {
        let record = &group.record;
        if let Some(value) = record.found.get(name)
            && self.output_text(value).await.is_ok_and(|read| read == text)
        {
            return Ok(FilledOutput {
                value: value.clone(),
                source: record.output(name).cloned(),
            });
        }
        let reference = format!("group.outputs.{name}");
        let is_shown = texts(template).iter().any(|template_text| {
            let words = template_text.words();
            let words = words.filter(|_| !template_text.is_secret);
            words.is_some_and(|words| substitute::references(&words).any(|path| path == reference))
        });
        let value = if is_shown {
            OutputValue::Shown(text.to_owned())
        } else {
            let secret = Secret::new(text.to_owned().into_bytes());
            OutputValue::Secret(self.secrets.put(secret).await?)
        };
        let source = None;
        Ok(FilledOutput { value, source })
    }
}

/// The outputs that a template was filled with to make this one; `None` if it was not made from it.
fn values_in(
    group: &KnownGroup,
    item: &ItemRecord,
    template: &ResolvedVsi,
    made: &ResolvedVsi,
) -> Option<OutputTexts> {
    let names = output_references(template);
    let marks = names
        .iter()
        .map(|name| (name.clone(), format!("{MARK}{name}{MARK}")));
    let marks: OutputTexts = marks.collect();
    let fill = |text: &TemplateText<'_>, outputs: &OutputTexts| {
        let words = text.words()?;
        let marked = substitute::of_group(&words, usize::MAX, |reference| {
            let is_of_group = substitute::is_below(reference, substitute::GROUP);
            Ok::<_, TooLong>(
                is_of_group
                    .then(|| value(group, item, outputs, reference))
                    .flatten(),
            )
        });
        marked.ok().filter(|_| !words.contains(MARK))
    };
    let (templates, made_texts) = (texts(template), texts(made));
    let are_pairs = templates.len() == made_texts.len();
    let pairs = || templates.iter().zip(&made_texts).filter(|_| are_pairs);
    let mut values = OutputTexts::new();
    for (text, made_text) in pairs() {
        let (marked, words) = (fill(text, &marks)?, made_text.words()?);
        marked_values(&marked, &words, &mut values)?;
    }
    // Where several decompositions are possible, any that gives the same texts is right.
    let is_same = |text: &TemplateText<'_>, filled: &TemplateText<'_>| {
        fill(text, &values).is_some_and(|again| filled.words() == Some(again))
    };
    let is_made_from_it = are_pairs && pairs().all(|(text, filled)| is_same(text, filled));
    is_made_from_it.then_some(values)
}

/// The values in the places of the marked names, in the text that was made of it.
fn marked_values(marked: &str, made: &str, values: &mut OutputTexts) -> Option<()> {
    let mut pieces = marked.split(MARK);
    let mut rest = made.strip_prefix(pieces.next()?)?;
    let mut pieces = pieces.peekable();
    while let Some(name) = pieces.next() {
        let plain = pieces.next()?;
        let len = match values.get(name) {
            Some(known) => rest.strip_prefix(&escaped(known))?.len(),
            None if pieces.peek().is_none() => rest.strip_suffix(plain).map(|_| plain.len())?,
            None => rest.len().checked_sub(rest.find(plain)?)?,
        };
        let (found, after) = rest.split_at_checked(rest.len().checked_sub(len)?)?;
        let found = found.replace("$$(", "$(");
        values.entry(name.to_owned()).or_insert(found);
        rest = after.strip_prefix(plain)?;
    }
    rest.is_empty().then_some(())
}

/// A value as it is in a text that a pool's values are filled into later.
fn escaped(value: &str) -> String {
    value.replace("$(", "$$(")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(marked: &str, made: &str) -> Option<OutputTexts> {
        let marked = marked.replace(['<', '>'], &MARK.to_string());
        let mut values = OutputTexts::new();
        marked_values(&marked, made, &mut values).map(|()| values)
    }

    fn texts_of(pairs: &[(&str, &str)]) -> Option<OutputTexts> {
        let pairs = pairs.iter().copied();
        Some(
            pairs
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect(),
        )
    }

    #[test]
    fn the_values_of_an_earlier_version_are_in_the_texts_that_it_made() {
        assert_eq!(found("a: <t>\n", "a: x-1\n"), texts_of(&[("t", "x-1")]));
        assert_eq!(found("<t>", "a\nb"), texts_of(&[("t", "a\nb")]));
        assert_eq!(
            found("<t> <u>\n", "x y\n"),
            texts_of(&[("t", "x"), ("u", "y")])
        );
        assert_eq!(found("<t> and <t>\n", "a and b and a and b\n"), None);
        assert_eq!(found("<t>; <t>\n", "a; a\n"), texts_of(&[("t", "a")]));
        assert_eq!(
            found("x $$(<t>)", "x $$($$(a))"),
            texts_of(&[("t", "$(a)")])
        );
        assert_eq!(found("same", "same"), texts_of(&[]));
        for other in ["", "b: x\n", "a: x"] {
            assert_eq!(found("a: <t>\n", other), None, "{other}");
        }
    }
}
